//! Float lanes in AVX2 and AVX-512.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::Lanes;
use crate::intrinsics::proved;
use crate::x86::prefetch;
use crate::{Avx2, Avx512, TILE};

impl Lanes for Avx512 {
    type V = __m512;
    const WIDE: bool = true;
    const PLAIN: bool = false;
    const HEIGHTS: &'static [usize] = &[12, 8, 4, 2, 1];

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        proved!(self, _mm512_set1_ps, x)
    }
    #[inline(always)]
    fn load(self, x: &[f32; TILE]) -> __m512 {
        proved!(self, _mm512_castsi512_ps, self.load_512(x))
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; TILE]) -> __m512 {
        proved!(self, _mm512_cvtph_ps, self.load_256(x))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; TILE]) -> __m512 {
        let wide = proved!(self, _mm512_cvtepu16_epi32, self.load_256(x));
        proved!(self, _mm512_castsi512_ps, proved!(self, _mm512_slli_epi32::<16>, wide))
    }
    #[inline(always)]
    fn store(self, v: __m512, out: &mut [f32; TILE]) {
        self.store_512(proved!(self, _mm512_castps_si512, v), out);
    }
    #[inline(always)]
    fn load_i8(self, x: &[u8; TILE]) -> __m512 {
        floats(self, self.load_128(x))
    }
    #[inline(always)]
    fn load_i4_low(self, x: &[u8; TILE]) -> __m512 {
        floats(self, low_codes(self.narrower(), self.load_128(x)))
    }
    #[inline(always)]
    fn load_i4_high(self, x: &[u8; TILE]) -> __m512 {
        floats(self, high_codes(self.narrower(), self.load_128(x)))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        proved!(self, _mm512_mul_ps, a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        proved!(self, _mm512_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn prefetch<T>(self, items: &[T], at: usize) {
        prefetch(items, at);
    }
}

impl Lanes for Avx2 {
    type V = [__m256; 2];
    const WIDE: bool = false;
    const PLAIN: bool = false;
    const HEIGHTS: &'static [usize] = &[6, 4, 2, 1];

    #[inline(always)]
    fn splat(self, x: f32) -> [__m256; 2] {
        [proved!(self, _mm256_set1_ps, x); 2]
    }
    #[inline(always)]
    fn load(self, x: &[f32; TILE]) -> [__m256; 2] {
        let [a, b] = self.load_256_pair(x);
        [proved!(self, _mm256_castsi256_ps, a), proved!(self, _mm256_castsi256_ps, b)]
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; TILE]) -> [__m256; 2] {
        let [a, b] = self.load_128_pair(x);
        [proved!(self, _mm256_cvtph_ps, a), proved!(self, _mm256_cvtph_ps, b)]
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; TILE]) -> [__m256; 2] {
        let mut out = [self.splat(0.0)[0]; 2];
        for (out, half) in out.iter_mut().zip(self.load_128_pair(x)) {
            let wide = proved!(self, _mm256_cvtepu16_epi32, half);
            *out = proved!(self, _mm256_castsi256_ps, proved!(self, _mm256_slli_epi32::<16>, wide));
        }
        out
    }
    #[inline(always)]
    fn store(self, v: [__m256; 2], out: &mut [f32; TILE]) {
        self.store_256_pair([proved!(self, _mm256_castps_si256, v[0]), proved!(self, _mm256_castps_si256, v[1])], out);
    }
    #[inline(always)]
    fn load_i8(self, x: &[u8; TILE]) -> [__m256; 2] {
        float_pair(self, self.load_128(x))
    }
    #[inline(always)]
    fn load_i4_low(self, x: &[u8; TILE]) -> [__m256; 2] {
        float_pair(self, low_codes(self, self.load_128(x)))
    }
    #[inline(always)]
    fn load_i4_high(self, x: &[u8; TILE]) -> [__m256; 2] {
        float_pair(self, high_codes(self, self.load_128(x)))
    }
    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [proved!(self, _mm256_mul_ps, a[0], b[0]), proved!(self, _mm256_mul_ps, a[1], b[1])]
    }
    #[inline(always)]
    fn mul_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        [proved!(self, _mm256_fmadd_ps, a[0], b[0], c[0]), proved!(self, _mm256_fmadd_ps, a[1], b[1], c[1])]
    }
    #[inline(always)]
    fn prefetch<T>(self, items: &[T], at: usize) {
        prefetch(items, at);
    }
}

/// Returns the lower halves of bytes, minus 8.
#[inline(always)]
fn low_codes(l: Avx2, bytes: __m128i) -> __m128i {
    let low = proved!(l, _mm_and_si128, bytes, proved!(l, _mm_set1_epi8, 15));
    proved!(l, _mm_sub_epi8, low, proved!(l, _mm_set1_epi8, 8))
}

/// Returns the upper halves of bytes, minus 8.
#[inline(always)]
fn high_codes(l: Avx2, bytes: __m128i) -> __m128i {
    low_codes(l, proved!(l, _mm_srli_epi16::<4>, bytes))
}

/// Converts 16 signed bytes.
#[inline(always)]
fn floats(l: Avx512, codes: __m128i) -> __m512 {
    proved!(l, _mm512_cvtepi32_ps, proved!(l, _mm512_cvtepi8_epi32, codes))
}

/// Converts 16 signed bytes.
#[inline(always)]
fn float_pair(l: Avx2, codes: __m128i) -> [__m256; 2] {
    let upper = proved!(l, _mm_srli_si128::<8>, codes);
    let [a, b] = [proved!(l, _mm256_cvtepi8_epi32, codes), proved!(l, _mm256_cvtepi8_epi32, upper)];
    [proved!(l, _mm256_cvtepi32_ps, a), proved!(l, _mm256_cvtepi32_ps, b)]
}
