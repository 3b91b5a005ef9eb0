//! Q6_K tiles: 256 bytes of nibbles, 128 of upper bit pairs, 16 signed scales for each half of a block of 32; 16
//! half-precision d every 256 columns. Their products with the 8-bit scales are exact in single precision.

use super::{
    simd::Simd,
    tile::{Block, Layout, Rule, Section, TileFormat, bytes_at, nibbles, put_lane, put_nibbles, to_nibbles},
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q6K;

impl TileFormat for Q6K {
    const BITS: u32 = 6;
    const RULE: Rule = Rule::Halves;

    fn sections(&self) -> [Section; 4] {
        [Section::each(256), Section::each(128), Section::each(32), Section { bytes: 32, blocks: 8 }]
    }

    fn zero(&self) -> i32 {
        32
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, layout: &Layout, tile: &[u8], b: usize) -> Block<S> {
        let [_, high, sub, whole] = layout.starts;
        let mut codes = nibbles(s, tile, b);
        let pairs: &[u8; 128] = bytes_at(tile, high + b * 128);
        let mut v = 0;
        while v < 8 {
            codes[v] = s.add_pairs(codes[v], s.codes(bytes_at(pairs, v / 4 * 64)), v % 4);
            v += 1;
        }
        let d = s.from_f16(bytes_at(tile, whole + b / 8 * 32));
        let first = s.mul(d, s.from_i8(bytes_at(tile, sub + b * 32)));
        let second = s.mul(d, s.from_i8(bytes_at(tile, sub + b * 32 + 16)));
        Block { second, ..Block::new(s, codes, first) }
    }
}

/// Packs `row` (210 bytes every 256 columns: low nibbles, upper pairs, 16 scales, d) as row `lane` of `tile`.
pub(super) fn pack(layout: &Layout, row: &[u8], lane: usize, tile: &mut [u8]) {
    let [_, high, sub, whole] = layout.starts;
    for (i, block) in row.as_chunks::<210>().0.iter().enumerate() {
        put_lane::<2>(tile, whole + i * 32, lane, bytes_at(block, 208));
        for j in 0..8 {
            let b = 8 * i + j;
            for half in 0..2 {
                put_lane(tile, sub + b * 32 + half * 16, lane, &[block[192 + 2 * j + half]]);
            }
            // Columns 32 j..: per 128 columns 64 bytes of nibbles, two blocks of 32 low, two high; 32 bytes of pairs.
            let low: &[u8; 32] = bytes_at(block, j / 4 * 64 + j % 2 * 32);
            let pairs: &[u8; 32] = bytes_at(block, 128 + j / 4 * 32);
            let codes: [u8; 32] = low.map(|q| if j % 4 < 2 { q & 15 } else { q >> 4 });
            let upper: [u8; 32] = pairs.map(|q| q >> (j % 4 * 2) & 3);
            put_nibbles(tile, b, lane, &to_nibbles(&codes));
            put_pairs(&mut tile[high + b * 128..][..128], lane, &upper);
        }
    }
}

/// Vector v's pairs are bits `2 (v % 4)` of vector v / 4.
fn put_pairs(block: &mut [u8], lane: usize, upper: &[u8; 32]) {
    for (c, vector) in block.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        for j in 0..4 {
            let at = |t: usize| upper[16 * c + 4 * t + j];
            vector[4 * lane + j] = at(0) | at(1) << 2 | at(2) << 4 | at(3) << 6;
        }
    }
}
