//! Conversion of weights between the form in which containers store them and the form in which they are used.

use honelm_blocks::{BlockError, BlockMatrix, Encoding};
use honelm_tensor::Matrix;

use crate::module::HfForm;
use crate::{Module, RowOrder};

/// The form in which a container stores a module's weight and bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    rows: RowOrder,
    hf: HfForm,
}

impl Module {
    /// Returns the form in GGUF files.
    pub(crate) fn gguf_form(&self) -> Form {
        Form { rows: self.gguf_rows, hf: HfForm::Same }
    }

    /// Returns the form in Hugging Face folders, for modules stored as plain tensors.
    pub(crate) fn hf_form(&self) -> Form {
        Form { rows: RowOrder::Same, hf: self.hf_form }
    }
}

impl Form {
    /// Returns the shape of the stored tensor.
    pub(crate) fn shape(self, module: &Module) -> Vec<usize> {
        let mut shape = module.stored_shape().to_vec();
        match self.hf {
            HfForm::Transposed => shape.reverse(),
            HfForm::Padded(rows) => shape[0] += rows,
            HfForm::Same | HfForm::MinusOne => {}
        }
        shape
    }

    /// Returns the encoding in which a weight of encoding `own` is stored in a Hugging Face folder: F32 if its values change
    /// or safetensors has no such blocks, which loses nothing.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn encoding(self, own: Encoding) -> Encoding {
        if self.hf == HfForm::MinusOne || !own.is_float() { Encoding::F32 } else { own }
    }

    /// Returns `true` if weights are stored exactly as they are used.
    pub(crate) fn is_plain(self) -> bool {
        self == Self { rows: RowOrder::Same, hf: HfForm::Same }
    }

    /// Converts a stored tensor to the weight.
    ///
    /// # Errors
    /// Values that the new encoding cannot hold.
    pub(crate) fn canonical(self, stored: BlockMatrix) -> Result<BlockMatrix, BlockError> {
        let rows = stored.rows;
        let stored = match self.rows {
            RowOrder::Same => stored,
            order => with_rows(&stored, |row| order.container_row(row, rows)),
        };
        if let HfForm::Padded(padding) = self.hf {
            let bytes = stored.bytes[padding * stored.row_bytes()..].to_vec();
            return BlockMatrix::new(stored.encoding, rows - padding, stored.cols, bytes.into());
        }
        self.changed(stored, 1.0)
    }

    /// Converts a weight to the tensor to store, but for the order of its rows (see [`Form::stored_row`]). Rows for padding are
    /// zeros.
    ///
    /// # Errors
    /// As [`Form::canonical`].
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn stored(self, weight: BlockMatrix) -> Result<BlockMatrix, BlockError> {
        if let HfForm::Padded(padding) = self.hf {
            let mut bytes = vec![0; padding * weight.row_bytes()];
            bytes.extend_from_slice(&weight.bytes);
            return BlockMatrix::new(weight.encoding, weight.rows + padding, weight.cols, bytes.into());
        }
        if weight.encoding.is_float() {
            return self.changed(weight, -1.0);
        }
        self.changed(BlockMatrix::quantize(&dequantized(&weight), Encoding::F32, None)?, -1.0)
    }

    /// Returns the weight's row that is stored as row `row` of `rows`.
    pub(crate) fn stored_row(self, row: usize, rows: usize) -> usize {
        self.rows.canonical_row(row, rows)
    }

    /// Returns the stored tensor's row that holds the weight's row `row` of `rows`.
    pub(crate) fn canonical_row(self, row: usize, rows: usize) -> usize {
        self.rows.container_row(row, rows)
    }

    /// Returns `true` if rows are stored in another order.
    pub(crate) fn reorders(self) -> bool {
        self.rows != RowOrder::Same
    }

    fn changed(self, matrix: BlockMatrix, shift: f32) -> Result<BlockMatrix, BlockError> {
        match self.hf {
            HfForm::Same | HfForm::Padded(_) => Ok(matrix),
            HfForm::Transposed => transposed(&matrix),
            HfForm::MinusOne => {
                let mut values = dequantized(&matrix);
                values.data.iter_mut().for_each(|x| *x += shift);
                BlockMatrix::quantize(&values, Encoding::F32, None)
            }
        }
    }
}

/// Returns the matrix whose row `r` is row `from(r)` of `matrix`.
pub(crate) fn with_rows(matrix: &BlockMatrix, from: impl Fn(usize) -> usize) -> BlockMatrix {
    let mut bytes = Vec::with_capacity(matrix.bytes.len());
    for row in 0..matrix.rows {
        bytes.extend_from_slice(matrix.row(from(row)));
    }
    BlockMatrix { bytes: bytes.into(), ..matrix.clone() }
}

/// Returns the transpose: bit for bit for floats, in F32 for encodings whose blocks span several columns.
fn transposed(matrix: &BlockMatrix) -> Result<BlockMatrix, BlockError> {
    let (rows, cols) = (matrix.rows, matrix.cols);
    if !matrix.encoding.is_float() {
        let values = dequantized(matrix);
        let data = (0..rows * cols).map(|i| values.data[i % rows * cols + i / rows]).collect();
        return BlockMatrix::quantize(&Matrix::new(cols, rows, data), Encoding::F32, None);
    }
    let width = matrix.encoding.block_bytes();
    let mut bytes = vec![0; matrix.bytes.len()];
    for (i, value) in matrix.bytes.chunks_exact(width).enumerate() {
        let at = (i % cols * rows + i / cols) * width;
        bytes[at..at + width].copy_from_slice(value);
    }
    BlockMatrix::new(matrix.encoding, cols, rows, bytes.into())
}

fn dequantized(matrix: &BlockMatrix) -> Matrix {
    let mut values = Matrix::zeros(matrix.rows, matrix.cols);
    for r in 0..matrix.rows {
        matrix.dequantize_row(r, values.row_mut(r));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(module: &Module, encoding: Encoding) -> (BlockMatrix, BlockMatrix) {
        let values = Matrix::new(2, 3, vec![1.0, -2.0, 0.5, 4.0, 0.25, 8.0]);
        let weight = BlockMatrix::quantize(&values, encoding, None).expect("floats");
        (module.hf_form().stored(weight.clone()).expect("floats"), weight)
    }

    #[test]
    fn forms_are_inverse_to_each_other() {
        for encoding in [Encoding::F32, Encoding::F16, Encoding::BF16] {
            for module in [
                Module::linear("m", "m", "m", [2, 3], false).transposed(),
                Module::norm("n", "n", "n", 3).minus_one(),
                Module::linear("m", "m", "m", [2, 3], false),
                Module::positions("p", "p", "p", [2, 3]).padded(2),
            ] {
                let (stored, weight) = stored(&module, encoding);
                assert_eq!(stored.encoding, module.hf_form().encoding(encoding));
                let again = module.hf_form().canonical(stored).expect("floats");
                assert_eq!(dequantized(&again), dequantized(&weight), "{module:?} {encoding}");
            }
        }
    }

    #[test]
    fn hugging_face_stores_transposed_matrices_and_gains_minus_one() {
        let (turned, _) = stored(&Module::linear("m", "m", "m", [2, 3], false).transposed(), Encoding::F16);
        assert_eq!((turned.rows, turned.cols), (3, 2));
        assert_eq!(dequantized(&turned).data, [1.0, 4.0, -2.0, 0.25, 0.5, 8.0]);
        let (padded, _) = stored(&Module::positions("p", "p", "p", [2, 3]).padded(1), Encoding::F16);
        assert_eq!(dequantized(&padded).data, [0.0, 0.0, 0.0, 1.0, -2.0, 0.5, 4.0, 0.25, 8.0]);
        let (less, _) = stored(&Module::norm("n", "n", "n", 3).minus_one(), Encoding::F16);
        assert_eq!(dequantized(&less).data, [0.0, -3.0, -0.5, 3.0, -0.75, 7.0]);
        let module = Module::linear("m", "m", "m", [2, 3], true).transposed();
        assert_eq!((module.hf_form().shape(&module), module.gguf_form().shape(&module)), (vec![3, 2], vec![2, 3]));
        let blocks = BlockMatrix::quantize(&Matrix::new(1, 32, vec![0.7; 32]), Encoding::Q4_0, None).expect("finite");
        let module = Module::linear("m", "m", "m", [1, 32], false);
        let floats = module.hf_form().stored(blocks.clone()).expect("floats");
        assert_eq!((floats.encoding, module.hf_form().encoding(Encoding::Q4_0)), (Encoding::F32, Encoding::F32));
        assert_eq!(dequantized(&floats), dequantized(&blocks));
    }
}
