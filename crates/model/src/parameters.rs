use std::ops::Range;

use honelm_blocks::{BlockMatrix, WeightData};

use crate::{ModelError, Slot, StoredEncoding};

/// A weight with its bias in the form in which they are used, with rows in Hugging Face's order.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The matrix `[out, in]`; a norm's gain is `[1, n]`.
    pub weight: WeightData,
    /// The bias. // `[out]`, for a norm `[n]`
    pub bias: Option<Vec<f32>>,
}

/// A source of parameters for loading models and writing files: a checkpoint, or a checkpoint with some weights replaced by
/// compressed ones.
pub trait Parameters {
    /// Returns the parameter of a slot of the model's [`crate::Tree`].
    ///
    /// # Errors
    /// [`ModelError::UnknownSlot`], an invalid or unreadable weight.
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError>;

    /// Returns the rows `rows` of a weight without bias; `None` if single rows cannot be read.
    ///
    /// # Errors
    /// As [`Parameters::parameter`].
    fn rows(&self, _slot: Slot, _rows: Range<usize>) -> Result<Option<BlockMatrix>, ModelError> {
        Ok(None)
    }

    /// Frees the memory that reading has used so far.
    fn forget(&self) {}

    /// Returns the encoding of a weight, without reading the weight if possible.
    ///
    /// # Errors
    /// As [`Parameters::parameter`].
    fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        Ok((&self.parameter(slot)?.weight).into())
    }
}
