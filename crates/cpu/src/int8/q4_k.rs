//! Q4_K tiles: 256 bytes of nibbles, 16 scales and 16 minima of 6 bits (one byte each) per block of 32; 16 half-precision
//! d and 16 -dmin per 256 columns. Their products with the 6-bit integers are exact in single precision.

use super::{
    simd::Simd,
    tile::{
        Block, Chunk, Offset, Section, TileFormat, TileLayout, bytes_at, nibble_vector, nibbles, put_lane, put_nibbles,
    },
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Q4K;

impl TileFormat for Q4K {
    type Shape = Offset<4>;

    const LINES: usize = 5;

    fn sections(&self) -> [Section; 4] {
        [Section::each(256), Section::each(32), Section { bytes: 64, blocks: 8 }, Section::NONE]
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        let scale = s.mul(s.widen_f16(chunk.get(2, 0)), s.widen_u8(chunk.get(1, b * 32)));
        let offset = s.mul(s.widen_f16(chunk.get(2, 32)), s.widen_u8(chunk.get(1, b * 32 + 16)));
        Block { second: offset, ..Block::new(s, nibbles(s, chunk, b), scale) }
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        nibble_vector(s, chunk, b, v)
    }
}

/// Returns the 6-bit scale and minimum of sub-block `j` from the 12 bytes of scales.
pub(super) fn scale_and_min(s: &[u8; 12], j: usize) -> [u8; 2] {
    if j < 4 {
        [s[j] & 63, s[j + 4] & 63]
    } else {
        [s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4]
    }
}

/// Packs `row` (144 bytes per 256 columns: d, dmin, 12 bytes of scales, nibbles) as row `lane` of `tile`.
pub(super) fn pack(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (i, block) in row.as_chunks::<144>().0.iter().enumerate() {
        let whole = layout.at(8 * i, 2);
        put_lane::<2>(tile, whole, lane, bytes_at(block, 0));
        put_lane::<2>(tile, whole + 32, lane, &[block[2], block[3] ^ 0x80]);
        for j in 0..8 {
            let sub = layout.at(8 * i + j, 1);
            let [scale, min] = scale_and_min(bytes_at(block, 4), j);
            put_lane(tile, sub, lane, &[scale]);
            put_lane(tile, sub + 16, lane, &[min]);
            put_nibbles(tile, layout.at(8 * i + j, 0), lane, &sub_nibbles(bytes_at(block, 16), j));
        }
    }
}

/// Returns sub-block `j` from the nibbles of Q4_K and Q5_K: 32 bytes hold sub-block 2p (low) and 2p + 1 (high).
pub(super) fn sub_nibbles(qs: &[u8; 128], j: usize) -> [u8; 16] {
    let pair: &[u8; 32] = bytes_at(qs, j / 2 * 32);
    std::array::from_fn(|m| match j % 2 {
        0 => pair[m] & 15 | pair[m + 16] << 4,
        _ => pair[m] >> 4 | pair[m + 16] & 0xf0,
    })
}
