//! Conversion of block encodings without their own layout to integer groups with the same values.
//!
//! Q4_1 and Q2_K have scales and minima, and their codes are kept. In all others every value of a block (or sub-block) is an
//! integer multiple of one number. It is found from the decoded values as their greatest common divisor, in floats, whose
//! remainders are exact.

use honelm_blocks::{BlockMatrix, Encoding, ScaleType};

use super::{GroupLayout, GroupZeros, PackError, blocks::half_bits, layout::CodeBits};
use half::f16;

/// Returns the groups that hold blocks of `encoding` exactly; `None` for encodings with their own layout.
pub(super) fn groups_of(encoding: Encoding) -> Option<GroupLayout> {
    let groups = |bits, group_size, scale_type, zeros| Some(GroupLayout { bits, group_size, scale_type, zeros });
    let nibbles = |size| groups(CodeBits::Four, size, ScaleType::F32, GroupZeros::Constant(8));
    let bytes = |size| groups(CodeBits::Eight, size, ScaleType::F32, GroupZeros::Constant(128));
    match encoding {
        Encoding::Q4_1 => groups(CodeBits::Four, 32, ScaleType::F16, GroupZeros::Bias),
        Encoding::Q2K => groups(CodeBits::Four, 16, ScaleType::F32, GroupZeros::Bias),
        Encoding::Q3K => nibbles(16),
        Encoding::Q2_0 => nibbles(64),
        Encoding::Q1_0 => nibbles(128),
        Encoding::TQ1_0 | Encoding::TQ2_0 => nibbles(256),
        Encoding::IQ1M | Encoding::IQ2XS | Encoding::IQ2S | Encoding::NVFP4 => bytes(16),
        Encoding::IQ1S
        | Encoding::IQ2XXS
        | Encoding::IQ3XXS
        | Encoding::IQ3S
        | Encoding::IQ4NL
        | Encoding::IQ4XS
        | Encoding::MXFP4 => bytes(32),
        Encoding::F32
        | Encoding::F16
        | Encoding::BF16
        | Encoding::FP8
        | Encoding::Q8_0
        | Encoding::Q6K
        | Encoding::Q5_1
        | Encoding::Q5_0
        | Encoding::Q5K
        | Encoding::Q4_0
        | Encoding::Q4K => None,
    }
}

/// Packs all rows of `m` as `layout`, which is that of [`groups_of`].
pub(super) fn pack_rows(
    m: &BlockMatrix,
    layout: GroupLayout,
    out: &mut [u32],
    row_words: usize,
) -> Result<(), PackError> {
    let mut row = Row::new(m.cols, layout);
    for (r, out) in out.chunks_exact_mut(row_words).enumerate() {
        match m.encoding {
            Encoding::Q4_1 => row.take_q4_1(m.row(r)),
            Encoding::Q2K => row.take_q2_k(m.row(r)),
            _ => {
                m.dequantize_row(r, &mut row.values);
                row.take_multiples(layout).map_err(|column| PackError::NotExact {
                    encoding: m.encoding.display_name(),
                    row: r,
                    column,
                })?;
            }
        }
        layout.pack(&row.codes, row.parameters.iter().copied(), out);
    }
    Ok(())
}

/// A row as codes and group parameters.
struct Row {
    values: Vec<f32>,
    codes: Vec<u8>,
    parameters: Vec<(f32, f32)>,
}

impl Row {
    fn new(cols: usize, layout: GroupLayout) -> Self {
        Self { values: vec![0.0; cols], codes: vec![0; cols], parameters: vec![(0.0, 0.0); layout.groups(cols)] }
    }

    /// Reads d, m, then nibbles with columns j and j + 16 in byte j.
    fn take_q4_1(&mut self, row: &[u8]) {
        let groups = self.codes.as_chunks_mut::<32>().0.iter_mut().zip(&mut self.parameters);
        for ((codes, parameters), block) in groups.zip(row.as_chunks::<20>().0) {
            *parameters = (half_at(block, 0), half_at(block, 2));
            for (j, q) in block[4..].iter().enumerate() {
                (codes[j], codes[j + 16]) = (q & 15, q >> 4);
            }
        }
    }

    /// Reads 16 scales (low nibble) and minima, then per 128 columns 32 bytes, whose byte l holds column 32 t + l at bit 2 t; d, dmin.
    fn take_q2_k(&mut self, row: &[u8]) {
        let groups = self.codes.as_chunks_mut::<16>().0.iter_mut().zip(&mut self.parameters);
        for (sub, (codes, parameters)) in groups.enumerate() {
            let (block, j) = (&row[sub / 16 * 84..][..84], sub % 16);
            let (scale, min) = (block[j] & 15, block[j] >> 4);
            *parameters = (half_at(block, 80) * f32::from(scale), -(half_at(block, 82) * f32::from(min)));
            let first = &block[16 + j / 8 * 32 + j % 2 * 16..];
            for (code, byte) in codes.iter_mut().zip(first) {
                *code = byte >> (j % 8 / 2 * 2) & 3;
            }
        }
    }

    /// Converts `values` to codes. On failure, returns the first column of a group without codes.
    fn take_multiples(&mut self, layout: GroupLayout) -> Result<(), usize> {
        let size = layout.group_size as usize;
        let zero = if layout.bits == CodeBits::Four { 8i16 } else { 128 };
        let groups = self.values.chunks(size).zip(self.codes.chunks_mut(size)).zip(&mut self.parameters);
        for (g, ((values, codes), parameters)) in groups.enumerate() {
            let unit = common_divisor(values).ok_or(g * size)?;
            *parameters = (unit, 0.0);
            for (&value, code) in values.iter().zip(codes) {
                let multiple = if unit == 0.0 { 0.0 } else { (value / unit).round() };
                let code_of = i16::from(multiple as i8) + zero;
                let fits = unit * multiple == value && (0..2 * zero).contains(&code_of) && multiple.abs() < 128.0;
                *code = u8::try_from(code_of).ok().filter(|_| fits).ok_or(g * size)?;
            }
        }
        Ok(())
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_bits(half_bits(block, at) as u16).to_f32()
}

/// Returns the greatest number of which all `values` are integer multiples, 0 for zeros; `None` if a value is not finite.
fn common_divisor(values: &[f32]) -> Option<f32> {
    let mut divisor = 0.0f32;
    for &value in values {
        if !value.is_finite() {
            return None;
        }
        let value = value.abs();
        let ratio = value / divisor;
        if value == 0.0 || ratio == ratio.round() && ratio * divisor == value {
            continue;
        }
        // Euclid's algorithm; the remainder of floats is exact.
        let (mut a, mut b) = (divisor, value);
        while b != 0.0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
    }
    Some(divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_common_divisor_of_floats() {
        let unit = 0.000_172_138_21f32;
        assert_eq!(common_divisor(&[0.0, 6.0 * unit, -15.0 * unit, 0.0, 9.0 * unit]), Some(3.0 * unit));
        assert_eq!(common_divisor(&[0.0, -0.0]), Some(0.0));
        assert_eq!(common_divisor(&[f32::from_bits(5), f32::from_bits(3)]), Some(f32::from_bits(1)));
        assert_eq!(common_divisor(&[1.0, f32::INFINITY]), None);
        assert_eq!(common_divisor(&[1.0, f32::NAN]), None);
    }
}
