//! Integer groups as the formats write them.

use honelm_blocks::{GroupMatrix, ScaleType};
use serde_json::Value;

use super::{ModuleShape, QuantizedFormat};
use crate::{FormatError, RawTensor, TensorInfo};

/// A format that modules of integer groups are written in.
///
/// [`QuantizedFormat::decode`] with the same settings reads back what [`GroupFormat::encode`] wrote.
pub trait GroupFormat: QuantizedFormat {
    /// Returns the settings object. `plain` names the linear modules of the model that are not quantised.
    fn settings(&self, plain: &[String]) -> Value;

    /// Returns the fields of `config.json` that hold the settings object.
    fn config_fields(&self) -> &'static [&'static str] {
        &["quantization_config"]
    }

    /// Returns the name of the file that repeats the settings beside `config.json`, if loaders look for one.
    fn settings_file(&self) -> Option<&'static str> {
        None
    }

    /// Returns the tensors of a module, in the order in which [`GroupFormat::encode`] gives them.
    ///
    /// # Errors
    /// [`FormatError::NotRepresentable`] if the format cannot hold the module's shape.
    fn tensor_infos(&self, module: &ModuleShape<'_>, scale_type: ScaleType) -> Result<Vec<TensorInfo>, FormatError>;

    /// Packs a matrix into the tensors of a module.
    ///
    /// # Errors
    /// [`FormatError::NotRepresentable`] if the matrix is not in the form that the settings describe, or holds a value
    /// that the format cannot store.
    fn encode(&self, module: &ModuleShape<'_>, matrix: &GroupMatrix) -> Result<Vec<RawTensor>, FormatError>;
}
