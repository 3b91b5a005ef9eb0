//! The rate of the 8-bit dot products of the kernels, without memory beyond the first cache.

use std::hint::black_box;

use super::{
    portable::Portable,
    simd::{Kernel, Simd},
};
use crate::Isa;

/// The bits of the codes, which are those of most weights.
const BITS: u32 = 4;

/// Runs `steps` dot products of a block on this thread, for as many activation rows as the kernels compute together, and
/// returns the number of operations, two for each multiply-add.
#[must_use]
pub fn int8_operations(isa: Isa, steps: usize) -> u64 {
    let mut operations = 0;
    let peak = Peak { steps, operations: &mut operations };
    match isa {
        Isa::Generic => Portable.launch(peak),
        #[cfg(target_arch = "wasm32")]
        Isa::Simd128(token) => token.launch(peak),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => token.launch(peak),
        #[cfg(target_arch = "aarch64")]
        Isa::DotProd(token) => token.launch(peak),
        #[cfg(target_arch = "aarch64")]
        Isa::I8mm(token) => token.launch(peak),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) => token.launch(peak),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => token.launch(peak),
    }
    operations
}

struct Peak<'a> {
    steps: usize,
    operations: &'a mut u64,
}

impl<S: Simd> Kernel<S> for Peak<'_> {
    #[inline(always)]
    fn run(self, s: S) {
        match S::ROWS {
            8.. => dots::<S, 8>(s, self),
            4.. => dots::<S, 4>(s, self),
            2.. => dots::<S, 2>(s, self),
            _ => dots::<S, 1>(s, self),
        }
    }
}

#[inline(always)]
fn dots<S: Simd, const R: usize>(s: S, peak: Peak<'_>) {
    let weights = [s.codes(&black_box([7; 64])); 8];
    let x = [[1i8; 32]; R];
    let mut sums = [s.ints(0); R];
    for _ in 0..peak.steps {
        // The activations are read again in each step, as in a kernel; nothing is computed in advance.
        s.dot(BITS, &weights, (0, 8), black_box(&x), &mut sums);
    }
    for sum in sums {
        let mut values = [0; 16];
        s.store_ints(sum, &mut values);
        black_box(values);
    }
    *peak.operations = 2 * (peak.steps * R * 32 * 16) as u64;
}
