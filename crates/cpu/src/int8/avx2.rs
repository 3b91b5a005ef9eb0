//! The operations as pairs of 256-bit vectors: rows 0 to 7 of a tile, then rows 8 to 15.

use std::arch::x86_64::*;

use super::simd::{Kernel, Simd};
use crate::Avx2;
use crate::intrinsics::proved;
use crate::x86::prefetch;

/// Applies the same intrinsic to both halves.
macro_rules! both {
    ($token:expr, $f:path, $a:expr) => {{
        let a = $a;
        [proved!($token, $f, a[0]), proved!($token, $f, a[1])]
    }};
    ($token:expr, $f:path, $a:expr, $b:expr) => {{
        let (a, b) = ($a, $b);
        [proved!($token, $f, a[0], b[0]), proved!($token, $f, a[1], b[1])]
    }};
    ($token:expr, $f:path, $a:expr, $b:expr, $c:expr) => {{
        let (a, b, c) = ($a, $b, $c);
        [proved!($token, $f, a[0], b[0], c[0]), proved!($token, $f, a[1], b[1], c[1])]
    }};
}

/// Returns the number of vectors of pair sums, of codes of `bits` bits, that can be added in 16 bits before widening.
const fn short_sums(bits: u32) -> usize {
    match bits {
        ..=4 => 8, // 8 * 2 * 15 * 127 = 30,480
        5 => 4,    // 4 * 2 * 31 * 127 = 31,496
        6 => 2,    // 2 * 2 * 63 * 127 = 32,004
        _ => 1,
    }
}

impl Avx2 {
    #[inline(always)]
    fn bytes(self, value: i8) -> [__m256i; 2] {
        [proved!(self, _mm256_set1_epi8, value); 2]
    }

    /// Returns the sums of pairs of products of one vector of codes with 4 activations, in 16 bits.
    ///
    /// Codes of 8 bits are reduced by 128. Their magnitude is multiplied by the activation with their sign; the sums are at most
    /// 2 * 128 * 127 = 32,512, so nothing saturates.
    #[inline(always)]
    fn products(self, bits: u32, weights: [__m256i; 2], four: i32) -> [__m256i; 2] {
        let x = [proved!(self, _mm256_set1_epi32, four); 2];
        if bits < 8 {
            return both!(self, _mm256_maddubs_epi16, weights, x);
        }
        let signed = both!(self, _mm256_xor_si256, weights, self.bytes(i8::MIN));
        let x = both!(self, _mm256_sign_epi8, x, signed);
        let magnitude = both!(self, _mm256_abs_epi8, signed);
        both!(self, _mm256_maddubs_epi16, magnitude, x)
    }
}

impl Simd for Avx2 {
    type Codes = [__m256i; 2];
    type Ints = [__m256i; 2];
    type Floats = [__m256; 2];

    const ROWS: usize = 4;

    fn launch<K: Kernel<Self>>(self, kernel: K) {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn enabled<K: Kernel<Avx2>>(token: Avx2, kernel: K) {
            kernel.run(token);
        }
        // SAFETY: the token proves that the CPU has the features that the function enables.
        unsafe { enabled(self, kernel) };
    }

    #[inline(always)]
    fn code_shift(bits: u32) -> i32 {
        if bits < 8 { 0 } else { 128 }
    }

    #[inline(always)]
    fn codes(self, bytes: &[u8; 64]) -> [__m256i; 2] {
        self.load_256_pair(bytes)
    }

    #[inline(always)]
    fn store_codes(self, codes: [__m256i; 2], out: &mut [u8; 64]) {
        self.store_256_pair(codes, out);
    }

    #[inline(always)]
    fn low_nibbles(self, v: [__m256i; 2]) -> [__m256i; 2] {
        both!(self, _mm256_and_si256, v, self.bytes(15))
    }

    #[inline(always)]
    fn high_nibbles(self, v: [__m256i; 2]) -> [__m256i; 2] {
        let shifted = both!(self, _mm256_srli_epi16::<4>, v);
        both!(self, _mm256_and_si256, shifted, self.bytes(15))
    }

    #[inline(always)]
    fn pair(self, v: [__m256i; 2], t: usize) -> [__m256i; 2] {
        let shifted = match t {
            0 => v,
            1 => both!(self, _mm256_srli_epi16::<2>, v),
            2 => both!(self, _mm256_srli_epi16::<4>, v),
            _ => both!(self, _mm256_srli_epi16::<6>, v),
        };
        both!(self, _mm256_and_si256, shifted, self.bytes(3))
    }

    #[inline(always)]
    fn bits_at(self, v: [__m256i; 2], shift: u32, mask: u8) -> [__m256i; 2] {
        let shift = [proved!(self, _mm_cvtsi32_si128, shift.cast_signed()); 2];
        let shifted = both!(self, _mm256_srl_epi16, v, shift);
        both!(self, _mm256_and_si256, shifted, self.bytes(mask.cast_signed()))
    }

    #[inline(always)]
    fn add_where(self, codes: [__m256i; 2], mask: u64, value: u8) -> [__m256i; 2] {
        // Byte i of a vector tests bit i % 8 of byte i / 8 of its half of the mask.
        let spread =
            proved!(self, _mm256_setr_epi64x, 0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
        let bit = [proved!(self, _mm256_set1_epi64x, 0x8040_2010_0804_0201_u64 as i64); 2];
        let halves =
            [proved!(self, _mm256_set1_epi32, mask as i32), proved!(self, _mm256_set1_epi32, (mask >> 32) as i32)];
        let bytes = both!(self, _mm256_shuffle_epi8, halves, [spread; 2]);
        let set = both!(self, _mm256_cmpeq_epi8, both!(self, _mm256_and_si256, bytes, bit), bit);
        both!(self, _mm256_or_si256, codes, both!(self, _mm256_and_si256, set, self.bytes(value as i8)))
    }

    #[inline(always)]
    fn lookup(self, codes: [__m256i; 2], table: &[u8; 16]) -> [__m256i; 2] {
        let table = proved!(self, _mm256_broadcastsi128_si256, self.load_128(table));
        both!(self, _mm256_shuffle_epi8, [table; 2], codes)
    }

    #[inline(always)]
    fn add_pairs(self, codes: [__m256i; 2], pairs: [__m256i; 2], t: usize) -> [__m256i; 2] {
        let shifted = match t {
            0 => both!(self, _mm256_slli_epi16::<4>, pairs),
            1 => both!(self, _mm256_slli_epi16::<2>, pairs),
            2 => pairs,
            _ => both!(self, _mm256_srli_epi16::<2>, pairs),
        };
        both!(self, _mm256_or_si256, codes, both!(self, _mm256_and_si256, shifted, self.bytes(0x30)))
    }

    #[inline(always)]
    fn ints(self, value: i32) -> [__m256i; 2] {
        [proved!(self, _mm256_set1_epi32, value); 2]
    }

    #[inline(always)]
    fn load_ints(self, values: &[i32; 16]) -> [__m256i; 2] {
        self.load_256_pair(values)
    }

    #[inline(always)]
    fn store_ints(self, v: [__m256i; 2], out: &mut [i32; 16]) {
        self.store_256_pair(v, out);
    }

    #[inline(always)]
    fn ints_from_bytes(self, bytes: &[u8; 16]) -> [__m256i; 2] {
        let all = self.load_128(bytes);
        [
            proved!(self, _mm256_cvtepu8_epi32, all),
            proved!(self, _mm256_cvtepu8_epi32, proved!(self, _mm_srli_si128::<8>, all)),
        ]
    }

    #[inline(always)]
    fn mul_add_short(self, a: [__m256i; 2], b: i32, c: [__m256i; 2]) -> [__m256i; 2] {
        // The upper half of each lane of `a` is 0, so only the lower half of `b` matters.
        both!(self, _mm256_add_epi32, c, both!(self, _mm256_madd_epi16, a, self.ints(b)))
    }

    #[inline(always)]
    fn dot<const R: usize>(
        self,
        bits: u32,
        weights: &[[__m256i; 2]; 8],
        (from, to): (usize, usize),
        x: &[[i8; 32]; R],
        sums: &mut [[__m256i; 2]; R],
    ) {
        let ones = [proved!(self, _mm256_set1_epi16, 1); 2];
        let step = short_sums(bits).min(to - from);
        let mut r = 0;
        while r < R {
            let x = &x[r];
            let mut first = from;
            while first < to {
                let mut short = [proved!(self, _mm256_setzero_si256); 2];
                let mut v = first;
                while v < first + step {
                    let four = i32::from_le_bytes([
                        x[4 * v] as u8,
                        x[4 * v + 1] as u8,
                        x[4 * v + 2] as u8,
                        x[4 * v + 3] as u8,
                    ]);
                    let products = self.products(bits, weights[v], four);
                    short = both!(self, _mm256_add_epi16, short, products);
                    v += 1;
                }
                sums[r] = both!(self, _mm256_add_epi32, sums[r], both!(self, _mm256_madd_epi16, short, ones));
                first += step;
            }
            r += 1;
        }
    }

    #[inline(always)]
    fn dot_one(self, bits: u32, weights: [__m256i; 2], x: [i8; 4]) -> [__m256i; 2] {
        let products = self.products(bits, weights, i32::from_le_bytes(x.map(i8::cast_unsigned)));
        both!(self, _mm256_madd_epi16, products, [proved!(self, _mm256_set1_epi16, 1); 2])
    }

    #[inline(always)]
    fn add_upper(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        both!(self, _mm256_add_epi32, both!(self, _mm256_slli_epi32::<7>, a), b)
    }

    #[inline(always)]
    fn floats(self, value: f32) -> [__m256; 2] {
        [proved!(self, _mm256_set1_ps, value); 2]
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> [__m256; 2] {
        both!(self, _mm256_castsi256_ps, self.load_256_pair(values))
    }

    #[inline(always)]
    fn store(self, v: [__m256; 2], out: &mut [f32; 16]) {
        self.store_256_pair(both!(self, _mm256_castps_si256, v), out);
    }

    #[inline(always)]
    fn widen_ints(self, v: [__m256i; 2]) -> [__m256; 2] {
        both!(self, _mm256_cvtepi32_ps, v)
    }

    #[inline(always)]
    fn widen_f16(self, bytes: &[u8; 32]) -> [__m256; 2] {
        let halves = self.load_128_pair(bytes);
        both!(self, _mm256_cvtph_ps, halves)
    }

    #[inline(always)]
    fn widen_bf16(self, bytes: &[u8; 32]) -> [__m256; 2] {
        let halves = self.load_128_pair(bytes);
        let wide = both!(self, _mm256_cvtepu16_epi32, halves);
        let shifted = both!(self, _mm256_slli_epi32::<16>, wide);
        both!(self, _mm256_castsi256_ps, shifted)
    }

    #[inline(always)]
    fn widen_f32(self, bytes: &[u8; 64]) -> [__m256; 2] {
        both!(self, _mm256_castsi256_ps, self.load_256_pair(bytes))
    }

    #[inline(always)]
    fn widen_i8(self, bytes: &[u8; 16]) -> [__m256; 2] {
        let all = self.load_128(bytes);
        let ints = [
            proved!(self, _mm256_cvtepi8_epi32, all),
            proved!(self, _mm256_cvtepi8_epi32, proved!(self, _mm_srli_si128::<8>, all)),
        ];
        both!(self, _mm256_cvtepi32_ps, ints)
    }

    #[inline(always)]
    fn widen_u8(self, bytes: &[u8; 16]) -> [__m256; 2] {
        let ints = self.ints_from_bytes(bytes);
        both!(self, _mm256_cvtepi32_ps, ints)
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        both!(self, _mm256_mul_ps, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        both!(self, _mm256_fmadd_ps, a, b, c)
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8], at: usize) {
        prefetch(bytes, at);
    }
}
