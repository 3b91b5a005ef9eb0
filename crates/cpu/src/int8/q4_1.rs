//! Q4_1 tiles: 256 bytes of nibbles, 16 half-precision scales and 16 minima per block.

use super::{
    simd::Simd,
    tile::{
        Block, Chunk, Offset, Section, TileFormat, TileLayout, bytes_at, nibble_vector, nibbles, put_lane, put_nibbles,
    },
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q4_1;

impl TileFormat for Q4_1 {
    type Shape = Offset<4>;

    const LINES: usize = 5;

    fn sections(&self) -> [Section; 4] {
        [Section::each(256), Section::each(64), Section::NONE, Section::NONE]
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        let (scale, offset) = (s.widen_f16(chunk.get(1, b * 64)), s.widen_f16(chunk.get(1, b * 64 + 32)));
        Block { second: offset, ..Block::new(s, nibbles(s, chunk, b), scale) }
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        nibble_vector(s, chunk, b, v)
    }
}

/// Packs `row` (20 bytes per block: d, m, nibbles) as row `lane` of `tile`.
pub(super) fn pack(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (b, block) in row.as_chunks::<20>().0.iter().enumerate() {
        let at = layout.at(b, 1);
        put_nibbles(tile, layout.at(b, 0), lane, bytes_at(block, 4));
        put_lane::<2>(tile, at, lane, bytes_at(block, 0));
        put_lane::<2>(tile, at + 32, lane, bytes_at(block, 2));
    }
}
