//! Float lanes in AVX2 and AVX-512.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::Lanes;
use crate::{Avx2, Avx512, TILE};

/// An expression of intrinsics, inside a method of the token.
macro_rules! proved {
    ($e:expr) => {{
        // SAFETY: the token exists only where detection found the instructions; loads and stores go through
        // references to arrays of the vector's size.
        unsafe { $e }
    }};
}

impl Lanes for Avx512 {
    type V = __m512;
    const WIDE: bool = true;
    const PLAIN: bool = false;
    const HEIGHTS: &'static [usize] = &[12, 8, 4, 2, 1];

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        proved!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, x: &[f32; TILE]) -> __m512 {
        proved!(_mm512_loadu_ps(x.as_ptr()))
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; TILE]) -> __m512 {
        proved!(_mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; TILE]) -> __m512 {
        proved!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(
            x.as_ptr().cast()
        )))))
    }
    #[inline(always)]
    fn store(self, v: __m512, out: &mut [f32; TILE]) {
        proved!(_mm512_storeu_ps(out.as_mut_ptr(), v));
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        proved!(_mm512_fmadd_ps(a, b, c))
    }
}

impl Lanes for Avx2 {
    type V = [__m256; 2];
    const WIDE: bool = false;
    const PLAIN: bool = false;
    const HEIGHTS: &'static [usize] = &[6, 2, 1];

    #[inline(always)]
    fn splat(self, x: f32) -> [__m256; 2] {
        [proved!(_mm256_set1_ps(x)); 2]
    }
    #[inline(always)]
    fn load(self, x: &[f32; TILE]) -> [__m256; 2] {
        proved!([_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))])
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; TILE]) -> [__m256; 2] {
        let p = x.as_ptr();
        proved!([_mm256_cvtph_ps(_mm_loadu_si128(p.cast())), _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast()))])
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; TILE]) -> [__m256; 2] {
        let p = x.as_ptr();
        proved!([
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())))),
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(8).cast())))),
        ])
    }
    #[inline(always)]
    fn store(self, v: [__m256; 2], out: &mut [f32; TILE]) {
        proved!({
            _mm256_storeu_ps(out.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), v[1]);
        });
    }
    #[inline(always)]
    fn mul_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        proved!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }
}
