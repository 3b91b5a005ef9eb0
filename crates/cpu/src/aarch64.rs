//! Vectors of aarch64 in memory, and instructions that Rust has no stable intrinsics for.

use std::arch::{aarch64::*, asm};

use bytemuck::Pod;

use crate::intrinsics::{Token, proved, registers};
use crate::{DotProd, I8mm, Neon};

impl Token for Neon {}
impl Token for DotProd {}
impl Token for I8mm {}
registers!(uint8x8_t uint8x16_t uint16x4_t uint16x8_t uint32x4_t uint64x2_t);
registers!(int8x8_t int8x16_t int16x4_t int16x8_t int32x4_t float32x4_t u8 i8 i16 i32 u64 f32);

impl Neon {
    /// Loads 16 bytes.
    #[inline(always)]
    pub(crate) fn load<T: Pod, const N: usize>(self, values: &[T; N]) -> uint8x16_t {
        const { assert!(size_of::<[T; N]>() == 16, "one vector") };
        // SAFETY: the token proves the instruction, which reads the 16 bytes of `values` at any alignment.
        unsafe { vld1q_u8(values.as_ptr().cast()) }
    }

    /// Loads 32 bytes as two vectors.
    #[inline(always)]
    pub(crate) fn load_pair<T: Pod, const N: usize>(self, values: &[T; N]) -> [uint8x16_t; 2] {
        const { assert!(size_of::<[T; N]>() == 32, "two vectors") };
        let p = values.as_ptr().cast::<u8>();
        // SAFETY: the token proves the instruction; both vectors lie within the 32 bytes of `values`, at any alignment.
        unsafe { [vld1q_u8(p), vld1q_u8(p.add(16))] }
    }

    /// Loads 64 bytes as four vectors.
    #[inline(always)]
    pub(crate) fn load_quad<T: Pod, const N: usize>(self, values: &[T; N]) -> [uint8x16_t; 4] {
        const { assert!(size_of::<[T; N]>() == 64, "four vectors") };
        let p = values.as_ptr().cast::<u8>();
        // SAFETY: the token proves the instruction; all vectors lie within the 64 bytes of `values`, at any alignment.
        unsafe { [vld1q_u8(p), vld1q_u8(p.add(16)), vld1q_u8(p.add(32)), vld1q_u8(p.add(48))] }
    }

    /// Stores four vectors of 16 bytes.
    #[inline(always)]
    pub(crate) fn store_quad<T: Pod, const N: usize>(self, v: [uint8x16_t; 4], out: &mut [T; N]) {
        const { assert!(size_of::<[T; N]>() == 64, "four vectors") };
        let p = out.as_mut_ptr().cast::<u8>();
        // SAFETY: the token proves the instruction; all vectors lie within the 64 bytes of `out`, at any alignment, and
        // every bit pattern is a value of a `Pod` type.
        unsafe {
            vst1q_u8(p, v[0]);
            vst1q_u8(p.add(16), v[1]);
            vst1q_u8(p.add(32), v[2]);
            vst1q_u8(p.add(48), v[3]);
        }
    }

    /// Converts eight half-precision numbers to single precision, exactly.
    #[inline(always)]
    pub(crate) fn widen_halves(self, halves: uint8x16_t) -> [float32x4_t; 2] {
        let (low, high);
        // SAFETY: the token proves the instructions, which access registers only.
        unsafe {
            asm!("fcvtl {o:v}.4s, {i:v}.4h", o = lateout(vreg) low, i = in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
            asm!("fcvtl2 {o:v}.4s, {i:v}.8h", o = lateout(vreg) high, i = in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
        }
        [low, high]
    }

    /// Converts 16 signed bytes to single precision.
    #[inline(always)]
    pub(crate) fn widen_bytes(self, bytes: int8x16_t) -> [float32x4_t; 4] {
        let low = proved!(self, vmovl_s8, proved!(self, vget_low_s8, bytes));
        let high = proved!(self, vmovl_high_s8, bytes);
        [
            proved!(self, vcvtq_f32_s32, proved!(self, vmovl_s16, proved!(self, vget_low_s16, low))),
            proved!(self, vcvtq_f32_s32, proved!(self, vmovl_high_s16, low)),
            proved!(self, vcvtq_f32_s32, proved!(self, vmovl_s16, proved!(self, vget_low_s16, high))),
            proved!(self, vcvtq_f32_s32, proved!(self, vmovl_high_s16, high)),
        ]
    }

    /// Converts eight bfloat16 numbers to single precision, exactly.
    #[inline(always)]
    pub(crate) fn widen_bfloats(self, halves: uint8x16_t) -> [float32x4_t; 2] {
        let halves = proved!(self, vreinterpretq_u16_u8, halves);
        let low = proved!(self, vshll_n_u16::<16>, proved!(self, vget_low_u16, halves));
        let high = proved!(self, vshll_high_n_u16::<16>, halves);
        [proved!(self, vreinterpretq_f32_u32, low), proved!(self, vreinterpretq_f32_u32, high)]
    }
}

/// Defines a method that adds to each lane of `sums` the dot product of four adjacent bytes of `codes` with four bytes of `x`.
macro_rules! dot_products {
    ($(#[$meta:meta])* $by_lane:ident, $whole:ident, $instruction:literal) => {
        $(#[$meta])*
        /// The bytes of `x` are those of lane `LANE`.
        #[inline(always)]
        pub(crate) fn $by_lane<const LANE: usize>(self, sums: int32x4_t, codes: uint8x16_t, x: uint8x16_t) -> int32x4_t {
            const { assert!(LANE < 4, "four lanes") };
            let mut sums = sums;
            // SAFETY: the token proves the instruction, which accesses registers only.
            unsafe {
                asm!(
                    concat!($instruction, " {sums:v}.4s, {codes:v}.16b, {x:v}.4b[{lane}]"),
                    sums = inout(vreg) sums, codes = in(vreg) codes, x = in(vreg) x, lane = const LANE,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sums
        }

        $(#[$meta])*
        /// The bytes of `x` are those of the same lane.
        #[inline(always)]
        pub(crate) fn $whole(self, sums: int32x4_t, codes: uint8x16_t, x: uint8x16_t) -> int32x4_t {
            let mut sums = sums;
            // SAFETY: the token proves the instruction, which accesses registers only.
            unsafe {
                asm!(
                    concat!($instruction, " {sums:v}.4s, {codes:v}.16b, {x:v}.16b"),
                    sums = inout(vreg) sums, codes = in(vreg) codes, x = in(vreg) x,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sums
        }
    };
}

impl DotProd {
    dot_products! {
        /// Adds to each lane of `sums` the dot product of four adjacent signed `codes` with four signed bytes of `x`.
        signed_dot_lane, signed_dot, "sdot"
    }
}

impl I8mm {
    dot_products! {
        /// Adds to each lane of `sums` the dot product of four adjacent unsigned `codes` with four signed bytes of `x`.
        mixed_dot_lane, mixed_dot, "usdot"
    }
}
