//! Integer groups: the codes of a row, 8 or 4 columns per word, padded with zeros; then the parameters of its groups.
//!
//! Codes of 4 bits have the order of Q4_0, so that a word is two quads. Parameters of 16 bits take one word per group: the scale
//! (low half), and the zero point or bias in the same number type. If all zero points are the same constant, the scales are
//! stored alone, two per word. Parameters in single precision take one word each.

use half::{bf16, f16};
use honelm_blocks::{GroupMatrix, ScaleType, Zeros};

use super::{
    GroupLayout, GroupZeros, PackError,
    blocks::{nibble_codes, put_half, put_nibbles},
    layout::CodeBits,
};

impl GroupLayout {
    /// Returns the layout of groups of `bits` bits; `None` if groups end within 8 columns.
    pub(super) fn new(
        bits: u8,
        group_size: usize,
        scale_type: ScaleType,
        zeros: GroupZeros,
        cols: usize,
    ) -> Option<Self> {
        // A single group per row may have any size, because nothing follows it.
        let group_size = if group_size >= cols { cols.next_multiple_of(8) } else { group_size };
        let fits = group_size > 0 && group_size.is_multiple_of(8);
        let bits = if bits <= 4 { CodeBits::Four } else { CodeBits::Eight };
        Some(Self { bits, group_size: u32::try_from(group_size).ok().filter(|_| fits)?, scale_type, zeros })
    }

    /// Packs one row: `codes` in their packed order, and `(scale, zero point or bias)` of each group.
    pub(super) fn pack(self, codes: &[u8], parameters: impl Iterator<Item = (f32, f32)>, out: &mut [u32]) {
        let (words, rest) = out.split_at_mut(self.code_words(codes.len()));
        let quad = |chunk: &[u8]| chunk.iter().enumerate().fold(0, |quad, (i, &q)| quad | u32::from(q) << (8 * i));
        match self.bits {
            CodeBits::Four => {
                for (word, codes) in words.iter_mut().zip(codes.chunks(8)) {
                    let (first, second) = codes.split_at(codes.len().min(4));
                    put_nibbles(&[quad(first), quad(second)], std::slice::from_mut(word));
                }
            }
            CodeBits::Eight => {
                for (word, codes) in words.iter_mut().zip(codes.chunks(4)) {
                    *word = quad(codes);
                }
            }
        }
        for (g, (scale, second)) in parameters.enumerate() {
            self.put_parameters(rest, g, scale, second);
        }
    }

    fn put_parameters(self, words: &mut [u32], g: usize, scale: f32, second: f32) {
        let bits = |value: f32| match self.scale_type {
            ScaleType::BF16 => u32::from(bf16::from_f32(value).to_bits()),
            _ => u32::from(f16::from_f32(value).to_bits()),
        };
        match (self.scale_type, self.zeros) {
            (ScaleType::F32, GroupZeros::Constant(_)) => words[g] = scale.to_bits(),
            (ScaleType::F32, _) => words[2 * g..2 * g + 2].copy_from_slice(&[scale.to_bits(), second.to_bits()]),
            (_, GroupZeros::Constant(_)) => put_half(words, g, bits(scale)),
            _ => words[g] = bits(scale) | bits(second) << 16,
        }
    }

    /// Returns the scale, zero point and bias of group `g`; one of the last two is 0.
    fn parameters(self, words: &[u32], g: usize) -> (f32, f32, f32) {
        let number = |bits: u32| match self.scale_type {
            ScaleType::BF16 => f32::from_bits(bits << 16),
            _ => f16::from_bits(bits as u16).to_f32(),
        };
        let (scale, second) = match (self.scale_type, self.zeros) {
            (ScaleType::F32, GroupZeros::Constant(_)) => (f32::from_bits(words[g]), 0.0),
            (ScaleType::F32, _) => (f32::from_bits(words[2 * g]), f32::from_bits(words[2 * g + 1])),
            (_, GroupZeros::Constant(_)) => (number(words[g / 2] >> (16 * (g % 2)) & 0xffff), 0.0),
            _ => (number(words[g] & 0xffff), number(words[g] >> 16)),
        };
        match self.zeros {
            GroupZeros::Constant(zero) => (scale, f32::from(zero), 0.0),
            GroupZeros::Integer => (scale, second, 0.0),
            GroupZeros::Bias => (scale, 0.0, second),
        }
    }

    /// Decodes a packed row in its packed order.
    pub(super) fn unpack(self, words: &[u32], out: &mut [f32]) {
        let (codes, parameters) = words.split_at(self.code_words(out.len()));
        for (i, values) in out.chunks_mut(4).enumerate() {
            let (scale, zero, bias) = self.parameters(parameters, 4 * i / self.group_size as usize);
            let quad = match self.bits {
                CodeBits::Four => nibble_codes(codes, 4 * i),
                CodeBits::Eight => codes[i].to_le_bytes(),
            };
            for (value, q) in values.iter_mut().zip(quad) {
                *value = scale * (f32::from(q) - zero) + bias;
            }
        }
    }
}

/// Returns the kind of a matrix's zero points in a layout.
pub(super) fn zeros_of(zeros: &Zeros) -> GroupZeros {
    match zeros {
        Zeros::Constant(zero) => GroupZeros::Constant(*zero),
        Zeros::Integer(_) => GroupZeros::Integer,
        Zeros::Bias(_) => GroupZeros::Bias,
    }
}

/// Returns the columns in their packed order, sorted by group, so that each group is contiguous; `None` if the columns are in
/// this order already.
///
/// # Errors
/// [`PackError::UnevenGroups`] if a group other than the last does not have `group_size` columns.
pub(super) fn column_order(m: &GroupMatrix) -> Result<Option<Vec<u32>>, PackError> {
    let Some(group_of) = &m.order else { return Ok(None) };
    let mut counts = vec![0; m.groups()];
    for &g in group_of {
        counts[g as usize] += 1;
    }
    let expected = |g: usize| m.group_size.min(m.cols - g * m.group_size);
    if let Some(group) = (0..counts.len()).find(|&g| counts[g] != expected(g)) {
        return Err(PackError::UnevenGroups { group, columns: counts[group], expected: expected(group) });
    }
    let mut order: Vec<u32> = (0..m.cols as u32).collect();
    order.sort_by_key(|&column| group_of[column as usize]);
    Ok((!order.is_sorted()).then_some(order))
}

/// Packs all rows of `m`, whose layout is `layout`.
pub(super) fn pack_rows(
    m: &GroupMatrix,
    layout: GroupLayout,
    out: &mut [u32],
    row_words: usize,
) -> Result<(), PackError> {
    let order = column_order(m)?;
    let mut codes = vec![0; m.cols];
    let groups = m.groups();
    for (r, out) in out.chunks_exact_mut(row_words).enumerate() {
        let row = m.row_codes(r);
        match &order {
            None => codes.copy_from_slice(row),
            Some(order) => {
                for (code, &column) in codes.iter_mut().zip(order) {
                    *code = row[column as usize];
                }
            }
        }
        let second = |i: usize| match &m.zeros {
            Zeros::Constant(zero) => f32::from(*zero),
            Zeros::Integer(zeros) => f32::from(zeros[i]),
            Zeros::Bias(biases) => biases[i],
        };
        layout.pack(&codes, (r * groups..(r + 1) * groups).map(|i| (m.scales[i], second(i))), out);
    }
    Ok(())
}
