//! The most that this machine can do with the kernels' own instructions: multiply-adds in registers, and reading memory.

use std::hint::black_box;

use bytemuck::cast_slice;

use crate::isa::multiversion;
use crate::kernel::{Lanes, with_lanes};
use crate::storage::Storage;
use crate::{Isa, Pool, TILE};

pub use crate::int8::peak::int8_operations;

/// Runs `steps` steps of fused multiply-adds in registers on this thread, and returns the number of operations, two for each
/// multiply-add.
#[must_use]
pub fn f32_operations(isa: Isa, steps: usize) -> u64 {
    let mut operations = 0;
    run(isa, steps, &mut operations);
    operations
}

fn run(isa: Isa, steps: usize, operations: &mut u64) {
    with_lanes!(isa, chains(steps: usize, operations: &mut u64));
}

/// Picks as many independent sums as hide the latency of an instruction and fit in registers.
#[inline(always)]
fn chains<L: Lanes>(l: L, steps: usize, operations: &mut u64) {
    match (L::WIDE, L::PLAIN) {
        (true, _) => multiply_add::<L, 12>(l, steps, operations),
        (false, true) => multiply_add::<L, 2>(l, steps, operations),
        (false, false) => multiply_add::<L, 6>(l, steps, operations),
    }
}

#[inline(always)]
fn multiply_add<L: Lanes, const N: usize>(l: L, steps: usize, operations: &mut u64) {
    let [a, b] = black_box([[0.5; TILE], [1e-4; TILE]]);
    let (a, b) = (l.load(&a), l.load(&b));
    let mut sums = [l.splat(0.0); N];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = l.mul_add(a, b, *sum);
        }
    }
    for sum in sums {
        let mut values = [0.0; TILE];
        l.store(sum, &mut values);
        black_box(values);
    }
    *operations = 2 * (steps * N * TILE) as u64;
}

/// Memory that is read to measure its bandwidth. It lies in pages of the same kind as the weights.
#[derive(Debug)]
pub struct Stream(Storage);

/// The bytes that a thread reads at a time.
const PART: usize = 4 << 20;

impl Stream {
    /// Allocates at least `bytes` bytes and writes to all of them.
    #[must_use]
    pub fn new(bytes: usize, pool: &Pool) -> Self {
        let mut storage = Storage::zeroed(bytes.next_multiple_of(PART).max(PART));
        pool.run_parts(&mut storage[..], PART, |_, part| part.fill(1));
        Self(storage)
    }

    /// Reads everything once, and returns the number of bytes.
    #[must_use]
    pub fn read(&self, isa: Isa, pool: &Pool) -> u64 {
        pool.run(self.0.len() / PART, |part| {
            let mut bits = [0; WORDS];
            read_words(isa, cast_slice(&self.0[part * PART..][..PART]), &mut bits);
            black_box(bits);
        });
        self.0.len() as u64
    }
}

/// The words that are read together: four vectors of 512 bits.
const WORDS: usize = 32;

multiversion! {
    fn read_words(words: &[u64], bits: &mut [u64; WORDS]) = read_all;
}

#[inline(always)]
fn read_all(words: &[u64], bits: &mut [u64; WORDS]) {
    let mut found = *bits;
    for line in words.as_chunks::<WORDS>().0 {
        for (found, word) in found.iter_mut().zip(line) {
            *found |= word;
        }
    }
    *bits = found;
}
