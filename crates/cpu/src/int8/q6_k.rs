//! Q6_K tiles: 256 bytes of nibbles and 128 of upper bit pairs per block of 32, and 16 signed scales for each half of it; 16
//! half-precision d per 256 columns. Their products with the 8-bit scales are exact in single precision.

use super::{
    simd::Simd,
    tile::{
        Block, Chunk, Halves, Section, TileFormat, TileLayout, bytes_at, nibble_vector, nibbles, put_lane, put_nibbles,
        put_pairs, to_nibbles,
    },
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q6K;

impl TileFormat for Q6K {
    type Shape = Halves<6>;

    const LINES: usize = 7;

    fn sections(&self) -> [Section; 4] {
        [Section::each(256), Section::each(128), Section::each(32), Section { bytes: 32, blocks: 8 }]
    }

    fn zero(&self) -> i32 {
        32
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        let mut codes = nibbles(s, chunk, b);
        let pairs: &[u8; 128] = chunk.get(1, b * 128);
        let mut v = 0;
        while v < 8 {
            codes[v] = s.add_pairs(codes[v], s.codes(bytes_at(pairs, v / 4 * 64)), v % 4);
            v += 1;
        }
        let d = s.widen_f16(chunk.get(3, 0));
        let first = s.mul(d, s.widen_i8(chunk.get(2, b * 32)));
        let second = s.mul(d, s.widen_i8(chunk.get(2, b * 32 + 16)));
        Block { second, ..Block::new(s, codes, first) }
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        let pairs: &[u8; 128] = chunk.get(1, b * 128);
        let pairs = s.bits_at(s.codes(bytes_at(pairs, v / 4 % 2 * 64)), 2 * (v % 4) as u32, 3);
        s.add_pairs(nibble_vector(s, chunk, b, v), pairs, 0)
    }
}

/// Packs `row` (210 bytes per 256 columns: low nibbles, upper pairs, 16 scales, d) as row `lane` of `tile`.
pub(super) fn pack(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (i, block) in row.as_chunks::<210>().0.iter().enumerate() {
        put_lane::<2>(tile, layout.at(8 * i, 3), lane, bytes_at(block, 208));
        for j in 0..8 {
            let b = 8 * i + j;
            for half in 0..2 {
                put_lane(tile, layout.at(b, 2) + half * 16, lane, &[block[192 + 2 * j + half]]);
            }
            // Columns 32 j... Per 128 columns: 64 bytes of nibbles (two blocks of 32 low, two high) and 32 bytes of pairs.
            let low: &[u8; 32] = bytes_at(block, j / 4 * 64 + j % 2 * 32);
            let pairs: &[u8; 32] = bytes_at(block, 128 + j / 4 * 32);
            let codes: [u8; 32] = low.map(|q| if j % 4 < 2 { q & 15 } else { q >> 4 });
            let upper: [u8; 32] = pairs.map(|q| q >> (j % 4 * 2) & 3);
            put_nibbles(tile, layout.at(b, 0), lane, &to_nibbles(&codes));
            put_pairs(&mut tile[layout.at(b, 1)..][..128], lane, &upper);
        }
    }
}
