//! Float lanes in the vectors of aarch64.

use std::arch::aarch64::*;

use half::{bf16, f16};

use super::Lanes;
use crate::intrinsics::proved;
use crate::{Neon, TILE};

impl Neon {
    /// Converts codes of 4 bits, which stand for -8 to 7.
    #[inline(always)]
    fn widen_codes(self, codes: uint8x16_t) -> [float32x4_t; 4] {
        let codes = proved!(self, vreinterpretq_s8_u8, codes);
        self.widen_bytes(proved!(self, vsubq_s8, codes, proved!(self, vdupq_n_s8, 8)))
    }
}

impl Lanes for Neon {
    type V = [float32x4_t; 4];
    const WIDE: bool = false;
    const PLAIN: bool = false;
    const HEIGHTS: &'static [usize] = &[6, 4, 2, 1];

    #[inline(always)]
    fn splat(self, x: f32) -> [float32x4_t; 4] {
        [proved!(self, vdupq_n_f32, x); 4]
    }
    #[inline(always)]
    fn load(self, x: &[f32; TILE]) -> [float32x4_t; 4] {
        self.load_quad(x).map(|v| proved!(self, vreinterpretq_f32_u8, v))
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; TILE]) -> [float32x4_t; 4] {
        let [a, b] = self.load_pair(x);
        let ([a, b], [c, d]) = (self.widen_halves(a), self.widen_halves(b));
        [a, b, c, d]
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; TILE]) -> [float32x4_t; 4] {
        let [a, b] = self.load_pair(x);
        let ([a, b], [c, d]) = (self.widen_bfloats(a), self.widen_bfloats(b));
        [a, b, c, d]
    }
    #[inline(always)]
    fn store(self, v: [float32x4_t; 4], out: &mut [f32; TILE]) {
        self.store_quad(v.map(|v| proved!(self, vreinterpretq_u8_f32, v)), out);
    }
    #[inline(always)]
    fn load_i8(self, x: &[u8; TILE]) -> [float32x4_t; 4] {
        self.widen_bytes(proved!(self, vreinterpretq_s8_u8, Neon::load(self, x)))
    }
    #[inline(always)]
    fn load_i4_low(self, x: &[u8; TILE]) -> [float32x4_t; 4] {
        self.widen_codes(proved!(self, vandq_u8, Neon::load(self, x), proved!(self, vdupq_n_u8, 15)))
    }
    #[inline(always)]
    fn load_i4_high(self, x: &[u8; TILE]) -> [float32x4_t; 4] {
        self.widen_codes(proved!(self, vshrq_n_u8::<4>, Neon::load(self, x)))
    }
    #[inline(always)]
    fn mul(self, mut a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        for i in 0..4 {
            a[i] = proved!(self, vmulq_f32, a[i], b[i]);
        }
        a
    }
    #[inline(always)]
    fn mul_add(self, a: [float32x4_t; 4], b: [float32x4_t; 4], mut c: [float32x4_t; 4]) -> [float32x4_t; 4] {
        for i in 0..4 {
            c[i] = proved!(self, vfmaq_f32, c[i], a[i], b[i]);
        }
        c
    }
}
