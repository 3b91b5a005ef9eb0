//! Float lanes in WebAssembly's 128-bit vectors. These have no fused multiply-add, so terms are rounded twice, as in
//! [`crate::math::fused`].

use std::arch::wasm32::*;

use half::{bf16, f16};

use super::Lanes;
use crate::{Simd128, TILE};

/// Loads a vector from memory.
macro_rules! load {
    ($f:ident, $values:expr, $at:expr, $count:literal) => {{
        let part: &[_; $count] = part($values, $at);
        // SAFETY: `part` has the size that the instruction reads, and any alignment will do.
        unsafe { $f(part.as_ptr().cast()) }
    }};
}
pub(crate) use load;

/// Returns values `at..at + N`.
#[inline(always)]
pub(crate) fn part<T, const N: usize>(values: &[T], at: usize) -> &[T; N] {
    match values[at..].first_chunk() {
        Some(part) => part,
        None => panic!("{N} values at {at} of {}", values.len()),
    }
}

/// Writes a vector of floats to `out[at..at + 4]`.
#[inline(always)]
pub(crate) fn store_floats(v: v128, out: &mut [f32], at: usize) {
    let values = [
        f32x4_extract_lane::<0>(v),
        f32x4_extract_lane::<1>(v),
        f32x4_extract_lane::<2>(v),
        f32x4_extract_lane::<3>(v),
    ];
    out[at..at + 4].copy_from_slice(&values);
}

/// Converts four half-precision numbers, each in the lower half of a lane, to single precision.
///
/// The exponent and fraction are moved into place. One exact product corrects the exponent's bias, also for subnormal
/// numbers. Infinities and NaNs then get the largest exponent.
#[inline(always)]
pub(crate) fn widen_halves(h: v128) -> v128 {
    let magnitude = u32x4_shl(v128_and(h, u32x4_splat(0x7fff)), 13);
    let scaled = f32x4_mul(magnitude, f32x4_splat(f32::from_bits((254 - 15) << 23)));
    let special = u32x4_ge(magnitude, u32x4_splat(0x7c00 << 13));
    let exponent = v128_and(special, u32x4_splat(0xff << 23));
    let sign = u32x4_shl(v128_and(h, u32x4_splat(0x8000)), 16);
    v128_or(v128_or(scaled, exponent), sign)
}

impl Lanes for Simd128 {
    type V = [v128; 4];
    const WIDE: bool = false;
    const PLAIN: bool = true;
    const HEIGHTS: &'static [usize] = &[4, 1];

    #[inline(always)]
    fn splat(self, x: f32) -> [v128; 4] {
        [f32x4_splat(x); 4]
    }
    #[inline(always)]
    fn load(self, x: &[f32; TILE]) -> [v128; 4] {
        std::array::from_fn(|i| load!(v128_load, x, 4 * i, 4))
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; TILE]) -> [v128; 4] {
        std::array::from_fn(|i| widen_halves(load!(u32x4_load_extend_u16x4, x, 4 * i, 4)))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; TILE]) -> [v128; 4] {
        std::array::from_fn(|i| u32x4_shl(load!(u32x4_load_extend_u16x4, x, 4 * i, 4), 16))
    }
    #[inline(always)]
    fn store(self, v: [v128; 4], out: &mut [f32; TILE]) {
        for (i, v) in v.into_iter().enumerate() {
            store_floats(v, out, 4 * i);
        }
    }
    #[inline(always)]
    fn mul(self, a: [v128; 4], b: [v128; 4]) -> [v128; 4] {
        std::array::from_fn(|i| f32x4_mul(a[i], b[i]))
    }
    #[inline(always)]
    fn mul_add(self, a: [v128; 4], b: [v128; 4], c: [v128; 4]) -> [v128; 4] {
        std::array::from_fn(|i| f32x4_add(f32x4_mul(a[i], b[i]), c[i]))
    }
}
