//! Q2_K tiles: 128 bytes of bit pairs per block of 32, and 16 scales and 16 minima (one byte each) for each half of it; 16
//! half-precision d and 16 -dmin per 256 columns. Their products with the 4-bit integers are exact in single precision.

use super::{
    simd::Simd,
    tile::{
        Block, Chunk, OffsetHalves, Section, TileFormat, TileLayout, bytes_at, pair_vector, pairs, put_lane, put_pairs,
    },
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q2K;

impl TileFormat for Q2K {
    type Shape = OffsetHalves<4>;

    const LINES: usize = 4;
    const FEW_ROWS: bool = false;

    fn sections(&self) -> [Section; 4] {
        [Section::each(128), Section::each(64), Section { bytes: 64, blocks: 8 }, Section::NONE]
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        let (d, min) = (s.widen_f16(chunk.get(2, 0)), s.widen_f16(chunk.get(2, 32)));
        let integers = |at: usize| s.widen_u8(chunk.get(1, b * 64 + at));
        let offsets = [s.mul(min, integers(32)), s.mul(min, integers(48))];
        let block = Block::new(s, pairs(s, chunk, b), s.mul(d, integers(0)));
        Block { second: s.mul(d, integers(16)), offsets, ..block }
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        pair_vector(s, chunk, b, v)
    }
}

/// Packs `row` (84 bytes per 256 columns: scales and minima, bit pairs, d, dmin) as row `lane` of `tile`.
pub(super) fn pack(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (i, block) in row.as_chunks::<84>().0.iter().enumerate() {
        let whole = layout.at(8 * i, 2);
        put_lane::<2>(tile, whole, lane, bytes_at(block, 80));
        put_lane::<2>(tile, whole + 32, lane, &[block[82], block[83] ^ 0x80]);
        for j in 0..8 {
            let sub = layout.at(8 * i + j, 1);
            for half in 0..2 {
                let byte = block[2 * j + half];
                put_lane(tile, sub + 16 * half, lane, &[byte & 15]);
                put_lane(tile, sub + 32 + 16 * half, lane, &[byte >> 4]);
            }
            put_pairs(&mut tile[layout.at(8 * i + j, 0)..][..128], lane, &bit_pairs(bytes_at(block, 16), j));
        }
    }
}

/// Returns columns `32 j..` from the bit pairs of Q2_K and Q3_K: 32 bytes per 128 columns, 32 columns for every two bits.
pub(super) fn bit_pairs(qs: &[u8; 64], j: usize) -> [u8; 32] {
    bytes_at(qs, j / 4 * 32).map(|q: u8| q >> (j % 4 * 2) & 3)
}
