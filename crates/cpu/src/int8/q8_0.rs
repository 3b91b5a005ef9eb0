//! Q8_0 tiles: 512 bytes of codes (plus 128, which makes them unsigned) and 16 half-precision scales per block.

use super::{
    simd::Simd,
    tile::{
        Block, Chunk, Section, TileFormat, TileLayout, Zero, byte_vector, bytes_at, put_bytes, put_lane, whole_bytes,
    },
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q8_0;

impl TileFormat for Q8_0 {
    type Shape = Zero<8>;

    const LINES: usize = 9;

    fn sections(&self) -> [Section; 4] {
        [Section::each(512), Section::each(32), Section::NONE, Section::NONE]
    }

    fn zero(&self) -> i32 {
        128
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        Block::new(s, whole_bytes(s, chunk, b), s.widen_f16(chunk.get(1, b * 32)))
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        byte_vector(s, chunk, b, v)
    }
}

/// Packs `row` (34 bytes per block: d, signed codes) as row `lane` of `tile`.
pub(super) fn pack(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (b, block) in row.as_chunks::<34>().0.iter().enumerate() {
        let signed: &[u8; 32] = bytes_at(block, 2);
        put_bytes(tile, layout.at(b, 0), lane, &signed.map(|q| q ^ 0x80));
        put_lane::<2>(tile, layout.at(b, 1), lane, bytes_at(block, 0));
    }
}
