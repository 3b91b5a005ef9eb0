//! Dot products on each instruction set.

use std::arch::aarch64::*;

use super::Quad;
use crate::int8::simd::{Kernel, Simd};
use crate::intrinsics::{Token, proved};
use crate::{DotProd, I8mm, Neon};

/// The dot products of an instruction set, and what every level shares through [`Neon`].
pub(in crate::int8) trait Dots: Token {
    /// `true` if codes of 8 bits are operands as they are; otherwise they are reduced by 128, which makes them signed.
    const UNSIGNED: bool;

    fn neon(self) -> Neon;

    /// Runs `kernel` in a separate function that enables the instructions.
    fn enable<K: Kernel<Self>>(self, kernel: K)
    where
        Self: Simd;

    /// Adds to `sums[r]` the dot product of vectors `FROM..TO` of the weights, of codes of `bits` bits, with the same columns of
    /// activation row r.
    fn add<const R: usize, const FROM: usize, const TO: usize>(
        self,
        bits: u32,
        weights: &[Quad<uint8x16_t>; 8],
        x: &[[uint8x16_t; 2]; R],
        sums: &mut [Quad<int32x4_t>; R],
    );

    /// Returns the dot product of one vector of the weights, of codes of `bits` bits, with 4 activations.
    fn one(self, bits: u32, weights: Quad<uint8x16_t>, x: uint8x16_t) -> Quad<int32x4_t>;
}

/// Returns codes of `bits` bits as signed bytes.
#[inline(always)]
fn signed(neon: Neon, bits: u32, codes: uint8x16_t) -> uint8x16_t {
    if bits < 8 { codes } else { proved!(neon, veorq_u8, codes, proved!(neon, vdupq_n_u8, 128)) }
}

/// Returns the number of products, of codes of `bits` bits, that can be added in 16 bits before widening.
const fn short_sums(bits: u32) -> usize {
    match bits {
        ..=5 => 8, // 8 * 31 * 127 = 31,496
        6 => 4,    // 4 * 63 * 127 = 32,004
        _ => 2,    // 2 * 128 * 127 = 32,512
    }
}

impl Neon {
    /// Adds to `short` the 16 products of signed codes with activations, in 16 bits.
    #[inline(always)]
    fn add_products(self, short: [int16x8_t; 2], codes: uint8x16_t, x: uint8x16_t) -> [int16x8_t; 2] {
        let codes = proved!(self, vreinterpretq_s8_u8, codes);
        let x = proved!(self, vreinterpretq_s8_u8, x);
        let (low, x_low) = (proved!(self, vget_low_s8, codes), proved!(self, vget_low_s8, x));
        [proved!(self, vmlal_s8, short[0], low, x_low), proved!(self, vmlal_high_s8, short[1], codes, x)]
    }

    /// Adds the sums of four adjacent products to each lane of `sum`.
    #[inline(always)]
    fn add_rows(self, sum: int32x4_t, short: [int16x8_t; 2]) -> int32x4_t {
        let (low, high) = (proved!(self, vpaddlq_s16, short[0]), proved!(self, vpaddlq_s16, short[1]));
        proved!(self, vaddq_s32, sum, proved!(self, vpaddq_s32, low, high))
    }

    /// Returns every four bytes of 32 in all lanes of a vector.
    #[inline(always)]
    fn splat_lanes(self, x: [uint8x16_t; 2]) -> [uint8x16_t; 8] {
        let x = x.map(|x| proved!(self, vreinterpretq_u32_u8, x));
        let four = [
            proved!(self, vdupq_laneq_u32::<0>, x[0]),
            proved!(self, vdupq_laneq_u32::<1>, x[0]),
            proved!(self, vdupq_laneq_u32::<2>, x[0]),
            proved!(self, vdupq_laneq_u32::<3>, x[0]),
            proved!(self, vdupq_laneq_u32::<0>, x[1]),
            proved!(self, vdupq_laneq_u32::<1>, x[1]),
            proved!(self, vdupq_laneq_u32::<2>, x[1]),
            proved!(self, vdupq_laneq_u32::<3>, x[1]),
        ];
        four.map(|four| proved!(self, vreinterpretq_u8_u32, four))
    }
}

impl Dots for Neon {
    const UNSIGNED: bool = false;

    #[inline(always)]
    fn neon(self) -> Neon {
        self
    }

    #[inline(never)]
    fn enable<K: Kernel<Self>>(self, kernel: K) {
        kernel.run(self);
    }

    #[inline(always)]
    fn add<const R: usize, const FROM: usize, const TO: usize>(
        self,
        bits: u32,
        weights: &[Quad<uint8x16_t>; 8],
        x: &[[uint8x16_t; 2]; R],
        sums: &mut [Quad<int32x4_t>; R],
    ) {
        let zero = [proved!(self, vdupq_n_s16, 0); 2];
        let mut r = 0;
        while r < R {
            let four = self.splat_lanes(x[r]);
            let mut q = 0;
            while q < 4 {
                let mut short = zero;
                let mut v = FROM;
                while v < TO {
                    short = self.add_products(short, signed(self, bits, weights[v][q]), four[v]);
                    v += 1;
                    if v.is_multiple_of(short_sums(bits)) || v == TO {
                        sums[r][q] = self.add_rows(sums[r][q], short);
                        short = zero;
                    }
                }
                q += 1;
            }
            r += 1;
        }
    }

    #[inline(always)]
    fn one(self, bits: u32, weights: Quad<uint8x16_t>, x: uint8x16_t) -> Quad<int32x4_t> {
        let (zero, sum) = ([proved!(self, vdupq_n_s16, 0); 2], proved!(self, vdupq_n_s32, 0));
        weights.map(|codes| self.add_rows(sum, self.add_products(zero, signed(self, bits, codes), x)))
    }
}

/// Implements [`Dots::add`] and [`Dots::one`] with instructions that add four products to a lane.
///
/// Quarters of a tile and halves of a block are written out: the compiler does not unroll loops over this many instructions,
/// and would keep the sums in memory.
macro_rules! by_dot_products {
    ($operand:expr, $by_lane:ident, $whole:ident) => {
        #[inline(always)]
        fn add<const R: usize, const FROM: usize, const TO: usize>(
            self,
            bits: u32,
            weights: &[Quad<uint8x16_t>; 8],
            x: &[[uint8x16_t; 2]; R],
            sums: &mut [Quad<int32x4_t>; R],
        ) {
            macro_rules! add {
                ($q:literal, $half:literal) => {
                    if FROM <= 4 * $half && 4 * $half < TO {
                        let codes = [
                            $operand(self.neon(), bits, weights[4 * $half][$q]),
                            $operand(self.neon(), bits, weights[4 * $half + 1][$q]),
                            $operand(self.neon(), bits, weights[4 * $half + 2][$q]),
                            $operand(self.neon(), bits, weights[4 * $half + 3][$q]),
                        ];
                        let mut r = 0;
                        while r < R {
                            let sum = self.$by_lane::<0>(sums[r][$q], codes[0], x[r][$half]);
                            let sum = self.$by_lane::<1>(sum, codes[1], x[r][$half]);
                            let sum = self.$by_lane::<2>(sum, codes[2], x[r][$half]);
                            sums[r][$q] = self.$by_lane::<3>(sum, codes[3], x[r][$half]);
                            r += 1;
                        }
                    }
                };
            }
            add!(0, 0);
            add!(0, 1);
            add!(1, 0);
            add!(1, 1);
            add!(2, 0);
            add!(2, 1);
            add!(3, 0);
            add!(3, 1);
        }

        #[inline(always)]
        fn one(self, bits: u32, weights: Quad<uint8x16_t>, x: uint8x16_t) -> Quad<int32x4_t> {
            let zero = proved!(self.neon(), vdupq_n_s32, 0);
            let mut dots = [zero; 4];
            let mut q = 0;
            while q < 4 {
                dots[q] = self.$whole(zero, $operand(self.neon(), bits, weights[q]), x);
                q += 1;
            }
            dots
        }
    };
}

impl Dots for DotProd {
    const UNSIGNED: bool = false;

    #[inline(always)]
    fn neon(self) -> Neon {
        self.narrower()
    }

    fn enable<K: Kernel<Self>>(self, kernel: K) {
        #[inline(never)]
        #[target_feature(enable = "neon,dotprod")]
        fn enabled<K: Kernel<DotProd>>(token: DotProd, kernel: K) {
            kernel.run(token);
        }
        // SAFETY: the token proves that the CPU has the features that the function enables.
        unsafe { enabled(self, kernel) };
    }

    by_dot_products!(signed, signed_dot_lane, signed_dot);
}

/// Returns codes as they are.
#[inline(always)]
fn unsigned(_neon: Neon, _bits: u32, codes: uint8x16_t) -> uint8x16_t {
    codes
}

impl Dots for I8mm {
    const UNSIGNED: bool = true;

    #[inline(always)]
    fn neon(self) -> Neon {
        self.narrower().narrower()
    }

    fn enable<K: Kernel<Self>>(self, kernel: K) {
        #[inline(never)]
        #[target_feature(enable = "neon,dotprod,i8mm")]
        fn enabled<K: Kernel<I8mm>>(token: I8mm, kernel: K) {
            kernel.run(token);
        }
        // SAFETY: the token proves that the CPU has the features that the function enables.
        unsafe { enabled(self, kernel) };
    }

    by_dot_products!(unsigned, mixed_dot_lane, mixed_dot);
}
