//! Q4_1 tiles: 256 bytes of nibbles, 16 half-precision scales and 16 minima a block.

use super::{
    simd::Simd,
    tile::{Block, Layout, Rule, Section, TileFormat, bytes_at, nibbles, put_lane, put_nibbles},
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q4_1;

impl TileFormat for Q4_1 {
    const BITS: u32 = 4;
    const RULE: Rule = Rule::Offset;

    fn sections(&self) -> [Section; 4] {
        [Section::each(256), Section::each(64), Section::NONE, Section::NONE]
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, layout: &Layout, tile: &[u8], b: usize) -> Block<S> {
        let at = layout.starts[1] + b * 64;
        let (scale, offset) = (s.from_f16(bytes_at(tile, at)), s.from_f16(bytes_at(tile, at + 32)));
        Block { second: offset, ..Block::new(s, nibbles(s, tile, b), scale) }
    }
}

/// Packs `row` (20 bytes a block: d, m, nibbles) as row `lane` of `tile`.
pub(super) fn pack(layout: &Layout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (b, block) in row.as_chunks::<20>().0.iter().enumerate() {
        let at = layout.starts[1] + b * 64;
        put_nibbles(tile, b, lane, bytes_at(block, 4));
        put_lane::<2>(tile, at, lane, bytes_at(block, 0));
        put_lane::<2>(tile, at + 32, lane, bytes_at(block, 2));
    }
}
