//! The weights of a chunk: in their own encoding, or unpacked.

use super::{
    simd::Simd,
    tile::{Block, CHUNK, Chunk, Rule, TileFormat},
};
use crate::TILE;

/// The distance in bytes from the chunk in use to the prefetched cache line.
const PREFETCH: usize = 6144;

/// A source of blocks of weights.
pub(super) trait Source<S: Simd> {
    /// `true` if unpacking a vector takes so long that its product is better added after the others, given enough registers.
    const SLOW_VECTORS: bool;

    fn block(&self, s: S, b: usize) -> Block<S>;
    /// Returns vector `v` of the codes of block `b`.
    fn vector(&self, s: S, b: usize, v: usize) -> S::Codes;
}

/// A chunk of weights in their own encoding.
pub(super) struct Encoded<'a, F> {
    pub format: F,
    pub chunk: Chunk<'a>,
}

impl<S: Simd, F: TileFormat> Source<S> for Encoded<'_, F> {
    const SLOW_VECTORS: bool = true;

    #[inline(always)]
    fn block(&self, s: S, b: usize) -> Block<S> {
        let mut line = 0;
        while line < F::LINES {
            s.prefetch(self.chunk.bytes, PREFETCH + (b * F::LINES + line) * 64);
            line += 1;
        }
        self.format.block(s, &self.chunk, b)
    }

    #[inline(always)]
    fn vector(&self, s: S, b: usize, v: usize) -> S::Codes {
        self.format.vector(s, &self.chunk, b, v)
    }
}

/// The unpacked weights of a chunk; each vector has its own cache line.
#[repr(align(64))]
pub(super) struct Unpacked {
    codes: [[[u8; 64]; 8]; CHUNK],
    scale: [[f32; TILE]; CHUNK],
    second: [[f32; TILE]; CHUNK],
    offsets: [[[f32; TILE]; 2]; CHUNK],
    zeros: [[i32; TILE]; CHUNK],
}

impl Unpacked {
    pub fn new() -> Self {
        Self {
            codes: [[[0; 64]; 8]; CHUNK],
            scale: [[0.0; TILE]; CHUNK],
            second: [[0.0; TILE]; CHUNK],
            offsets: [[[0.0; TILE]; 2]; CHUNK],
            zeros: [[0; TILE]; CHUNK],
        }
    }

    #[inline(always)]
    pub fn fill<S: Simd>(&mut self, s: S, rule: Rule, source: &impl Source<S>, count: usize) {
        for b in 0..count {
            let block = source.block(s, b);
            let mut v = 0;
            while v < 8 {
                s.store_codes(block.codes[v], &mut self.codes[b][v]);
                v += 1;
            }
            s.store(block.scale, &mut self.scale[b]);
            match rule {
                Rule::Zero => {}
                Rule::RowZero => s.store_ints(block.zeros, &mut self.zeros[b]),
                Rule::Offset | Rule::Halves => s.store(block.second, &mut self.second[b]),
                Rule::OffsetHalves => {
                    s.store(block.second, &mut self.second[b]);
                    s.store(block.offsets[0], &mut self.offsets[b][0]);
                    s.store(block.offsets[1], &mut self.offsets[b][1]);
                }
            }
        }
    }
}

impl<S: Simd> Source<S> for Unpacked {
    const SLOW_VECTORS: bool = false;

    #[inline(always)]
    fn block(&self, s: S, b: usize) -> Block<S> {
        let mut codes = [s.codes(&self.codes[b][0]); 8];
        let mut v = 1;
        while v < 8 {
            codes[v] = s.codes(&self.codes[b][v]);
            v += 1;
        }
        Block {
            codes,
            scale: s.load(&self.scale[b]),
            second: s.load(&self.second[b]),
            offsets: [s.load(&self.offsets[b][0]), s.load(&self.offsets[b][1])],
            zeros: s.load_ints(&self.zeros[b]),
        }
    }

    #[inline(always)]
    fn vector(&self, s: S, b: usize, v: usize) -> S::Codes {
        s.codes(&self.codes[b][v % 8])
    }
}
