use std::ops::Range;

use honelm_blocks::{BlockMatrix, WeightData};

use crate::{ModelError, Slot, StoredEncoding};

/// A weight with its bias as they are used, rows in Hugging Face's order.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The matrix `[out, in]`; a norm's gain is `[1, n]`.
    pub weight: WeightData,
    /// The bias. // `[out]`, of a norm `[n]`
    pub bias: Option<Vec<f32>>,
}

/// Where parameters come from: a checkpoint, or a checkpoint with some of its weights replaced by
/// compressed ones. Models are loaded from it, files are written from it.
pub trait Parameters {
    /// The parameter of a slot of the model's [`crate::Tree`].
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError>;

    /// The rows `rows` of a weight without bias, where they can be read alone; else `None`, and the weight is read whole.
    fn rows(&self, _slot: Slot, _rows: Range<usize>) -> Result<Option<BlockMatrix>, ModelError> {
        Ok(None)
    }

    /// Gives memory back that was taken to read what was asked for so far.
    fn forget(&self) {}

    /// How the weight of a slot is encoded; where that is known without reading it, it is not read.
    fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        Ok((&self.parameter(slot)?.weight).into())
    }
}
