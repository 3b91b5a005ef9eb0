//! Q5_K tiles: those of Q4_K and 8 masks of fifth bits per block.

use super::{
    q4_k::{scale_and_min, sub_nibbles},
    simd::Simd,
    tile::{
        Block, Chunk, Offset, Section, TileFormat, TileLayout, bytes_at, nibble_vector, nibbles, put_bits, put_lane,
        put_nibbles, with_bits, with_bits_of,
    },
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q5K;

impl TileFormat for Q5K {
    type Shape = Offset<5>;

    const LINES: usize = 6;
    const FEW_ROWS: bool = false;

    fn sections(&self) -> [Section; 4] {
        [Section::each(256), Section::each(32), Section { bytes: 64, blocks: 8 }, Section::each(64)]
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        let mut codes = nibbles(s, chunk, b);
        with_bits(s, &mut codes, chunk.get(3, b * 64), 16);
        let scale = s.mul(s.widen_f16(chunk.get(2, 0)), s.widen_u8(chunk.get(1, b * 32)));
        let offset = s.mul(s.widen_f16(chunk.get(2, 32)), s.widen_u8(chunk.get(1, b * 32 + 16)));
        Block { second: offset, ..Block::new(s, codes, scale) }
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        with_bits_of(s, nibble_vector(s, chunk, b, v), chunk.get(3, b * 64), v, 16)
    }
}

/// Packs `row` (176 bytes per 256 columns: d, dmin, 12 bytes of scales, fifth bits, nibbles) as row `lane` of `tile`.
pub(super) fn pack(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (i, block) in row.as_chunks::<176>().0.iter().enumerate() {
        let whole = layout.at(8 * i, 2);
        put_lane::<2>(tile, whole, lane, bytes_at(block, 0));
        put_lane::<2>(tile, whole + 32, lane, &[block[2], block[3] ^ 0x80]);
        let fifth: &[u8; 32] = bytes_at(block, 16);
        for j in 0..8 {
            let b = 8 * i + j;
            let [scale, min] = scale_and_min(bytes_at(block, 4), j);
            put_lane(tile, layout.at(b, 1), lane, &[scale]);
            put_lane(tile, layout.at(b, 1) + 16, lane, &[min]);
            put_nibbles(tile, layout.at(b, 0), lane, &sub_nibbles(bytes_at(block, 48), j));
            let high = fifth.iter().enumerate().fold(0, |bits, (k, h)| bits | u32::from(h >> j & 1) << k);
            put_bits(tile, layout.at(b, 3), lane, high);
        }
    }
}
