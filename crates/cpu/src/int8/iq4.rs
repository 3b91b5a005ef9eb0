//! Tiles of table-based nibbles (IQ4_NL, IQ4_XS, MXFP4): 256 bytes of nibbles and 16 scales per block. A nibble is an index
//! of a table.
//!
//! Table entries are signed bytes plus 128, which makes them unsigned.

use super::{
    simd::Simd,
    tile::{
        Block, Chunk, Section, TileFormat, TileLayout, Zero, bytes_at, nibble_vector, nibbles, put_lane, put_nibbles,
    },
};

/// The table of IQ4_NL and IQ4_XS, plus 128.
const NON_LINEAR: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

/// Twice the E2M1 numbers of MXFP4, plus 128.
const E2M1: [u8; 16] = [128, 129, 130, 131, 132, 134, 136, 140, 128, 127, 126, 125, 124, 122, 120, 116];

/// The storage of scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scales {
    /// One half-precision number per block.
    F16,
    /// One power of two in bfloat16 per block.
    BF16,
    /// One signed byte per block, times a half-precision d per 256 columns; the product is exact in single precision.
    Super,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Iq4 {
    table: [u8; 16],
    scales: Scales,
}

pub(super) const IQ4_NL: Iq4 = Iq4 { table: NON_LINEAR, scales: Scales::F16 };
pub(super) const IQ4_XS: Iq4 = Iq4 { table: NON_LINEAR, scales: Scales::Super };
pub(super) const MXFP4: Iq4 = Iq4 { table: E2M1, scales: Scales::BF16 };

impl TileFormat for Iq4 {
    type Shape = Zero<8>;

    const LINES: usize = 5;
    const FEW_ROWS: bool = false;

    fn sections(&self) -> [Section; 4] {
        let (each, whole) = match self.scales {
            Scales::F16 | Scales::BF16 => (32, Section::NONE),
            Scales::Super => (16, Section { bytes: 32, blocks: 8 }),
        };
        [Section::each(256), Section::each(each), whole, Section::NONE]
    }

    fn zero(&self) -> i32 {
        128
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        let mut codes = nibbles(s, chunk, b);
        let mut v = 0;
        while v < 8 {
            codes[v] = s.lookup(codes[v], &self.table);
            v += 1;
        }
        let scale = match self.scales {
            Scales::F16 => s.widen_f16(chunk.get(1, b * 32)),
            Scales::BF16 => s.widen_bf16(chunk.get(1, b * 32)),
            Scales::Super => s.mul(s.widen_f16(chunk.get(2, 0)), s.widen_i8(chunk.get(1, b * 16))),
        };
        Block::new(s, codes, scale)
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        s.lookup(nibble_vector(s, chunk, b, v), &self.table)
    }
}

/// Packs a `row` of IQ4_NL (18 bytes per block: d, nibbles) as row `lane` of `tile`.
pub(super) fn pack_iq4_nl(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (b, block) in row.as_chunks::<18>().0.iter().enumerate() {
        put_nibbles(tile, layout.at(b, 0), lane, bytes_at(block, 2));
        put_lane::<2>(tile, layout.at(b, 1), lane, bytes_at(block, 0));
    }
}

/// Packs a `row` of MXFP4 (17 bytes per block: exponent, nibbles) as row `lane` of `tile`.
pub(super) fn pack_mxfp4(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (b, block) in row.as_chunks::<17>().0.iter().enumerate() {
        put_nibbles(tile, layout.at(b, 0), lane, bytes_at(block, 1));
        // 2^(e - 128), because the entries of the table are doubled.
        let e = u16::from(block[0]);
        let scale: u16 = if e < 2 { 0x20 << e } else { (e - 1) << 7 };
        put_lane(tile, layout.at(b, 1), lane, &scale.to_le_bytes());
    }
}

/// Packs a `row` of IQ4_XS (136 bytes per 256 columns: d, upper and lower bits of scales, nibbles) as row `lane` of `tile`.
pub(super) fn pack_iq4_xs(layout: &TileLayout, row: &[u8], lane: usize, tile: &mut [u8]) {
    for (i, block) in row.as_chunks::<136>().0.iter().enumerate() {
        put_lane::<2>(tile, layout.at(8 * i, 2), lane, bytes_at(block, 0));
        let high = u16::from_le_bytes(*bytes_at(block, 2));
        for j in 0..8 {
            let ls = block[4 + j / 2] >> (j % 2 * 4) & 15 | ((high >> (2 * j) & 3) as u8) << 4;
            put_lane(tile, layout.at(8 * i + j, 1), lane, &[ls.wrapping_sub(32)]);
            put_nibbles(tile, layout.at(8 * i + j, 0), lane, bytes_at(block, 8 + 16 * j));
        }
    }
}
