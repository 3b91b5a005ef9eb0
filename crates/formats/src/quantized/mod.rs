//! Quantised modules inside safetensors: one file per format, one interface.
//!
//! A [`QuantizedFormat`] is made of a checkpoint's settings ([`detect`]) and says of a module, by its name and shape,
//! which tensors hold it ([`QuantizedFormat::packed`]) and what they mean ([`QuantizedFormat::decode`]). Modules that it does
//! not find packed are plain tensors `NAME.weight`. Settings that are not known are refused by name:
//! they might change the weights.
//!
//! A scale of 0 is legal: the weights of its group are 0, or the group's bias. A scale that is not finite
//! is decoded as it is; [`honelm_blocks::WeightData::check_finite`] refuses it.
//!
//! Adding a format: its file with a `Method`, and one line of `METHODS`.

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

use std::fmt;

use honelm_blocks::{Encoding, ScaleType, WeightData};
use serde_json::Value;

use crate::{FormatError, TensorSource};
pub use settings::Settings;
pub use tensors::{Packed, PackedTensor};

/// Every format. The first that recognises settings reads them.
const METHODS: &[&Method] = &[&mlx::METHOD, &compressed_tensors::METHOD, &awq::METHOD, &fp8::METHOD, &gptq::METHOD];

/// All formats: the name, as `quant_method` has it, and what is read of it.
#[must_use]
pub fn known() -> Vec<(&'static str, &'static str)> {
    METHODS.iter().map(|method| (method.name, method.reads)).collect()
}

/// A format's name and how its settings are read.
struct Method {
    name: &'static str,
    /// What is read, for people.
    reads: &'static str,
    /// Whether settings without a name are its own.
    recognises: fn(&Value) -> bool,
    parse: Parse,
}

/// Reads a settings object of the file that is named first.
type Parse = fn(&str, &Value) -> Result<Box<dyn QuantizedFormat>, FormatError>;

/// What a module is, by the name of PyTorch's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleClass {
    /// `Linear`.
    Linear,
    /// `Embedding`.
    Embedding,
}

impl ModuleClass {
    /// `Linear` or `Embedding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "Linear",
            Self::Embedding => "Embedding",
        }
    }
}

/// A module with a matrix, as a format sees it.
#[derive(Debug, Clone, Copy)]
pub struct ModuleShape<'a> {
    /// Its name in the file, without suffix: `model.layers.0.mlp.up_proj`.
    pub name: &'a str,
    /// What it is.
    pub class: ModuleClass,
    /// Output rows.
    pub rows: usize,
    /// Input columns.
    pub cols: usize,
}

impl ModuleShape<'_> {
    /// The name of its tensor `suffix`.
    fn tensor(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.name)
    }

    fn is_linear(&self) -> bool {
        self.class == ModuleClass::Linear
    }
}

/// What a packed module decodes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Integer groups.
    Groups {
        /// Bits a code.
        bits: u8,
        /// Columns a group.
        group_size: usize,
        /// Whether every zero point is the middle code.
        symmetric: bool,
        /// Number type of the scales.
        scale_type: ScaleType,
    },
    /// Row-wise blocks.
    Blocks(Encoding),
}

/// How the quantised modules of a checkpoint are stored.
pub trait QuantizedFormat: fmt::Debug + Send + Sync {
    /// The format's name: `gptq`.
    fn name(&self) -> &'static str;

    /// The tensors of a module with the shapes that they must have; `None` where it is a plain `NAME.weight`.
    ///
    /// # Errors
    /// What keeps the module's settings from being known, or its shape from being packed.
    fn packed(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Option<Packed>, FormatError>;

    /// Reads a module that [`QuantizedFormat::packed`] found, without loss.
    ///
    /// # Errors
    /// As [`QuantizedFormat::packed`] and [`Packed::check`], and contents that make no sense.
    fn decode(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<WeightData, FormatError>;

    /// Settings that the tensors of a packed module contradict without doubt, a sentence for each that says what was found and
    /// which of the two counts in [`QuantizedFormat::decode`]. Contradictions that leave doubt are errors of
    /// [`QuantizedFormat::packed`], [`Packed::check`] and [`QuantizedFormat::decode`].
    ///
    /// # Errors
    /// As [`QuantizedFormat::packed`] and [`Packed::check`].
    fn contradictions(
        &self,
        _source: &dyn TensorSource,
        _module: &ModuleShape<'_>,
    ) -> Result<Vec<String>, FormatError> {
        Ok(Vec::new())
    }
}

/// The format that a model folder's settings ask for; `None` where nothing is quantised. See [`Settings::find`].
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
