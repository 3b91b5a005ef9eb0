//! The operations in 512-bit vectors with 8-bit dot products.

use std::arch::x86_64::*;

use super::simd::{Kernel, Simd};
use crate::Avx512;

/// An expression of intrinsics, inside a method of the token.
macro_rules! proved {
    ($e:expr) => {{
        // SAFETY: the token exists only where detection found the instructions; loads and stores go through
        // references to arrays of the vector's size.
        unsafe { $e }
    }};
}

impl Simd for Avx512 {
    type Codes = __m512i;
    type Ints = __m512i;
    type Floats = __m512;

    const ROWS: usize = 8;

    fn launch<K: Kernel<Self>>(self, kernel: K) {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn enabled<K: Kernel<Avx512>>(token: Avx512, kernel: K) {
            kernel.run(token);
        }
        proved!(enabled(self, kernel));
    }

    #[inline(always)]
    fn code_shift(_bits: u32) -> i32 {
        0
    }

    #[inline(always)]
    fn codes(self, bytes: &[u8; 64]) -> __m512i {
        proved!(_mm512_loadu_si512(bytes.as_ptr().cast()))
    }

    #[inline(always)]
    fn store_codes(self, codes: __m512i, out: &mut [u8; 64]) {
        proved!(_mm512_storeu_si512(out.as_mut_ptr().cast(), codes));
    }

    #[inline(always)]
    fn low_nibbles(self, v: __m512i) -> __m512i {
        proved!(_mm512_and_si512(v, _mm512_set1_epi8(15)))
    }

    #[inline(always)]
    fn high_nibbles(self, v: __m512i) -> __m512i {
        proved!(_mm512_and_si512(_mm512_srli_epi16::<4>(v), _mm512_set1_epi8(15)))
    }

    #[inline(always)]
    fn pair(self, v: __m512i, t: usize) -> __m512i {
        let shifted = match t {
            0 => v,
            1 => proved!(_mm512_srli_epi16::<2>(v)),
            2 => proved!(_mm512_srli_epi16::<4>(v)),
            _ => proved!(_mm512_srli_epi16::<6>(v)),
        };
        proved!(_mm512_and_si512(shifted, _mm512_set1_epi8(3)))
    }

    #[inline(always)]
    fn add_where(self, codes: __m512i, mask: u64, value: u8) -> __m512i {
        proved!(_mm512_mask_add_epi8(codes, mask, codes, _mm512_set1_epi8(value as i8)))
    }

    #[inline(always)]
    fn lookup(self, codes: __m512i, table: &[u8; 16]) -> __m512i {
        proved!(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), codes))
    }

    #[inline(always)]
    fn add_pairs(self, codes: __m512i, pairs: __m512i, t: usize) -> __m512i {
        let shifted = match t {
            0 => proved!(_mm512_slli_epi16::<4>(pairs)),
            1 => proved!(_mm512_slli_epi16::<2>(pairs)),
            2 => pairs,
            _ => proved!(_mm512_srli_epi16::<2>(pairs)),
        };
        proved!(_mm512_or_si512(codes, _mm512_and_si512(shifted, _mm512_set1_epi8(0x30))))
    }

    #[inline(always)]
    fn ints(self, value: i32) -> __m512i {
        proved!(_mm512_set1_epi32(value))
    }

    #[inline(always)]
    fn load_ints(self, values: &[i32; 16]) -> __m512i {
        proved!(_mm512_loadu_si512(values.as_ptr().cast()))
    }

    #[inline(always)]
    fn store_ints(self, v: __m512i, out: &mut [i32; 16]) {
        proved!(_mm512_storeu_si512(out.as_mut_ptr().cast(), v));
    }

    #[inline(always)]
    fn ints_from_bytes(self, bytes: &[u8; 16]) -> __m512i {
        proved!(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast())))
    }

    #[inline(always)]
    fn mul_add_short(self, a: __m512i, b: i32, c: __m512i) -> __m512i {
        // The upper half of every lane of `a` is 0, so only the lower half of `b` counts.
        proved!(_mm512_dpwssd_epi32(c, a, _mm512_set1_epi32(b)))
    }

    #[inline(always)]
    fn dot<const R: usize>(
        self,
        _bits: u32,
        weights: &[__m512i; 8],
        (from, to): (usize, usize),
        x: &[[i8; 32]; R],
        sums: &mut [__m512i; R],
    ) {
        let mut v = from;
        while v < to {
            let mut r = 0;
            while r < R {
                let x = &x[r];
                let four =
                    i32::from_le_bytes([x[4 * v] as u8, x[4 * v + 1] as u8, x[4 * v + 2] as u8, x[4 * v + 3] as u8]);
                sums[r] = proved!(_mm512_dpbusd_epi32(sums[r], weights[v], _mm512_set1_epi32(four)));
                r += 1;
            }
            v += 1;
        }
    }

    #[inline(always)]
    fn floats(self, value: f32) -> __m512 {
        proved!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> __m512 {
        proved!(_mm512_loadu_ps(values.as_ptr()))
    }

    #[inline(always)]
    fn store(self, v: __m512, out: &mut [f32; 16]) {
        proved!(_mm512_storeu_ps(out.as_mut_ptr(), v));
    }

    #[inline(always)]
    fn widen_ints(self, v: __m512i) -> __m512 {
        proved!(_mm512_cvtepi32_ps(v))
    }

    #[inline(always)]
    fn widen_f16(self, bytes: &[u8; 32]) -> __m512 {
        proved!(_mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())))
    }

    #[inline(always)]
    fn widen_bf16(self, bytes: &[u8; 32]) -> __m512 {
        let wide = proved!(_mm512_cvtepu16_epi32(_mm256_loadu_si256(bytes.as_ptr().cast())));
        proved!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
    }

    #[inline(always)]
    fn widen_f32(self, bytes: &[u8; 64]) -> __m512 {
        proved!(_mm512_loadu_ps(bytes.as_ptr().cast()))
    }

    #[inline(always)]
    fn widen_i8(self, bytes: &[u8; 16]) -> __m512 {
        proved!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))))
    }

    #[inline(always)]
    fn widen_u8(self, bytes: &[u8; 16]) -> __m512 {
        proved!(_mm512_cvtepi32_ps(self.ints_from_bytes(bytes)))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        proved!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        proved!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8], at: usize) {
        // A prefetch may name any address; `wrapping_add` may make any.
        proved!(_mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(at).cast()));
    }
}
