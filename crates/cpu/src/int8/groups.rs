//! Tiles of integer groups of 4 and 8 bits: 256 or 512 bytes of codes a block; 16 scales in their own type and 16
//! zero points (a byte) or biases a group.

use honelm_blocks::{GroupMatrix, ScaleType, Zeros};
use half::{bf16, f16};

use super::{
    activations::BLOCK,
    simd::Simd,
    tile::{
        Block, Layout, Rule, Section, TileFormat, bytes_at, nibbles, put_bytes, put_lane, put_nibbles, to_nibbles,
        whole_bytes,
    },
};

/// Values of `RULE`.
pub(super) const CONSTANT: u8 = 0;
pub(super) const INTEGER: u8 = 1;
pub(super) const BIAS: u8 = 2;

/// Groups of codes of `BITS` bits (4 or 8) with the zero points that `RULE` says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups<const BITS: u32, const RULE: u8> {
    /// Blocks of 32 columns a group.
    pub blocks: usize,
    pub scale_type: ScaleType,
    /// The zero point, where it is constant.
    pub zero: u8,
}

impl<const BITS: u32, const RULE: u8> TileFormat for Groups<BITS, RULE> {
    const BITS: u32 = BITS;
    const RULE: Rule = match RULE {
        CONSTANT => Rule::Zero,
        INTEGER => Rule::RowZero,
        _ => Rule::Offset,
    };

    fn sections(&self) -> [Section; 4] {
        let group = |bytes| Section { bytes, blocks: self.blocks };
        let scales = 16 * self.scale_type.bytes();
        let zeros = match RULE {
            CONSTANT => Section::NONE,
            INTEGER => group(16),
            _ => group(scales),
        };
        [Section::each(BITS as usize * 64), group(scales), zeros, Section::NONE]
    }

    fn zero(&self) -> i32 {
        i32::from(self.zero)
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, layout: &Layout, tile: &[u8], b: usize) -> Block<S> {
        let codes = if BITS == 4 { nibbles(s, tile, b) } else { whole_bytes(s, tile, b) };
        let group = b / self.blocks;
        let numbers = |start: usize| match self.scale_type {
            ScaleType::F16 => s.from_f16(bytes_at(tile, start + group * 32)),
            ScaleType::BF16 => s.from_bf16(bytes_at(tile, start + group * 32)),
            ScaleType::F32 => s.from_f32(bytes_at(tile, start + group * 64)),
        };
        let block = Block::new(s, codes, numbers(layout.starts[1]));
        match RULE {
            CONSTANT => block,
            INTEGER => Block { zeros: s.ints_from_bytes(bytes_at(tile, layout.starts[2] + group * 16)), ..block },
            _ => Block { second: numbers(layout.starts[2]), ..block },
        }
    }
}

/// A group matrix in the order in which its columns are packed.
#[derive(Debug)]
pub(super) struct GroupSource<'a> {
    matrix: &'a GroupMatrix,
    /// Column at each position, where the groups' columns are not neighbours already.
    pub order: Option<Vec<u32>>,
}

impl<'a> GroupSource<'a> {
    /// `None` where the groups do not fill blocks of 32 columns.
    pub fn new(matrix: &'a GroupMatrix) -> Option<Self> {
        let groups = matrix.groups();
        let size = matrix.group_size.min(matrix.cols);
        if !matrix.cols.is_multiple_of(BLOCK) || !size.is_multiple_of(BLOCK) || size == 0 {
            return None;
        }
        let Some(group_of) = &matrix.order else { return Some(Self { matrix, order: None }) };
        let mut counts = vec![0usize; groups];
        for &g in group_of {
            *counts.get_mut(g as usize)? += 1;
        }
        let full = |(g, &count): (usize, &usize)| count == size.min(matrix.cols - g * size);
        if !counts.iter().enumerate().all(full) {
            return None;
        }
        let mut order: Vec<u32> = (0..matrix.cols as u32).collect();
        order.sort_by_key(|&column| group_of[column as usize]);
        Some(Self { matrix, order: Some(order) })
    }

    /// Packs row `row` as row `lane` of `tile`; `bits` is 4 or 8, and a group takes `blocks` blocks.
    pub fn pack(&self, layout: &Layout, bits: u32, row: usize, lane: usize, tile: &mut [u8]) {
        let m = self.matrix;
        let codes = m.row_codes(row);
        for (b, in_order) in codes.as_chunks::<BLOCK>().0.iter().enumerate() {
            let block = match &self.order {
                None => *in_order,
                Some(order) => std::array::from_fn(|j| codes[order[b * BLOCK + j] as usize]),
            };
            match bits {
                4 => put_nibbles(tile, b, lane, &to_nibbles(&block)),
                _ => put_bytes(tile, b, lane, &block),
            }
        }
        let groups = m.groups();
        let number_bytes = 16 * m.scale_type.bytes();
        for g in 0..groups {
            let i = row * groups + g;
            put_number(m.scale_type, tile, layout.starts[1] + g * number_bytes, lane, m.scales[i]);
            match &m.zeros {
                Zeros::Constant(_) => {}
                Zeros::Integer(zeros) => put_lane(tile, layout.starts[2] + g * 16, lane, &[zeros[i]]),
                Zeros::Bias(biases) => {
                    put_number(m.scale_type, tile, layout.starts[2] + g * number_bytes, lane, biases[i]);
                }
            }
        }
    }
}

/// Writes a number that `kind` holds exactly.
fn put_number(kind: ScaleType, tile: &mut [u8], at: usize, lane: usize, value: f32) {
    match kind {
        ScaleType::F16 => put_lane(tile, at, lane, &f16::from_f32(value).to_le_bytes()),
        ScaleType::BF16 => put_lane(tile, at, lane, &bf16::from_f32(value).to_le_bytes()),
        ScaleType::F32 => put_lane(tile, at, lane, &value.to_le_bytes()),
    }
}
