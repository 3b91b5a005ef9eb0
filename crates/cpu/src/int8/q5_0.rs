//! Q5_0 tiles: 256 bytes of nibbles, 8 masks of fifth bits and 16 half-precision scales per block.

use super::{
    simd::Simd,
    tile::{
        Block, Chunk, Section, TileFormat, TileLayout, Zero, bytes_at, nibble_vector, nibbles, put_bits, put_lane,
        put_nibbles, with_bits, with_bits_of,
    },
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q5_0;

impl TileFormat for Q5_0 {
    type Shape = Zero<5>;

    const LINES: usize = 6;

    fn sections(&self) -> [Section; 4] {
        [Section::each(256), Section::each(64), Section::each(32), Section::NONE]
    }

    fn zero(&self) -> i32 {
        16
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        let mut codes = nibbles(s, chunk, b);
        with_bits(s, &mut codes, chunk.get(1, b * 64), 16);
        Block::new(s, codes, s.widen_f16(chunk.get(2, b * 32)))
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        with_bits_of(s, nibble_vector(s, chunk, b, v), chunk.get(1, b * 64), v, 16)
    }
}

/// Packs `row` (22 bytes per block: d, fifth bits, nibbles) as row `lane` of `tile`.
pub(super) fn pack(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (b, block) in row.as_chunks::<22>().0.iter().enumerate() {
        put_nibbles(tile, layout.at(b, 0), lane, bytes_at(block, 6));
        put_bits(tile, layout.at(b, 1), lane, u32::from_le_bytes(*bytes_at(block, 2)));
        put_lane::<2>(tile, layout.at(b, 2), lane, bytes_at(block, 0));
    }
}
