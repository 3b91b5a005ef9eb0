//! The operations in plain Rust: the reference of the vector versions, and the implementation for other CPUs.
//!
//! Each operation is a separate function. Inlined into every kernel, their unrolled loops were 1.3 MB of code, a third of the
//! crate.

use half::{bf16, f16};

use super::simd::{Kernel, Simd};
use crate::math::fused;

/// Plain Rust, which needs no special instructions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

#[inline(always)]
fn lanes<T: Copy + Default>(f: impl Fn(usize) -> T) -> [T; 16] {
    let mut out = [T::default(); 16];
    for (i, v) in out.iter_mut().enumerate() {
        *v = f(i);
    }
    out
}

#[inline(always)]
fn bytes(f: impl Fn(usize) -> u8) -> [u8; 64] {
    let mut out = [0; 64];
    for (i, v) in out.iter_mut().enumerate() {
        *v = f(i);
    }
    out
}

impl Simd for Portable {
    type Codes = [u8; 64];
    type Ints = [i32; 16];
    type Floats = [f32; 16];

    const ROWS: usize = 1;

    #[inline(never)]
    fn launch<K: Kernel<Self>>(self, kernel: K) {
        kernel.run(self);
    }

    #[inline(always)]
    fn code_shift(_bits: u32) -> i32 {
        0
    }

    #[inline(always)]
    fn codes(self, bytes: &[u8; 64]) -> [u8; 64] {
        *bytes
    }

    #[inline(always)]
    fn store_codes(self, codes: [u8; 64], out: &mut [u8; 64]) {
        *out = codes;
    }

    #[inline(never)]
    fn low_nibbles(self, v: [u8; 64]) -> [u8; 64] {
        bytes(|i| v[i] & 15)
    }

    #[inline(never)]
    fn high_nibbles(self, v: [u8; 64]) -> [u8; 64] {
        bytes(|i| v[i] >> 4)
    }

    #[inline(never)]
    fn pair(self, v: [u8; 64], t: usize) -> [u8; 64] {
        bytes(|i| v[i] >> (2 * t) & 3)
    }

    #[inline(never)]
    fn bits_at(self, v: [u8; 64], shift: u32, mask: u8) -> [u8; 64] {
        bytes(|i| v[i] >> shift & mask)
    }

    #[inline(never)]
    fn add_where(self, codes: [u8; 64], mask: u64, value: u8) -> [u8; 64] {
        bytes(|i| codes[i] | (((mask >> i) as u8 & 1) * value))
    }

    #[inline(never)]
    fn lookup(self, codes: [u8; 64], table: &[u8; 16]) -> [u8; 64] {
        bytes(|i| table[usize::from(codes[i] & 15)])
    }

    #[inline(never)]
    fn add_pairs(self, codes: [u8; 64], pairs: [u8; 64], t: usize) -> [u8; 64] {
        bytes(|i| codes[i] | (pairs[i] >> (2 * t) & 3) << 4)
    }

    #[inline(always)]
    fn ints(self, value: i32) -> [i32; 16] {
        [value; 16]
    }

    #[inline(always)]
    fn load_ints(self, values: &[i32; 16]) -> [i32; 16] {
        *values
    }

    #[inline(always)]
    fn store_ints(self, v: [i32; 16], out: &mut [i32; 16]) {
        *out = v;
    }

    #[inline(never)]
    fn ints_from_bytes(self, bytes: &[u8; 16]) -> [i32; 16] {
        lanes(|i| i32::from(bytes[i]))
    }

    #[inline(never)]
    fn mul_add_short(self, a: [i32; 16], b: i32, c: [i32; 16]) -> [i32; 16] {
        lanes(|i| a[i] * b + c[i])
    }

    #[inline(never)]
    fn dot<const R: usize>(
        self,
        _bits: u32,
        weights: &[[u8; 64]; 8],
        (from, to): (usize, usize),
        x: &[[i8; 32]; R],
        sums: &mut [[i32; 16]; R],
    ) {
        for (v, w) in weights.iter().enumerate().take(to).skip(from) {
            for (x, sums) in x.iter().zip(sums.iter_mut()) {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    for j in 0..4 {
                        *sum += i32::from(w[4 * lane + j]) * i32::from(x[4 * v + j]);
                    }
                }
            }
        }
    }

    #[inline(never)]
    fn dot_one(self, _bits: u32, weights: [u8; 64], x: [i8; 4]) -> [i32; 16] {
        lanes(|i| (0..4).map(|j| i32::from(weights[4 * i + j]) * i32::from(x[j])).sum())
    }

    #[inline(never)]
    fn add_upper(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        lanes(|i| 128 * a[i] + b[i])
    }

    #[inline(always)]
    fn floats(self, value: f32) -> [f32; 16] {
        [value; 16]
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> [f32; 16] {
        *values
    }

    #[inline(always)]
    fn store(self, v: [f32; 16], out: &mut [f32; 16]) {
        *out = v;
    }

    #[inline(never)]
    fn widen_ints(self, v: [i32; 16]) -> [f32; 16] {
        lanes(|i| v[i] as f32)
    }

    #[inline(never)]
    fn widen_f16(self, bytes: &[u8; 32]) -> [f32; 16] {
        lanes(|i| f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32())
    }

    #[inline(never)]
    fn widen_bf16(self, bytes: &[u8; 32]) -> [f32; 16] {
        lanes(|i| bf16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32())
    }

    #[inline(never)]
    fn widen_f32(self, bytes: &[u8; 64]) -> [f32; 16] {
        lanes(|i| f32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]))
    }

    #[inline(never)]
    fn widen_i8(self, bytes: &[u8; 16]) -> [f32; 16] {
        lanes(|i| f32::from(bytes[i] as i8))
    }

    #[inline(never)]
    fn widen_u8(self, bytes: &[u8; 16]) -> [f32; 16] {
        lanes(|i| f32::from(bytes[i]))
    }

    #[inline(never)]
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|i| a[i] * b[i])
    }

    #[inline(never)]
    fn mul_add(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        lanes(|i| fused(a[i], b[i], c[i]))
    }

    #[inline(always)]
    fn prefetch(self, _bytes: &[u8], _at: usize) {}
}
