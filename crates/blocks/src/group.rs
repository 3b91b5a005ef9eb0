use honelm_tensor::AlignedVec;

use crate::{BlockError, ScaleType};

/// The zero points of a [`GroupMatrix`]. // each [rows, groups]
#[derive(Debug, Clone, PartialEq)]
pub enum Zeros {
    /// One integer for all groups: `w = scale * (q - z)`.
    Constant(u8),
    /// One integer per group: `w = scale * (q - z)`.
    Integer(Vec<u8>),
    /// One bias per group: `w = scale * q + bias`.
    Bias(Vec<f32>),
}

impl Zeros {
    /// Returns the largest integer zero point. That is `2^bits`, because some readers of GPTQ's first version add 1 to
    /// the stored `2^bits - 1` without a mask. At 8 bits it is 255, since no known writer means 256.
    #[must_use]
    pub fn limit(bits: u8) -> u32 {
        (1u32 << bits.min(8)).min(255)
    }

    /// Narrows zero points from wider integers. // [rows, groups]
    ///
    /// # Errors
    /// [`BlockError::ZeroPoint`] if a zero point exceeds [`Zeros::limit`].
    pub fn integers(zeros: impl IntoIterator<Item = u32>, bits: u8) -> Result<Self, BlockError> {
        let limit = Self::limit(bits);
        let check = |(index, found)| match u8::try_from(found) {
            Ok(z) if found <= limit => Ok(z),
            _ => Err(BlockError::ZeroPoint { index, found, limit }),
        };
        zeros.into_iter().enumerate().map(check).collect::<Result<_, _>>().map(Self::Integer)
    }
}

/// A matrix of integer codes in groups: the canonical form into which GPTQ, AWQ, MLX, compressed-tensors and ONNX
/// MatMulNBits weights load without loss and from which they are written.
///
/// Build it as a literal and check it with [`GroupMatrix::validated`]. The other methods rely on that check.
#[derive(Debug, Clone)]
pub struct GroupMatrix {
    /// The number of output rows.
    pub rows: usize,
    /// The number of input columns.
    pub cols: usize,
    /// The number of bits per code, 2..=8.
    pub bits: u8,
    /// The number of columns per group; `cols` for one group per row. `cols` need not be a multiple of it.
    pub group_size: usize,
    /// The number type of the stored scales. The scales and biases below are exact in it.
    pub scale_type: ScaleType,
    /// The codes, one byte each. // [rows, cols]
    pub codes: AlignedVec<u8>,
    /// The scales. // [rows, groups]
    pub scales: Vec<f32>,
    /// The zero points.
    pub zeros: Zeros,
    /// The group of each column (GPTQ's g_idx), unless it is `column / group_size`. // `[cols]`
    pub order: Option<Vec<u32>>,
}

impl GroupMatrix {
    /// Checks everything about the matrix except that its numbers are finite ([`GroupMatrix::check_finite`]), and
    /// returns it.
    ///
    /// # Errors
    /// Returns an error if the bits, the group size, a length, a code, a zero point or a column's group is out of
    /// range, or if [`GroupMatrix::scale_type`] cannot hold a scale or bias exactly.
    pub fn validated(self) -> Result<Self, BlockError> {
        let Self { rows, cols, bits, .. } = self;
        if !(2..=8).contains(&bits) {
            return Err(BlockError::Bits { found: bits });
        }
        if self.group_size == 0 {
            return Err(BlockError::GroupSize);
        }
        let too_large = BlockError::TooLarge { rows, cols };
        let values = rows.checked_mul(cols).ok_or(too_large)?;
        check_length("codes of a matrix", self.codes.len(), values)?;
        let groups = rows * self.groups();
        check_length("scales of a matrix", self.scales.len(), groups)?;
        self.check_exact("scale", &self.scales)?;
        let limit = Zeros::limit(bits);
        let zero_point = |(index, &z)| (u32::from(z) > limit).then_some((index, u32::from(z)));
        let bad_zero = match &self.zeros {
            Zeros::Constant(z) => zero_point((0, z)),
            Zeros::Integer(zeros) => {
                check_length("zero points of a matrix", zeros.len(), groups)?;
                zeros.iter().enumerate().find_map(zero_point)
            }
            Zeros::Bias(biases) => {
                check_length("biases of a matrix", biases.len(), groups)?;
                self.check_exact("bias", biases)?;
                None
            }
        };
        if let Some((index, found)) = bad_zero {
            return Err(BlockError::ZeroPoint { index, found, limit });
        }
        let highest = u8::MAX >> (8 - bits);
        if let Some(i) = self.codes.iter().position(|&q| q > highest) {
            return Err(BlockError::Code { row: i / cols, column: i % cols, found: self.codes[i], bits });
        }
        self.check_order()?;
        Ok(self)
    }

    fn check_exact(&self, what: &'static str, values: &[f32]) -> Result<(), BlockError> {
        let inexact = |v: &f32| !v.is_nan() && self.scale_type.round(*v) != *v;
        match values.iter().position(inexact) {
            Some(index) => {
                let scale_type = self.scale_type.name();
                Err(BlockError::Inexact { what, index, value: values[index], scale_type })
            }
            None => Ok(()),
        }
    }

    fn check_order(&self) -> Result<(), BlockError> {
        let Some(order) = &self.order else { return Ok(()) };
        check_length("column groups of a matrix", order.len(), self.cols)?;
        let groups = self.groups();
        match order.iter().position(|&g| g as usize >= groups) {
            Some(column) => Err(BlockError::GroupIndex { column, found: order[column], groups }),
            None => Ok(()),
        }
    }

    /// Returns the number of groups per row.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.cols.div_ceil(self.group_size)
    }

    /// Returns the group of a column.
    #[must_use]
    pub fn group_of(&self, column: usize) -> usize {
        match &self.order {
            Some(order) => order[column] as usize,
            None => column / self.group_size,
        }
    }

    /// Returns the scale of the weight at (`row`, `column`).
    #[must_use]
    pub fn scale(&self, row: usize, column: usize) -> f32 {
        self.scales[row * self.groups() + self.group_of(column)]
    }

    /// Returns the integer zero point of the weight at (`row`, `column`), or `None` if the groups have biases.
    #[must_use]
    pub fn zero(&self, row: usize, column: usize) -> Option<u8> {
        match &self.zeros {
            Zeros::Constant(z) => Some(*z),
            Zeros::Integer(zeros) => Some(zeros[row * self.groups() + self.group_of(column)]),
            Zeros::Bias(_) => None,
        }
    }

    /// Returns the bias of the weight at (`row`, `column`), or `None` if the groups have integer zero points.
    #[must_use]
    pub fn bias(&self, row: usize, column: usize) -> Option<f32> {
        match &self.zeros {
            Zeros::Bias(biases) => Some(biases[row * self.groups() + self.group_of(column)]),
            Zeros::Constant(_) | Zeros::Integer(_) => None,
        }
    }

    /// Returns the codes of row `r`. // `[cols]`
    #[must_use]
    pub fn row_codes(&self, r: usize) -> &[u8] {
        &self.codes[r * self.cols..(r + 1) * self.cols]
    }

    /// Returns `(scale, zero, bias)` of group `i` of `[rows, groups]`: w = scale * (q - zero) + bias, where the zero
    /// or the bias is 0.
    fn group(&self, i: usize) -> (f32, f32, f32) {
        let (zero, bias) = match &self.zeros {
            Zeros::Constant(z) => (f32::from(*z), 0.0),
            Zeros::Integer(zeros) => (f32::from(zeros[i]), 0.0),
            Zeros::Bias(biases) => (0.0, biases[i]),
        };
        (self.scales[i], zero, bias)
    }

    /// Decodes row `r` into `out` `[cols]`. Faster implementations must agree with this one.
    ///
    /// # Panics
    /// Panics if there is no such row or `out` is not `cols` long.
    pub fn dequantize_row(&self, r: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "values of a row");
        let (codes, first) = (self.row_codes(r), r * self.groups());
        let biased = matches!(self.zeros, Zeros::Bias(_));
        if let Some(order) = &self.order {
            for ((value, &q), &g) in out.iter_mut().zip(codes).zip(order) {
                let (scale, zero, bias) = self.group(first + g as usize);
                *value = if biased { scale * f32::from(q) + bias } else { scale * (f32::from(q) - zero) };
            }
            return;
        }
        for (g, (values, codes)) in out.chunks_mut(self.group_size).zip(codes.chunks(self.group_size)).enumerate() {
            let (scale, zero, bias) = self.group(first + g);
            if biased {
                for (value, &q) in values.iter_mut().zip(codes) {
                    *value = scale * f32::from(q) + bias;
                }
            } else {
                for (value, &q) in values.iter_mut().zip(codes) {
                    *value = scale * (f32::from(q) - zero);
                }
            }
        }
    }

    /// Checks that every code of every group stands for a finite number.
    ///
    /// # Errors
    /// [`BlockError::NotFinite`] with the row and the first column of the group.
    pub fn check_finite(&self) -> Result<(), BlockError> {
        let (groups, span) = (self.groups(), f32::from(u8::MAX >> (8 - self.bits)));
        for i in 0..self.scales.len() {
            let (scale, zero, bias) = self.group(i);
            let ends = [scale * -zero + bias, scale * (span - zero) + bias];
            if let Some(value) = ends.into_iter().find(|v| !v.is_finite()) {
                let (row, group) = (i / groups, i % groups);
                let column = (0..self.cols).find(|&c| self.group_of(c) == group).unwrap_or(0);
                let value = if scale.is_finite() { value } else { scale };
                return Err(BlockError::NotFinite { row, column, value });
            }
        }
        Ok(())
    }

    /// Returns the size in storage: packed codes, scales, packed zero points or biases, and the groups of the columns
    /// if they are stored. Constant zero points take no space.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let packed = |count: usize| (count * usize::from(self.bits)).div_ceil(8);
        let number = self.scale_type.bytes();
        let zeros = match &self.zeros {
            Zeros::Constant(_) => 0,
            Zeros::Integer(zeros) => packed(zeros.len()),
            Zeros::Bias(biases) => biases.len() * number,
        };
        let order = self.order.as_ref().map_or(0, |order| size_of_val(order.as_slice()));
        packed(self.codes.len()) + self.scales.len() * number + zeros + order
    }
}

pub(crate) fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), BlockError> {
    if found == expected { Ok(()) } else { Err(BlockError::Length { what, found, expected }) }
}
