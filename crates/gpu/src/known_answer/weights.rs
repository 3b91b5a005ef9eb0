//! Weights whose products with small integers are exact in single precision, whatever the order of the sums.
//!
//! The scales of a row are one power of two. Those of every other row are subnormal in half precision, because shaders may
//! read such numbers as 0, and models contain many of them.

use half::{bf16, f16};
use honelm_blocks::{BlockError, BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_tensor::AlignedVec;

use crate::pack::{CodeBits, GroupLayout, GroupZeros, Layout};

/// The number of rows of every weight: a whole tile and a part of one.
pub(super) const ROWS: usize = 70;

/// The smallest number of columns: two blocks of the longest kind.
const COLS: usize = 512;

/// Returns a pseudorandom number that is the same on every machine. // -> 0..2^16
pub(super) fn draw(seed: u32, index: usize) -> u32 {
    let mixed = (index as u32).wrapping_mul(0x9e37_79b9) ^ seed.wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x2c1b_3c6d);
    (mixed ^ mixed >> 13).wrapping_mul(0x297a_2d39) >> 16
}

/// Returns an integer from `-most` to `most`.
pub(super) fn integer(seed: u32, index: usize, most: i32) -> f32 {
    (draw(seed, index) as i32 % (2 * most + 1) - most) as f32
}

/// Returns the scale of a row.
fn scale(row: usize) -> f32 {
    if row % 2 == 1 { 1.0 / (1 << 20) as f32 } else { 1.0 / 64.0 }
}

/// Returns a weight whose layout is `layout`.
pub(super) fn of_layout(layout: Layout) -> Result<WeightData, BlockError> {
    of_shape(layout, [ROWS, COLS])
}

/// Returns a weight whose layout is `layout`, with at least this number of columns, a multiple of 256.
pub(super) fn of_shape(layout: Layout, shape: [usize; 2]) -> Result<WeightData, BlockError> {
    match layout {
        Layout::Groups(groups) => of_groups(groups, shape).map(WeightData::Groups),
        _ => of_blocks(layout.encoding().unwrap_or(Encoding::F32), shape).map(WeightData::Blocks),
    }
}

fn of_blocks(encoding: Encoding, [rows, cols]: [usize; 2]) -> Result<BlockMatrix, BlockError> {
    let (len, width) = (encoding.block_len(), encoding.block_bytes());
    let mut bytes: Vec<u8> = (0..rows * cols / len * width).map(|i| draw(encoding as u32, i) as u8).collect();
    for (b, block) in bytes.chunks_exact_mut(width).enumerate() {
        fix_block(encoding, scale(b * len / cols), integer(7, b, 127), block);
    }
    BlockMatrix::new(encoding, rows, cols, bytes.into())
}

/// Sets the scales of a block of random bytes. A float becomes `number` times the scale.
fn fix_block(encoding: Encoding, scale: f32, number: f32, block: &mut [u8]) {
    let half = f16::from_f32(scale).to_le_bytes();
    match encoding {
        Encoding::F32 => block.copy_from_slice(&(number * scale).to_le_bytes()),
        Encoding::F16 => block.copy_from_slice(&f16::from_f32(number * scale).to_le_bytes()),
        Encoding::BF16 => block.copy_from_slice(&bf16::from_f32(number * scale).to_le_bytes()),
        Encoding::FP8 => {
            block[..4].copy_from_slice(&scale.to_le_bytes());
            // Exponents from 6 to 13 keep sums exact: sixteenths up to 120.
            block[4..].iter_mut().for_each(|q| *q = *q & 0x87 | (6 + (*q >> 3 & 7)) << 3);
        }
        Encoding::Q6K => block[208..].copy_from_slice(&half),
        Encoding::Q5_1 | Encoding::Q4K | Encoding::Q5K => {
            block[..2].copy_from_slice(&half);
            block[2..4].copy_from_slice(&half);
        }
        _ => block[..2].copy_from_slice(&half),
    }
}

fn of_groups(layout: GroupLayout, [rows, least_cols]: [usize; 2]) -> Result<GroupMatrix, BlockError> {
    let group_size = layout.group_size as usize;
    let cols = group_size * least_cols.div_ceil(group_size.max(1)).max(2);
    let groups = cols / group_size.max(1);
    let bits: u8 = if layout.bits == CodeBits::Four { 4 } else { 8 };
    let code = |seed, i| draw(seed, i) as u8 >> (8 - bits);
    let codes: Vec<u8> = (0..rows * cols).map(|i| code(11, i)).collect();
    // Bfloat16 and single precision represent smaller numbers without subnormals.
    let scale = |row| if layout.scale_type == ScaleType::F16 { scale(row) } else { 1.0 / 64.0 };
    let zeros = match layout.zeros {
        GroupZeros::Constant(zero) => Zeros::Constant(zero),
        GroupZeros::Integer => Zeros::Integer((0..rows * groups).map(|i| code(12, i)).collect()),
        GroupZeros::Bias => Zeros::Bias((0..rows * groups).map(|i| integer(13, i, 127) * scale(i / groups)).collect()),
    };
    let matrix = GroupMatrix {
        rows,
        cols,
        bits,
        group_size,
        scale_type: layout.scale_type,
        codes: AlignedVec::from_slice(&codes),
        scales: (0..rows * groups).map(|i| scale(i / groups)).collect(),
        zeros,
        order: None,
    };
    matrix.validated()
}

/// Returns `weight` with its columns spread over the groups, as with GPTQ's act-order.
pub(super) fn ordered(weight: &WeightData) -> Option<WeightData> {
    let WeightData::Groups(m) = weight else { return None };
    let groups = m.groups() as u32;
    Some(GroupMatrix { order: Some((0..m.cols as u32).map(|c| c % groups).collect()), ..m.clone() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::layout_of;

    #[test]
    fn every_product_and_sum_is_exact() {
        for layout in crate::pack::tests::text::layouts() {
            let weight = of_layout(layout).unwrap_or_else(|e| panic!("{layout:?}: {e}"));
            assert_eq!(layout_of(&weight).ok(), Some(layout));
            let per_unit = if layout == Layout::FP8 { 16.0 } else { 1.0 };
            let mut row = vec![0.0; weight.cols()];
            for r in 0..ROWS {
                weight.dequantize_row(r, &mut row);
                let unit = if matches!(layout, Layout::Groups(g) if g.scale_type != ScaleType::F16) {
                    64.0
                } else {
                    1.0 / scale(r)
                };
                let multiples: Vec<f32> = row.iter().map(|v| v * unit * per_unit).collect();
                assert!(multiples.iter().all(|m| m.fract() == 0.0), "{layout:?} row {r}");
                // Activations are integers up to 3.
                let most: f64 = multiples.iter().map(|m| 3.0 * f64::from(m.abs())).sum();
                assert!(most > 0.0 && most < f64::from(1 << 24), "{layout:?} row {r}: {most}");
            }
        }
    }
}
