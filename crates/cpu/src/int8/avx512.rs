//! The operations as 512-bit vectors with 8-bit dot products.

use std::arch::x86_64::*;

use super::simd::{Kernel, Simd};
use crate::Avx512;
use crate::intrinsics::proved;
use crate::x86::prefetch;

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
        // SAFETY: the token proves that the CPU has the features that the function enables.
        unsafe { enabled(self, kernel) };
    }

    #[inline(always)]
    fn code_shift(_bits: u32) -> i32 {
        0
    }

    #[inline(always)]
    fn codes(self, bytes: &[u8; 64]) -> __m512i {
        self.load_512(bytes)
    }

    #[inline(always)]
    fn store_codes(self, codes: __m512i, out: &mut [u8; 64]) {
        self.store_512(codes, out);
    }

    #[inline(always)]
    fn low_nibbles(self, v: __m512i) -> __m512i {
        proved!(self, _mm512_and_si512, v, proved!(self, _mm512_set1_epi8, 15))
    }

    #[inline(always)]
    fn high_nibbles(self, v: __m512i) -> __m512i {
        proved!(self, _mm512_and_si512, proved!(self, _mm512_srli_epi16::<4>, v), proved!(self, _mm512_set1_epi8, 15))
    }

    #[inline(always)]
    fn pair(self, v: __m512i, t: usize) -> __m512i {
        let shifted = match t {
            0 => v,
            1 => proved!(self, _mm512_srli_epi16::<2>, v),
            2 => proved!(self, _mm512_srli_epi16::<4>, v),
            _ => proved!(self, _mm512_srli_epi16::<6>, v),
        };
        proved!(self, _mm512_and_si512, shifted, proved!(self, _mm512_set1_epi8, 3))
    }

    #[inline(always)]
    fn bits_at(self, v: __m512i, shift: u32, mask: u8) -> __m512i {
        let shift = proved!(self, _mm_cvtsi32_si128, shift.cast_signed());
        let shifted = proved!(self, _mm512_srl_epi16, v, shift);
        proved!(self, _mm512_and_si512, shifted, proved!(self, _mm512_set1_epi8, mask.cast_signed()))
    }

    #[inline(always)]
    fn add_where(self, codes: __m512i, mask: u64, value: u8) -> __m512i {
        proved!(self, _mm512_mask_add_epi8, codes, mask, codes, proved!(self, _mm512_set1_epi8, value as i8))
    }

    #[inline(always)]
    fn lookup(self, codes: __m512i, table: &[u8; 16]) -> __m512i {
        proved!(self, _mm512_shuffle_epi8, proved!(self, _mm512_broadcast_i32x4, self.load_128(table)), codes)
    }

    #[inline(always)]
    fn add_pairs(self, codes: __m512i, pairs: __m512i, t: usize) -> __m512i {
        let shifted = match t {
            0 => proved!(self, _mm512_slli_epi16::<4>, pairs),
            1 => proved!(self, _mm512_slli_epi16::<2>, pairs),
            2 => pairs,
            _ => proved!(self, _mm512_srli_epi16::<2>, pairs),
        };
        proved!(
            self,
            _mm512_or_si512,
            codes,
            proved!(self, _mm512_and_si512, shifted, proved!(self, _mm512_set1_epi8, 0x30))
        )
    }

    #[inline(always)]
    fn ints(self, value: i32) -> __m512i {
        proved!(self, _mm512_set1_epi32, value)
    }

    #[inline(always)]
    fn load_ints(self, values: &[i32; 16]) -> __m512i {
        self.load_512(values)
    }

    #[inline(always)]
    fn store_ints(self, v: __m512i, out: &mut [i32; 16]) {
        self.store_512(v, out);
    }

    #[inline(always)]
    fn ints_from_bytes(self, bytes: &[u8; 16]) -> __m512i {
        proved!(self, _mm512_cvtepu8_epi32, self.load_128(bytes))
    }

    #[inline(always)]
    fn mul_add_short(self, a: __m512i, b: i32, c: __m512i) -> __m512i {
        // The upper half of each lane of `a` is 0, so only the lower half of `b` matters.
        proved!(self, _mm512_dpwssd_epi32, c, a, proved!(self, _mm512_set1_epi32, b))
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
                sums[r] =
                    proved!(self, _mm512_dpbusd_epi32, sums[r], weights[v], proved!(self, _mm512_set1_epi32, four));
                r += 1;
            }
            v += 1;
        }
    }

    #[inline(always)]
    fn dot_one(self, _bits: u32, weights: __m512i, x: [i8; 4]) -> __m512i {
        let four = proved!(self, _mm512_set1_epi32, i32::from_le_bytes(x.map(i8::cast_unsigned)));
        proved!(self, _mm512_dpbusd_epi32, proved!(self, _mm512_setzero_si512), weights, four)
    }

    #[inline(always)]
    fn add_upper(self, a: __m512i, b: __m512i) -> __m512i {
        proved!(self, _mm512_add_epi32, proved!(self, _mm512_slli_epi32::<7>, a), b)
    }

    #[inline(always)]
    fn floats(self, value: f32) -> __m512 {
        proved!(self, _mm512_set1_ps, value)
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> __m512 {
        proved!(self, _mm512_castsi512_ps, self.load_512(values))
    }

    #[inline(always)]
    fn store(self, v: __m512, out: &mut [f32; 16]) {
        self.store_512(proved!(self, _mm512_castps_si512, v), out);
    }

    #[inline(always)]
    fn widen_ints(self, v: __m512i) -> __m512 {
        proved!(self, _mm512_cvtepi32_ps, v)
    }

    #[inline(always)]
    fn widen_f16(self, bytes: &[u8; 32]) -> __m512 {
        proved!(self, _mm512_cvtph_ps, self.load_256(bytes))
    }

    #[inline(always)]
    fn widen_bf16(self, bytes: &[u8; 32]) -> __m512 {
        let wide = proved!(self, _mm512_cvtepu16_epi32, self.load_256(bytes));
        proved!(self, _mm512_castsi512_ps, proved!(self, _mm512_slli_epi32::<16>, wide))
    }

    #[inline(always)]
    fn widen_f32(self, bytes: &[u8; 64]) -> __m512 {
        proved!(self, _mm512_castsi512_ps, self.load_512(bytes))
    }

    #[inline(always)]
    fn widen_i8(self, bytes: &[u8; 16]) -> __m512 {
        proved!(self, _mm512_cvtepi32_ps, proved!(self, _mm512_cvtepi8_epi32, self.load_128(bytes)))
    }

    #[inline(always)]
    fn widen_u8(self, bytes: &[u8; 16]) -> __m512 {
        proved!(self, _mm512_cvtepi32_ps, self.ints_from_bytes(bytes))
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
    fn prefetch(self, bytes: &[u8], at: usize) {
        prefetch(bytes, at);
    }
}
