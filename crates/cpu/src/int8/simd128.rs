//! The operations as quadruples of WebAssembly's 128-bit vectors, four rows of a tile each.

use std::arch::wasm32::*;

use super::simd::{Kernel, Simd};
use crate::Simd128;
use crate::kernel::wasm::{load, part, store_floats, widen_halves};

/// Four vectors: rows 0 to 3, 4 to 7, 8 to 11, 12 to 15.
type Quad = [v128; 4];

#[inline(always)]
fn each(f: impl Fn(usize) -> v128) -> Quad {
    [f(0), f(1), f(2), f(3)]
}

/// Returns the number of products, of codes of `bits` bits, that can be added in 16 bits before widening.
const fn short_sums(bits: u32) -> usize {
    match bits {
        ..=5 => 8, // 8 * 31 * 127 = 31,496
        6 => 4,    // 4 * 63 * 127 = 32,004
        _ => 2,    // 2 * 128 * 127 = 32,512
    }
}

/// Shifts each byte right by `shift` and masks it.
#[inline(always)]
fn bits_at(v: Quad, shift: u32, mask: u8) -> Quad {
    each(|i| v128_and(u16x8_shr(v[i], shift), u8x16_splat(mask)))
}

/// Adds two vectors of eight products, four adjacent ones per row, row by row.
#[inline(always)]
fn row_sums(low: v128, high: v128) -> v128 {
    let (low, high) = (i32x4_extadd_pairwise_i16x8(low), i32x4_extadd_pairwise_i16x8(high));
    i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(low, high), i32x4_shuffle::<1, 3, 5, 7>(low, high))
}

impl Simd for Simd128 {
    type Codes = Quad;
    type Ints = Quad;
    type Floats = Quad;

    const ROWS: usize = 4;

    #[inline(never)]
    fn launch<K: Kernel<Self>>(self, kernel: K) {
        kernel.run(self);
    }

    #[inline(always)]
    fn code_shift(bits: u32) -> i32 {
        if bits < 8 { 0 } else { 128 }
    }

    #[inline(always)]
    fn codes(self, bytes: &[u8; 64]) -> Quad {
        each(|i| load!(v128_load, bytes, 16 * i, 16))
    }

    #[inline(always)]
    fn store_codes(self, codes: Quad, out: &mut [u8; 64]) {
        for (codes, out) in codes.into_iter().zip(out.as_chunks_mut::<16>().0) {
            // SAFETY: `out` has the 16 bytes that are written, and any alignment will do.
            unsafe { v128_store(out.as_mut_ptr().cast(), codes) };
        }
    }

    #[inline(always)]
    fn low_nibbles(self, v: Quad) -> Quad {
        each(|i| v128_and(v[i], u8x16_splat(15)))
    }

    #[inline(always)]
    fn high_nibbles(self, v: Quad) -> Quad {
        each(|i| u8x16_shr(v[i], 4))
    }

    #[inline(always)]
    fn pair(self, v: Quad, t: usize) -> Quad {
        bits_at(v, 2 * t as u32, 3)
    }

    #[inline(always)]
    fn bits_at(self, v: Quad, shift: u32, mask: u8) -> Quad {
        bits_at(v, shift, mask)
    }

    #[inline(always)]
    fn add_where(self, codes: Quad, mask: u64, value: u8) -> Quad {
        // Byte i of a vector tests bit i % 8 of byte i / 8 of its quarter of the mask.
        let spread = u8x16(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
        let bit = u64x2_splat(0x8040_2010_0804_0201);
        each(|i| {
            let bytes = u8x16_swizzle(u16x8_splat((mask >> (16 * i)) as u16), spread);
            let set = u8x16_eq(v128_and(bytes, bit), bit);
            v128_or(codes[i], v128_and(set, u8x16_splat(value)))
        })
    }

    #[inline(always)]
    fn lookup(self, codes: Quad, table: &[u8; 16]) -> Quad {
        let table = load!(v128_load, table, 0, 16);
        each(|i| u8x16_swizzle(table, codes[i]))
    }

    #[inline(always)]
    fn add_pairs(self, codes: Quad, pairs: Quad, t: usize) -> Quad {
        let high = match t {
            0 => each(|i| v128_and(u16x8_shl(pairs[i], 4), u8x16_splat(0x30))),
            1 => each(|i| v128_and(u16x8_shl(pairs[i], 2), u8x16_splat(0x30))),
            _ => bits_at(pairs, 2 * t as u32 - 4, 0x30),
        };
        each(|i| v128_or(codes[i], high[i]))
    }

    #[inline(always)]
    fn ints(self, value: i32) -> Quad {
        [i32x4_splat(value); 4]
    }

    #[inline(always)]
    fn load_ints(self, values: &[i32; 16]) -> Quad {
        each(|i| load!(v128_load, values, 4 * i, 4))
    }

    #[inline(always)]
    fn store_ints(self, v: Quad, out: &mut [i32; 16]) {
        for (v, out) in v.into_iter().zip(out.as_chunks_mut::<4>().0) {
            // SAFETY: `out` has the 16 bytes that are written, and any alignment will do.
            unsafe { v128_store(out.as_mut_ptr().cast(), v) };
        }
    }

    #[inline(always)]
    fn ints_from_bytes(self, bytes: &[u8; 16]) -> Quad {
        let all = load!(v128_load, bytes, 0, 16);
        let (low, high) = (u16x8_extend_low_u8x16(all), u16x8_extend_high_u8x16(all));
        [
            u32x4_extend_low_u16x8(low),
            u32x4_extend_high_u16x8(low),
            u32x4_extend_low_u16x8(high),
            u32x4_extend_high_u16x8(high),
        ]
    }

    #[inline(always)]
    fn mul_add_short(self, a: Quad, b: i32, c: Quad) -> Quad {
        // The upper half of each lane of `a` is 0, so only the lower half of `b` matters.
        let b = i32x4_splat(b);
        each(|i| i32x4_add(c[i], i32x4_dot_i16x8(a[i], b)))
    }

    #[inline(always)]
    fn dot<const R: usize>(
        self,
        bits: u32,
        weights: &[Quad; 8],
        (from, to): (usize, usize),
        x: &[[i8; 32]; R],
        sums: &mut [Quad; R],
    ) {
        let step = short_sums(bits).min(to - from);
        // Codes of 8 bits are reduced by 128, which makes them signed.
        let flip = u8x16_splat(if bits < 8 { 0 } else { 128 });
        let mut r = 0;
        while r < R {
            let mut first = from;
            while first < to {
                let mut short = [i16x8_splat(0); 8];
                let mut v = first;
                while v < first + step {
                    let four = load!(v128_load32_splat, &x[r], 4 * v, 4);
                    let mut q = 0;
                    while q < 4 {
                        let codes = v128_xor(weights[v][q], flip);
                        short[2 * q] = i16x8_add(short[2 * q], i16x8_extmul_low_i8x16(codes, four));
                        short[2 * q + 1] = i16x8_add(short[2 * q + 1], i16x8_extmul_high_i8x16(codes, four));
                        q += 1;
                    }
                    v += 1;
                }
                let mut q = 0;
                while q < 4 {
                    sums[r][q] = i32x4_add(sums[r][q], row_sums(short[2 * q], short[2 * q + 1]));
                    q += 1;
                }
                first += step;
            }
            r += 1;
        }
    }

    #[inline(always)]
    fn dot_one(self, bits: u32, weights: Quad, x: [i8; 4]) -> Quad {
        let flip = u8x16_splat(if bits < 8 { 0 } else { 128 });
        let four = i32x4_splat(i32::from_le_bytes(x.map(i8::cast_unsigned)));
        each(|i| {
            let codes = v128_xor(weights[i], flip);
            row_sums(i16x8_extmul_low_i8x16(codes, four), i16x8_extmul_high_i8x16(codes, four))
        })
    }

    #[inline(always)]
    fn add_upper(self, a: Quad, b: Quad) -> Quad {
        each(|i| i32x4_add(i32x4_shl(a[i], 7), b[i]))
    }

    #[inline(always)]
    fn floats(self, value: f32) -> Quad {
        [f32x4_splat(value); 4]
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> Quad {
        each(|i| load!(v128_load, values, 4 * i, 4))
    }

    #[inline(always)]
    fn store(self, v: Quad, out: &mut [f32; 16]) {
        for (i, v) in v.into_iter().enumerate() {
            store_floats(v, out, 4 * i);
        }
    }

    #[inline(always)]
    fn widen_ints(self, v: Quad) -> Quad {
        each(|i| f32x4_convert_i32x4(v[i]))
    }

    #[inline(always)]
    fn widen_f16(self, bytes: &[u8; 32]) -> Quad {
        each(|i| widen_halves(load!(u32x4_load_extend_u16x4, bytes, 8 * i, 8)))
    }

    #[inline(always)]
    fn widen_bf16(self, bytes: &[u8; 32]) -> Quad {
        each(|i| u32x4_shl(load!(u32x4_load_extend_u16x4, bytes, 8 * i, 8), 16))
    }

    #[inline(always)]
    fn widen_f32(self, bytes: &[u8; 64]) -> Quad {
        each(|i| load!(v128_load, bytes, 16 * i, 16))
    }

    #[inline(always)]
    fn widen_i8(self, bytes: &[u8; 16]) -> Quad {
        let all = load!(v128_load, bytes, 0, 16);
        let (low, high) = (i16x8_extend_low_i8x16(all), i16x8_extend_high_i8x16(all));
        [
            f32x4_convert_i32x4(i32x4_extend_low_i16x8(low)),
            f32x4_convert_i32x4(i32x4_extend_high_i16x8(low)),
            f32x4_convert_i32x4(i32x4_extend_low_i16x8(high)),
            f32x4_convert_i32x4(i32x4_extend_high_i16x8(high)),
        ]
    }

    #[inline(always)]
    fn widen_u8(self, bytes: &[u8; 16]) -> Quad {
        let ints = self.ints_from_bytes(bytes);
        self.widen_ints(ints)
    }

    #[inline(always)]
    fn mul(self, a: Quad, b: Quad) -> Quad {
        each(|i| f32x4_mul(a[i], b[i]))
    }

    #[inline(always)]
    fn mul_add(self, a: Quad, b: Quad, c: Quad) -> Quad {
        // Rounded twice, like `math::fused` in the browser, which has no fused multiply-add.
        each(|i| f32x4_add(f32x4_mul(a[i], b[i]), c[i]))
    }

    #[inline(always)]
    fn prefetch(self, _bytes: &[u8], _at: usize) {}
}
