//! Tiles of integer groups of 4 and 8 bits: 256 or 512 bytes of codes per block; 16 scales in their own number type and 16
//! zero points (one byte each) per group.

use half::{bf16, f16};
use honelm_blocks::{GroupMatrix, ScaleType, Zeros};

use super::{
    activations::BLOCK,
    simd::Simd,
    tile::{
        Block, CHUNK, Chunk, RowZero, Section, TileFormat, TileLayout, byte_vector, nibble_vector, nibbles, put_bits,
        put_bytes, put_lane, put_nibbles, put_pairs, to_nibbles, whole_bytes,
    },
};

/// Groups of codes of `BITS` (4 or 8) bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups<const BITS: u32> {
    /// The number of blocks that share a stored scale: those of a group, or a divisor that also divides a chunk.
    blocks: usize,
    scale_type: ScaleType,
}

impl<const BITS: u32> Groups<BITS> {
    /// Creates the format of groups of `blocks` blocks of 32 columns.
    pub fn new(blocks: usize, scale_type: ScaleType) -> Self {
        let blocks = 1 << blocks.trailing_zeros().min(CHUNK.trailing_zeros());
        Self { blocks, scale_type }
    }

    /// Returns block `b` with unpacked `codes`.
    #[inline(always)]
    pub fn with_codes<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, codes: [S::Codes; 8]) -> Block<S> {
        let unit = b / self.blocks;
        let block = Block::new(s, codes, self.numbers(s, chunk, 1, unit));
        Block { zeros: s.ints_from_bytes(chunk.get(2, unit * 16)), ..block }
    }

    /// Returns numbers `unit` of section `section`.
    #[inline(always)]
    fn numbers<S: Simd>(&self, s: S, chunk: &Chunk<'_>, section: usize, unit: usize) -> S::Floats {
        match self.scale_type {
            ScaleType::F16 => s.widen_f16(chunk.get(section, unit * 32)),
            ScaleType::BF16 => s.widen_bf16(chunk.get(section, unit * 32)),
            ScaleType::F32 => s.widen_f32(chunk.get(section, unit * 64)),
        }
    }
}

impl<const BITS: u32> TileFormat for Groups<BITS> {
    type Shape = RowZero<BITS>;

    const LINES: usize = BITS as usize + 1;

    fn sections(&self) -> [Section; 4] {
        let group = |bytes| Section { bytes, blocks: self.blocks };
        [Section::each(BITS as usize * 64), group(16 * self.scale_type.bytes()), group(16), Section::NONE]
    }

    #[inline(always)]
    fn block<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize) -> Block<S> {
        let codes = if BITS == 4 { nibbles(s, chunk, b) } else { whole_bytes(s, chunk, b) };
        self.with_codes(s, chunk, b, codes)
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, chunk: &Chunk<'_>, b: usize, v: usize) -> S::Codes {
        if BITS == 4 { nibble_vector(s, chunk, b, v) } else { byte_vector(s, chunk, b, v) }
    }
}

/// A group matrix, and the order in which its columns are packed.
#[derive(Debug)]
pub(super) struct GroupSource<'a> {
    matrix: &'a GroupMatrix,
    /// The column at each position, if the columns of a group are not adjacent.
    pub order: Option<Vec<u32>>,
}

impl<'a> GroupSource<'a> {
    /// Wraps a matrix; `None` if the groups do not fill blocks of 32 columns.
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
        Some(Self { matrix, order: (!order.is_sorted()).then_some(order) })
    }

    /// Packs row `row` as row `lane` of `tile`. `bits` is 2, 3, 4 or 8.
    pub fn pack(&self, layout: &TileLayout, bits: u32, row: usize, lane: usize, tile: &mut [u8]) {
        let m = self.matrix;
        let codes = m.row_codes(row);
        for (b, in_order) in codes.as_chunks::<BLOCK>().0.iter().enumerate() {
            let block = match &self.order {
                None => *in_order,
                Some(order) => std::array::from_fn(|j| codes[order[b * BLOCK + j] as usize]),
            };
            match bits {
                2 | 3 => {
                    put_pairs(&mut tile[layout.at(b, 0)..][..128], lane, &block);
                    if bits == 3 {
                        let high = block.iter().enumerate().fold(0, |bits, (k, q)| bits | u32::from(q >> 2) << k);
                        put_bits(tile, layout.at(b, 3), lane, high);
                    }
                }
                4 => put_nibbles(tile, layout.at(b, 0), lane, &to_nibbles(&block)),
                _ => put_bytes(tile, layout.at(b, 0), lane, &block),
            }
        }
        // The numbers of a group longer than a chunk are repeated in every chunk, so that a kernel reads one stream.
        let per_group = m.group_size.min(m.cols) / BLOCK;
        for b in 0..layout.blocks {
            let i = row * m.groups() + b / per_group;
            put_number(m.scale_type, tile, layout.at(b, 1), lane, m.scales[i]);
            match &m.zeros {
                Zeros::Constant(zero) => put_lane(tile, layout.at(b, 2), lane, &[*zero]),
                Zeros::Integer(zeros) => put_lane(tile, layout.at(b, 2), lane, &[zeros[i]]),
                Zeros::Bias(_) => unreachable!("biases have no tile format"),
            }
        }
    }
}

/// Writes a number that is exact in `kind`.
fn put_number(kind: ScaleType, tile: &mut [u8], at: usize, lane: usize, value: f32) {
    match kind {
        ScaleType::F16 => put_lane(tile, at, lane, &f16::from_f32(value).to_le_bytes()),
        ScaleType::BF16 => put_lane(tile, at, lane, &bf16::from_f32(value).to_le_bytes()),
        ScaleType::F32 => put_lane(tile, at, lane, &value.to_le_bytes()),
    }
}
