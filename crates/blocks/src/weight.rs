use bytes::Bytes;
use honelm_tensor::Matrix;

use crate::{BlockError, Encoding, GroupMatrix, group::check_length};

/// A matrix whose rows are sequences of blocks of one [`Encoding`].
#[derive(Debug, Clone)]
pub struct BlockMatrix {
    /// The encoding of every row.
    pub encoding: Encoding,
    /// The number of output rows (M).
    pub rows: usize,
    /// The number of input columns (K), a multiple of the encoding's block length.
    pub cols: usize,
    /// `rows * encoding.row_bytes(cols)` bytes, row after row. Often a view into a memory map.
    pub bytes: Bytes,
}

impl BlockMatrix {
    /// Takes `bytes` as a matrix.
    ///
    /// # Errors
    /// Returns an error if the columns are not whole blocks or `bytes` does not have the length that the shape
    /// requires.
    pub fn new(encoding: Encoding, rows: usize, cols: usize, bytes: Bytes) -> Result<Self, BlockError> {
        let expected = Self::bytes_for(encoding, rows, cols)?;
        check_length("bytes of a matrix", bytes.len(), expected)?;
        Ok(Self { encoding, rows, cols, bytes })
    }

    /// Returns the number of bytes of a `rows` x `cols` matrix.
    fn bytes_for(encoding: Encoding, rows: usize, cols: usize) -> Result<usize, BlockError> {
        encoding.row_bytes(cols)?.checked_mul(rows).ok_or(BlockError::TooLarge { rows, cols })
    }

    /// Encodes `matrix`, with one importance per column if given. See [`Encoding::quantize_row`].
    ///
    /// # Errors
    /// Returns the errors of [`Encoding::quantize_row`], with the row.
    pub fn quantize(matrix: &Matrix, encoding: Encoding, importance: Option<&[f32]>) -> Result<Self, BlockError> {
        let mut bytes = vec![0u8; Self::bytes_for(encoding, matrix.rows, matrix.cols)?];
        let row_bytes = encoding.row_bytes(matrix.cols)?;
        for (r, row) in matrix.iter_rows().enumerate() {
            let out = &mut bytes[r * row_bytes..(r + 1) * row_bytes];
            encoding.quantize_row(row, importance, out).map_err(|e| e.at_row(r))?;
        }
        Self::new(encoding, matrix.rows, matrix.cols, bytes.into())
    }

    /// Returns the number of bytes per row.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.cols / self.encoding.block_len() * self.encoding.block_bytes()
    }

    /// Returns the blocks of row `r`, `row_bytes` long.
    ///
    /// # Panics
    /// Panics if there is no such row.
    #[must_use]
    pub fn row(&self, r: usize) -> &[u8] {
        let width = self.row_bytes();
        &self.bytes[r * width..(r + 1) * width]
    }

    /// Decodes row `r` into `out` `[cols]`.
    ///
    /// # Panics
    /// Panics if there is no such row or `out` is not `cols` long.
    pub fn dequantize_row(&self, r: usize, out: &mut [f32]) {
        self.encoding.dequantize_row(self.row(r), out);
    }

    /// Checks that every value decodes to a finite number.
    ///
    /// # Errors
    /// [`BlockError::NotFinite`] with the row and the column (of the block's first value).
    pub fn check_finite(&self) -> Result<(), BlockError> {
        let Some(i) = self.encoding.first_not_finite(&self.bytes) else { return Ok(()) };
        let (row, column) = (i / self.cols, i % self.cols);
        let mut values = vec![0.0; self.cols];
        self.dequantize_row(row, &mut values);
        let value = values[column..].iter().copied().find(|v| !v.is_finite()).unwrap_or(f32::NAN);
        Err(BlockError::NotFinite { row, column, value })
    }
}

/// A weight matrix `[rows = out, cols = in]` in any encoding.
#[derive(Debug, Clone)]
pub enum WeightData {
    /// Rows of blocks, floats included.
    Blocks(BlockMatrix),
    /// Integer groups with their own scales and zero points.
    Groups(GroupMatrix),
}

impl WeightData {
    /// Returns the number of output rows (M).
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Blocks(m) => m.rows,
            Self::Groups(m) => m.rows,
        }
    }

    /// Returns the number of input columns (K).
    #[must_use]
    pub fn cols(&self) -> usize {
        match self {
            Self::Blocks(m) => m.cols,
            Self::Groups(m) => m.cols,
        }
    }

    /// Returns the number of bytes in storage.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Blocks(m) => m.bytes.len(),
            Self::Groups(m) => m.size_bytes(),
        }
    }

    /// Returns the number of bits per weight in storage, scales and zero points included; 0 for an empty matrix.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        let weights = self.rows() * self.cols();
        if weights == 0 { 0.0 } else { self.size_bytes() as f64 * 8.0 / weights as f64 }
    }

    /// Decodes row `r` into `out` `[cols]`.
    ///
    /// # Panics
    /// Panics if there is no such row or `out` is not `cols` long.
    pub fn dequantize_row(&self, r: usize, out: &mut [f32]) {
        match self {
            Self::Blocks(m) => m.dequantize_row(r, out),
            Self::Groups(m) => m.dequantize_row(r, out),
        }
    }

    /// Decodes the whole matrix. // [rows, cols]
    #[must_use]
    pub fn dequantize(&self) -> Matrix {
        let mut out = Matrix::zeros(self.rows(), self.cols());
        for r in 0..out.rows {
            self.dequantize_row(r, out.row_mut(r));
        }
        out
    }

    /// Returns the name of the encoding for reports: `Q4_0`, `int4 g128`, or `int4 rows` for one group per row.
    #[must_use]
    pub fn encoding_name(&self) -> String {
        match self {
            Self::Blocks(m) => m.encoding.display_name().to_owned(),
            Self::Groups(m) if m.groups() <= 1 => format!("int{} rows", m.bits),
            Self::Groups(m) => format!("int{} g{}", m.bits, m.group_size),
        }
    }

    /// Checks that every weight decodes to a finite number, from the scales alone if there are any.
    ///
    /// # Errors
    /// [`BlockError::NotFinite`] with the row and the column (of the first value of the group).
    pub fn check_finite(&self) -> Result<(), BlockError> {
        match self {
            Self::Blocks(m) => m.check_finite(),
            Self::Groups(m) => m.check_finite(),
        }
    }
}

impl From<BlockMatrix> for WeightData {
    fn from(matrix: BlockMatrix) -> Self {
        Self::Blocks(matrix)
    }
}

impl From<GroupMatrix> for WeightData {
    fn from(matrix: GroupMatrix) -> Self {
        Self::Groups(matrix)
    }
}
