//! Q4_0 tiles: 256 bytes of nibbles and 16 half-precision scales per block.

use super::{
    simd::Simd,
    tile::{
        Block, Chunk, Section, TileFormat, TileLayout, Zero, bytes_at, nibble_vector, nibbles, put_lane, put_nibbles,
    },
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q4_0;

impl TileFormat for Q4_0 {
    type Shape = Zero<4>;

    const LINES: usize = 5;

    fn sections(&self) -> [Section; 4] {
        [Section::each(256), Section::each(32), Section::NONE, Section::NONE]
    }

    fn zero(&self) -> i32 {
        8
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        Block::new(s, nibbles(s, chunk, b), s.widen_f16(chunk.get(1, b * 32)))
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        nibble_vector(s, chunk, b, v)
    }
}

/// Packs `row` (18 bytes per block: d, nibbles) as row `lane` of `tile`.
pub(super) fn pack(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (b, block) in row.as_chunks::<18>().0.iter().enumerate() {
        put_nibbles(tile, layout.at(b, 0), lane, bytes_at(block, 2));
        put_lane::<2>(tile, layout.at(b, 1), lane, bytes_at(block, 0));
    }
}
