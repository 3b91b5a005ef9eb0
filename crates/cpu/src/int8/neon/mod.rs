//! The operations as quadruples of the 128-bit vectors of aarch64, four rows of a tile each. The instruction sets differ in their
//! dot products.

mod dots;

use std::arch::aarch64::*;

use super::simd::{Kernel, Simd};
use crate::Neon;
use crate::intrinsics::proved;
use dots::Dots;

/// Four vectors: rows 0 to 3, 4 to 7, 8 to 11, 12 to 15.
type Quad<V> = [V; 4];

/// Applies the same intrinsic to all four vectors.
macro_rules! each {
    ($token:expr, $f:path, $a:expr) => {{
        let a = $a;
        [proved!($token, $f, a[0]), proved!($token, $f, a[1]), proved!($token, $f, a[2]), proved!($token, $f, a[3])]
    }};
    ($token:expr, $f:path, $a:expr, $b:expr) => {{
        let (a, b) = ($a, $b);
        [
            proved!($token, $f, a[0], b[0]),
            proved!($token, $f, a[1], b[1]),
            proved!($token, $f, a[2], b[2]),
            proved!($token, $f, a[3], b[3]),
        ]
    }};
    ($token:expr, $f:path, $a:expr, $b:expr, $c:expr) => {{
        let (a, b, c) = ($a, $b, $c);
        [
            proved!($token, $f, a[0], b[0], c[0]),
            proved!($token, $f, a[1], b[1], c[1]),
            proved!($token, $f, a[2], b[2], c[2]),
            proved!($token, $f, a[3], b[3], c[3]),
        ]
    }};
}

/// Returns each byte shifted right by `shift` and masked.
#[inline(always)]
fn bits_at(neon: Neon, v: Quad<uint8x16_t>, shift: u32, mask: u8) -> Quad<uint8x16_t> {
    let (left, mask) = (proved!(neon, vdupq_n_s8, -(shift as i8)), proved!(neon, vdupq_n_u8, mask));
    each!(neon, vandq_u8, each!(neon, vshlq_u8, v, [left; 4]), [mask; 4])
}

/// Widens 16 unsigned bytes.
#[inline(always)]
fn widen_bytes(neon: Neon, bytes: &[u8; 16]) -> Quad<uint32x4_t> {
    let all = neon.load(bytes);
    let (low, high) = (proved!(neon, vmovl_u8, proved!(neon, vget_low_u8, all)), proved!(neon, vmovl_high_u8, all));
    [
        proved!(neon, vmovl_u16, proved!(neon, vget_low_u16, low)),
        proved!(neon, vmovl_high_u16, low),
        proved!(neon, vmovl_u16, proved!(neon, vget_low_u16, high)),
        proved!(neon, vmovl_high_u16, high),
    ]
}

impl<T: Dots> Simd for T {
    type Codes = Quad<uint8x16_t>;
    type Ints = Quad<int32x4_t>;
    type Floats = Quad<float32x4_t>;

    const ROWS: usize = 4;

    #[inline(always)]
    fn launch<K: Kernel<Self>>(self, kernel: K) {
        self.enable(kernel);
    }

    #[inline(always)]
    fn code_shift(bits: u32) -> i32 {
        if T::UNSIGNED || bits < 8 { 0 } else { 128 }
    }

    #[inline(always)]
    fn codes(self, bytes: &[u8; 64]) -> Quad<uint8x16_t> {
        self.neon().load_quad(bytes)
    }

    #[inline(always)]
    fn store_codes(self, codes: Quad<uint8x16_t>, out: &mut [u8; 64]) {
        self.neon().store_quad(codes, out);
    }

    #[inline(always)]
    fn low_nibbles(self, v: Quad<uint8x16_t>) -> Quad<uint8x16_t> {
        each!(self, vandq_u8, v, [proved!(self, vdupq_n_u8, 15); 4])
    }

    #[inline(always)]
    fn high_nibbles(self, v: Quad<uint8x16_t>) -> Quad<uint8x16_t> {
        each!(self, vshrq_n_u8::<4>, v)
    }

    #[inline(always)]
    fn pair(self, v: Quad<uint8x16_t>, t: usize) -> Quad<uint8x16_t> {
        let shifted = match t {
            0 => v,
            1 => each!(self, vshrq_n_u8::<2>, v),
            2 => each!(self, vshrq_n_u8::<4>, v),
            _ => return each!(self, vshrq_n_u8::<6>, v),
        };
        each!(self, vandq_u8, shifted, [proved!(self, vdupq_n_u8, 3); 4])
    }

    #[inline(always)]
    fn bits_at(self, v: Quad<uint8x16_t>, shift: u32, mask: u8) -> Quad<uint8x16_t> {
        bits_at(self.neon(), v, shift, mask)
    }

    #[inline(always)]
    fn add_where(self, codes: Quad<uint8x16_t>, mask: u64, value: u8) -> Quad<uint8x16_t> {
        // Byte i of a vector tests bit i % 8 of byte i / 8 of its quarter of the mask.
        let spread = proved!(self, vreinterpretq_u8_u64, proved!(self, vdupq_n_u64, 0x0101_0101_0101_0101));
        let spread = proved!(self, vextq_u8::<8>, proved!(self, vdupq_n_u8, 0), spread);
        let bit = proved!(self, vreinterpretq_u8_u64, proved!(self, vdupq_n_u64, 0x8040_2010_0804_0201));
        let masks = proved!(self, vreinterpretq_u8_u64, proved!(self, vdupq_n_u64, mask));
        let quarter = |at: u8| proved!(self, vaddq_u8, spread, proved!(self, vdupq_n_u8, at));
        let bytes = each!(self, vqtbl1q_u8, [masks; 4], [quarter(0), quarter(2), quarter(4), quarter(6)]);
        let set = each!(self, vtstq_u8, bytes, [bit; 4]);
        each!(self, vorrq_u8, codes, each!(self, vandq_u8, set, [proved!(self, vdupq_n_u8, value); 4]))
    }

    #[inline(always)]
    fn lookup(self, codes: Quad<uint8x16_t>, table: &[u8; 16]) -> Quad<uint8x16_t> {
        each!(self, vqtbl1q_u8, [self.neon().load(table); 4], codes)
    }

    #[inline(always)]
    fn add_pairs(self, codes: Quad<uint8x16_t>, pairs: Quad<uint8x16_t>, t: usize) -> Quad<uint8x16_t> {
        each!(self, vsliq_n_u8::<4>, codes, self.pair(pairs, t))
    }

    #[inline(always)]
    fn ints(self, value: i32) -> Quad<int32x4_t> {
        [proved!(self, vdupq_n_s32, value); 4]
    }

    #[inline(always)]
    fn load_ints(self, values: &[i32; 16]) -> Quad<int32x4_t> {
        each!(self, vreinterpretq_s32_u8, self.neon().load_quad(values))
    }

    #[inline(always)]
    fn store_ints(self, v: Quad<int32x4_t>, out: &mut [i32; 16]) {
        self.neon().store_quad(each!(self, vreinterpretq_u8_s32, v), out);
    }

    #[inline(always)]
    fn ints_from_bytes(self, bytes: &[u8; 16]) -> Quad<int32x4_t> {
        each!(self, vreinterpretq_s32_u32, widen_bytes(self.neon(), bytes))
    }

    #[inline(always)]
    fn mul_add_short(self, a: Quad<int32x4_t>, b: i32, c: Quad<int32x4_t>) -> Quad<int32x4_t> {
        each!(self, vmlaq_s32, c, a, self.ints(b))
    }

    #[inline(always)]
    fn dot<const R: usize>(
        self,
        bits: u32,
        weights: &[Quad<uint8x16_t>; 8],
        (from, to): (usize, usize),
        x: &[[i8; 32]; R],
        sums: &mut [Quad<int32x4_t>; R],
    ) {
        let mut rows = [[proved!(self, vdupq_n_u8, 0); 2]; R];
        let mut r = 0;
        while r < R {
            rows[r] = self.neon().load_pair(&x[r]);
            r += 1;
        }
        match (from, to) {
            (0, 4) => self.add::<R, 0, 4>(bits, weights, &rows, sums),
            (4, _) => self.add::<R, 4, 8>(bits, weights, &rows, sums),
            _ => self.add::<R, 0, 8>(bits, weights, &rows, sums),
        }
    }

    #[inline(always)]
    fn dot_one(self, bits: u32, weights: Quad<uint8x16_t>, x: [i8; 4]) -> Quad<int32x4_t> {
        let four = proved!(self, vdupq_n_s32, i32::from_le_bytes(x.map(i8::cast_unsigned)));
        self.one(bits, weights, proved!(self, vreinterpretq_u8_s32, four))
    }

    #[inline(always)]
    fn add_upper(self, a: Quad<int32x4_t>, b: Quad<int32x4_t>) -> Quad<int32x4_t> {
        each!(self, vaddq_s32, each!(self, vshlq_n_s32::<7>, a), b)
    }

    #[inline(always)]
    fn floats(self, value: f32) -> Quad<float32x4_t> {
        [proved!(self, vdupq_n_f32, value); 4]
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> Quad<float32x4_t> {
        each!(self, vreinterpretq_f32_u8, self.neon().load_quad(values))
    }

    #[inline(always)]
    fn store(self, v: Quad<float32x4_t>, out: &mut [f32; 16]) {
        self.neon().store_quad(each!(self, vreinterpretq_u8_f32, v), out);
    }

    #[inline(always)]
    fn widen_ints(self, v: Quad<int32x4_t>) -> Quad<float32x4_t> {
        each!(self, vcvtq_f32_s32, v)
    }

    #[inline(always)]
    fn widen_f16(self, bytes: &[u8; 32]) -> Quad<float32x4_t> {
        let [a, b] = self.neon().load_pair(bytes);
        let ([a, b], [c, d]) = (self.neon().widen_halves(a), self.neon().widen_halves(b));
        [a, b, c, d]
    }

    #[inline(always)]
    fn widen_bf16(self, bytes: &[u8; 32]) -> Quad<float32x4_t> {
        let [a, b] = self.neon().load_pair(bytes);
        let ([a, b], [c, d]) = (self.neon().widen_bfloats(a), self.neon().widen_bfloats(b));
        [a, b, c, d]
    }

    #[inline(always)]
    fn widen_f32(self, bytes: &[u8; 64]) -> Quad<float32x4_t> {
        each!(self, vreinterpretq_f32_u8, self.neon().load_quad(bytes))
    }

    #[inline(always)]
    fn widen_i8(self, bytes: &[u8; 16]) -> Quad<float32x4_t> {
        self.neon().widen_bytes(proved!(self, vreinterpretq_s8_u8, self.neon().load(bytes)))
    }

    #[inline(always)]
    fn widen_u8(self, bytes: &[u8; 16]) -> Quad<float32x4_t> {
        each!(self, vcvtq_f32_u32, widen_bytes(self.neon(), bytes))
    }

    #[inline(always)]
    fn mul(self, a: Quad<float32x4_t>, b: Quad<float32x4_t>) -> Quad<float32x4_t> {
        each!(self, vmulq_f32, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: Quad<float32x4_t>, b: Quad<float32x4_t>, c: Quad<float32x4_t>) -> Quad<float32x4_t> {
        each!(self, vfmaq_f32, c, a, b)
    }

    #[inline(always)]
    fn prefetch(self, _bytes: &[u8], _at: usize) {}
}
