//! Quantised modules in safetensors files: one source file per format behind one interface.
//!
//! [`detect`] makes a [`QuantizedFormat`] from the settings of a checkpoint. [`QuantizedFormat::packed`] names the
//! tensors that hold a module and [`QuantizedFormat::decode`] reads them. A module that is not packed is a plain
//! tensor `NAME.weight`. Unknown settings are refused by name because they might change the weights.
//! [`GroupFormat`] is the other direction: the formats that integer groups are written in.
//!
//! A scale of 0 is legal: the weights of its group are 0, or equal to the group's bias. A scale that is not finite
//! is decoded unchanged; [`honelm_blocks::WeightData::check_finite`] refuses it.
//!
//! A new format takes one file with a `Method`, and one line in `METHODS`.

pub mod awq;
pub mod compressed_tensors;
mod fields;
pub mod fp8;
pub mod gptq;
pub mod mlx;
mod pattern;
mod settings;
mod tensors;
mod words;
mod writing;

use std::fmt;

use honelm_blocks::{Encoding, ScaleType, WeightData};
use serde_json::Value;

use crate::{FormatError, TensorSource};
pub use settings::Settings;
pub use tensors::{Packed, PackedTensor};
pub use writing::GroupFormat;

/// Every format. The settings are read by the first that recognises them.
const METHODS: &[&Method] = &[&mlx::METHOD, &compressed_tensors::METHOD, &awq::METHOD, &fp8::METHOD, &gptq::METHOD];

/// Returns every format's name, as `quant_method` holds it, and a description of the variants that are read.
#[must_use]
pub fn known() -> Vec<(&'static str, &'static str)> {
    METHODS.iter().map(|method| (method.name, method.reads)).collect()
}

/// A format's name and the functions that read its settings.
struct Method {
    name: &'static str,
    /// The variants that are read, for people.
    reads: &'static str,
    /// Returns `true` if settings that name no method are this format's.
    recognises: fn(&Value) -> bool,
    parse: Parse,
}

/// Reads a settings object; the first argument is the file's name for messages.
type Parse = fn(&str, &Value) -> Result<Box<dyn QuantizedFormat>, FormatError>;

/// The class of a module, by its name in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleClass {
    /// `Linear`.
    Linear,
    /// `Embedding`.
    Embedding,
}

impl ModuleClass {
    /// Returns `Linear` or `Embedding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "Linear",
            Self::Embedding => "Embedding",
        }
    }
}

/// The name, class and shape of a module with a matrix.
#[derive(Debug, Clone, Copy)]
pub struct ModuleShape<'a> {
    /// The name in the file, without suffix: `model.layers.0.mlp.up_proj`.
    pub name: &'a str,
    /// The class.
    pub class: ModuleClass,
    /// The number of output rows.
    pub rows: usize,
    /// The number of input columns.
    pub cols: usize,
}

impl ModuleShape<'_> {
    /// Returns the name of the module's tensor `suffix`.
    fn tensor(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.name)
    }

    fn is_linear(&self) -> bool {
        self.class == ModuleClass::Linear
    }
}

/// The form of a decoded module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Integer groups.
    Groups {
        /// The bits per code.
        bits: u8,
        /// The columns per group.
        group_size: usize,
        /// `true` if every zero point is the middle code.
        symmetric: bool,
        /// The number type of the scales.
        scale_type: ScaleType,
    },
    /// Row-wise blocks.
    Blocks(Encoding),
}

/// The format of a checkpoint's quantised modules.
pub trait QuantizedFormat: fmt::Debug + Send + Sync {
    /// Returns the format's name: `gptq`.
    fn name(&self) -> &'static str;

    /// Returns the tensors of a packed module with the shapes that they must have, or `None` for a plain `NAME.weight`.
    ///
    /// # Errors
    /// Settings of the module that cannot be determined, or a shape that the format cannot hold.
    fn packed(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Option<Packed>, FormatError>;

    /// Reads a module without loss.
    ///
    /// # Errors
    /// The errors of [`QuantizedFormat::packed`] and [`Packed::check`], and tensors with invalid contents.
    fn decode(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<WeightData, FormatError>;

    /// Returns a sentence for every setting that the tensors of a packed module clearly contradict: what was found, and
    /// which of the two [`QuantizedFormat::decode`] follows. An ambiguous contradiction is an error of
    /// [`QuantizedFormat::packed`], [`Packed::check`] or [`QuantizedFormat::decode`] instead.
    ///
    /// # Errors
    /// The errors of [`QuantizedFormat::packed`] and [`Packed::check`].
    fn contradictions(
        &self,
        _source: &dyn TensorSource,
        _module: &ModuleShape<'_>,
    ) -> Result<Vec<String>, FormatError> {
        Ok(Vec::new())
    }
}

/// Returns the format that the settings of a model folder ask for, or `None` if nothing is quantised. See
/// [`Settings::find`].
///
/// # Errors
/// [`FormatError::InvalidQuantization`], [`FormatError::UnsupportedQuantization`],
/// [`FormatError::UnknownQuantization`].
pub fn detect(
    config: Option<(&str, &Value)>,
    own: &[(&str, &Value)],
) -> Result<Option<Box<dyn QuantizedFormat>>, FormatError> {
    Settings::find(config, own).map(|settings| settings.format()).transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(config: Value, own: &[Value]) -> Result<Option<&'static str>, &'static str> {
        let own: Vec<_> = own.iter().map(|value| ("quantize_config.json", value)).collect();
        match detect(Some(("config.json", &config)), &own) {
            Ok(format) => Ok(format.map(|format| format.name())),
            Err(error) => Err(error.code()),
        }
    }

    #[test]
    fn settings_are_found_where_each_tool_puts_them() {
        let gptq = json!({"bits": 4, "group_size": 128, "desc_act": false});
        let awq = json!({"w_bit": 4, "q_group_size": 128, "zero_point": true, "version": "GEMM"});
        let mlx = json!({"bits": 4, "group_size": 64});
        assert_eq!(name(json!({"model_type": "llama"}), &[]), Ok(None));
        assert_eq!(name(json!({"quantization_config": null}), &[]), Ok(None));
        assert_eq!(name(json!({}), std::slice::from_ref(&gptq)), Ok(Some("gptq")));
        assert_eq!(name(json!({}), std::slice::from_ref(&awq)), Ok(Some("awq")));
        assert_eq!(name(json!({"quantization": mlx}), &[]), Ok(Some("mlx")));
        assert_eq!(name(json!({"quantization": mlx, "quantization_config": mlx}), &[]), Ok(Some("mlx")));
        for method in ["gptq", "awq", "AWQ"] {
            let settings = json!({"quant_method": method, "bits": 4, "group_size": 128, "version": "gemm"});
            let found = name(json!({"quantization_config": settings}), &[]);
            let expected = if method == "gptq" { Err("unknown-quantization-setting") } else { Ok(Some("awq")) };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn refuses_methods_that_it_does_not_know_by_name() {
        for method in ["bitsandbytes", "hqq", "exl2", "mxfp4", ""] {
            let settings = json!({"quantization_config": {"quant_method": method, "bits": 4}});
            assert_eq!(name(settings, &[]), Err("unsupported-quantization"), "{method}");
        }
        assert_eq!(name(json!({"quantization_config": {"scheme": "odd"}}), &[]), Err("invalid-quantization-config"));
        assert_eq!(name(json!({"quantization_config": [4]}), &[]), Err("invalid-quantization-config"));
        assert_eq!(name(json!({"quantization_config": {"quant_method": 4}}), &[]), Err("invalid-quantization-config"));
    }
}
