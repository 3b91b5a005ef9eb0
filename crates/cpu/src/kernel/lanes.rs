//! Sixteen float lanes on every instruction set.

use half::{bf16, f16};

use crate::TILE;
use crate::math::fused;

/// Sixteen float lanes.
///
/// An implementor is a token that proves its instructions, so every method is safe. All methods are inlined into the
/// function that enables the instructions. All implementors give the same bits.
pub(crate) trait Lanes: Copy {
    /// Sixteen floats.
    type V: Copy;

    /// `true` if 24 sums fit in registers beside their operands.
    const WIDE: bool;
    /// `true` if there are no vector instructions to rely on.
    const PLAIN: bool;
    /// The numbers of rows that a panel may have, in descending order; the last is 1.
    const HEIGHTS: &'static [usize];

    fn splat(self, x: f32) -> Self::V;
    fn load(self, x: &[f32; TILE]) -> Self::V;
    fn load_f16(self, x: &[f16; TILE]) -> Self::V;
    fn load_bf16(self, x: &[bf16; TILE]) -> Self::V;
    fn store(self, v: Self::V, out: &mut [f32; TILE]);
    /// Loads signed bytes.
    #[inline(always)]
    fn load_i8(self, x: &[u8; TILE]) -> Self::V {
        self.load(&x.map(|byte| f32::from(byte as i8)))
    }
    /// Loads the lower halves of bytes, which stand for -8 to 7.
    #[inline(always)]
    fn load_i4_low(self, x: &[u8; TILE]) -> Self::V {
        self.load(&x.map(|byte| f32::from((byte & 15) as i8 - 8)))
    }
    /// Loads the upper halves of bytes, which stand for -8 to 7.
    #[inline(always)]
    fn load_i4_high(self, x: &[u8; TILE]) -> Self::V {
        self.load(&x.map(|byte| f32::from((byte >> 4) as i8 - 8)))
    }
    /// Returns a * b.
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        self.mul_add(a, b, self.splat(-0.0))
    }
    /// Returns a * b + c, rounded once; twice in the browser (see [`crate::math::fused`]).
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Prefetches the cache line of item `at`, which may be past the end.
    #[inline(always)]
    fn prefetch<T>(self, _items: &[T], _at: usize) {}
}

/// A number type of weights and caches.
pub(crate) trait Number: Copy + Send + Sync + 'static {
    fn load<L: Lanes>(l: L, x: &[Self; TILE]) -> L::V;
    fn to_f32(self) -> f32;
}

impl Number for f32 {
    #[inline(always)]
    fn load<L: Lanes>(l: L, x: &[f32; TILE]) -> L::V {
        l.load(x)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Number for f16 {
    #[inline(always)]
    fn load<L: Lanes>(l: L, x: &[f16; TILE]) -> L::V {
        l.load_f16(x)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn load<L: Lanes>(l: L, x: &[bf16; TILE]) -> L::V {
        l.load_bf16(x)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
}

/// Portable lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Generic;

impl Lanes for Generic {
    type V = [f32; TILE];
    const WIDE: bool = false;
    const PLAIN: bool = true;
    const HEIGHTS: &'static [usize] = &[4, 1];

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; TILE] {
        [x; TILE]
    }
    #[inline(always)]
    fn load(self, x: &[f32; TILE]) -> [f32; TILE] {
        *x
    }
    #[inline(always)]
    fn load_f16(self, x: &[f16; TILE]) -> [f32; TILE] {
        x.map(f16::to_f32)
    }
    #[inline(always)]
    fn load_bf16(self, x: &[bf16; TILE]) -> [f32; TILE] {
        x.map(|v| f32::from_bits(u32::from(v.to_bits()) << 16))
    }
    #[inline(always)]
    fn store(self, v: [f32; TILE], out: &mut [f32; TILE]) {
        *out = v;
    }
    #[inline(always)]
    fn mul(self, mut a: [f32; TILE], b: [f32; TILE]) -> [f32; TILE] {
        a.iter_mut().zip(b).for_each(|(a, b)| *a *= b);
        a
    }
    #[inline(always)]
    fn mul_add(self, a: [f32; TILE], b: [f32; TILE], mut c: [f32; TILE]) -> [f32; TILE] {
        for i in 0..TILE {
            c[i] = fused(a[i], b[i], c[i]);
        }
        c
    }
}
