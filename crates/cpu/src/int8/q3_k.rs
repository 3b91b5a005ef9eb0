//! Q3_K tiles: 128 bytes of bit pairs and 8 masks of third bits per block of 32, and 16 signed scales for each half of it; 16
//! half-precision d per 256 columns. Their products with the 6-bit scales are exact in single precision.

use super::{
    q2_k::bit_pairs,
    simd::Simd,
    tile::{
        Block, Chunk, Halves, Section, TileFormat, TileLayout, bytes_at, pair_vector, pairs, put_bits, put_lane,
        put_pairs, with_bits, with_bits_of,
    },
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q3K;

impl TileFormat for Q3K {
    type Shape = Halves<6>;

    const LINES: usize = 4;
    const FEW_ROWS: bool = false;

    fn sections(&self) -> [Section; 4] {
        [Section::each(128), Section::each(64), Section::each(32), Section { bytes: 32, blocks: 8 }]
    }

    fn zero(&self) -> i32 {
        4
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        let mut codes = pairs(s, chunk, b);
        with_bits(s, &mut codes, chunk.get(1, b * 64), 4);
        let d = s.widen_f16(chunk.get(3, 0));
        let first = s.mul(d, s.widen_i8(chunk.get(2, b * 32)));
        let second = s.mul(d, s.widen_i8(chunk.get(2, b * 32 + 16)));
        Block { second, ..Block::new(s, codes, first) }
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        with_bits_of(s, pair_vector(s, chunk, b, v), chunk.get(1, b * 64), v, 4)
    }
}

/// Packs `row` (110 bytes per 256 columns: third bits, bit pairs, 12 bytes of scales, d) as row `lane` of `tile`.
pub(super) fn pack(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (i, block) in row.as_chunks::<110>().0.iter().enumerate() {
        put_lane::<2>(tile, layout.at(8 * i, 3), lane, bytes_at(block, 108));
        let third: &[u8; 32] = bytes_at(block, 0);
        for j in 0..8 {
            let b = 8 * i + j;
            for half in 0..2 {
                put_lane(tile, layout.at(b, 2) + 16 * half, lane, &[scale(bytes_at(block, 96), 2 * j + half)]);
            }
            let high = third.iter().enumerate().fold(0, |bits, (k, h)| bits | u32::from(h >> j & 1) << k);
            put_bits(tile, layout.at(b, 1), lane, high);
            put_pairs(&mut tile[layout.at(b, 0)..][..128], lane, &bit_pairs(bytes_at(block, 32), j));
        }
    }
}

/// Returns the signed scale of 16 columns from the 12 bytes of scales.
fn scale(s: &[u8; 12], j: usize) -> u8 {
    (s[j % 8] >> (j / 8 * 4) & 15 | (s[8 + j % 4] >> (j / 4 * 2) & 3) << 4).wrapping_sub(32)
}
