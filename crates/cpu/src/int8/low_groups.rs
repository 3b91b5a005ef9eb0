//! Tiles of integer groups of 2 and 3 bits: 128 bytes of bit pairs per block, scales and zero points as for 4 bits, and, for 3
//! bits, 8 masks of third bits per block.

use honelm_blocks::ScaleType;

use super::{
    groups::Groups,
    simd::Simd,
    tile::{Block, Chunk, RowZero, Section, TileFormat, pair_vector, pairs, with_bits, with_bits_of},
};

#[derive(Debug, Clone, Copy)]
pub(super) struct LowGroups {
    scales: Groups<4>,
    third_bits: bool,
}

impl LowGroups {
    /// Creates the format of groups of `blocks` blocks of 32 columns of 2 or 3 bits.
    pub fn new(bits: u8, blocks: usize, scale_type: ScaleType) -> Self {
        Self { scales: Groups::new(blocks, scale_type), third_bits: bits == 3 }
    }
}

impl TileFormat for LowGroups {
    type Shape = RowZero<4>;

    const LINES: usize = 4;
    const FEW_ROWS: bool = false;

    fn sections(&self) -> [Section; 4] {
        let [_, scales, zeros, _] = self.scales.sections();
        [Section::each(128), scales, zeros, if self.third_bits { Section::each(64) } else { Section::NONE }]
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        let mut codes = pairs(s, chunk, b);
        if self.third_bits {
            with_bits(s, &mut codes, chunk.get(3, b * 64), 4);
        }
        self.scales.with_codes(s, chunk, b, codes)
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        let codes = pair_vector(s, chunk, b, v);
        if self.third_bits { with_bits_of(s, codes, chunk.get(3, b * 64), v, 4) } else { codes }
    }
}
