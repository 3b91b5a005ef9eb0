//! Q5_0 tiles: 256 bytes of nibbles, 8 masks of fifth bits and 16 half-precision scales a block.

use super::{
    simd::Simd,
    tile::{
        Block, Layout, Rule, Section, TileFormat, bytes_at, nibbles, put_fifth_bits, put_lane, put_nibbles,
        with_fifth_bits,
    },
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q5_0;

impl TileFormat for Q5_0 {
    const BITS: u32 = 5;
    const RULE: Rule = Rule::Zero;

    fn sections(&self) -> [Section; 4] {
        [Section::each(256), Section::each(64), Section::each(32), Section::NONE]
    }

    fn zero(&self) -> i32 {
        16
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, layout: &Layout, tile: &[u8], b: usize) -> Block<S> {
        let mut codes = nibbles(s, tile, b);
        with_fifth_bits(s, &mut codes, bytes_at(tile, layout.starts[1] + b * 64));
        Block::new(s, codes, s.from_f16(bytes_at(tile, layout.starts[2] + b * 32)))
    }
}

/// Packs `row` (22 bytes a block: d, fifth bits, nibbles) as row `lane` of `tile`.
pub(super) fn pack(layout: &Layout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (b, block) in row.as_chunks::<22>().0.iter().enumerate() {
        put_nibbles(tile, b, lane, bytes_at(block, 6));
        put_fifth_bits(tile, layout.starts[1] + b * 64, lane, u32::from_le_bytes(*bytes_at(block, 2)));
        put_lane::<2>(tile, layout.starts[2] + b * 32, lane, bytes_at(block, 0));
    }
}
