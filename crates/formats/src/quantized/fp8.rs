//! FP8 checkpoints: weights in E4M3 (`F8_E4M3`, 1 + 4 + 3 bits, no infinity) with scales in another tensor.
//! `w = scale * E4M3(q)` under either name of the scales: one scale for all weights (`weight_scale` or
//! `weight_scale_inv`, a single number), or one per tile of `weight_block_size` rows and columns (`weight_scale_inv`
//! `[ceil(out / 128), ceil(in / 128)]`, as published by DeepSeek and Qwen).
//!
//! Settings for activations in FP8 (`activation_scheme`, `input_scale`) do not change the weights and are ignored:
//! computing with more exact activations is closer to the original model.
//!
//! Source: transformers (`integrations/finegrained_fp8.py`, `FineGrainedFP8Config`); the OCP's "8-bit floating point
//! specification" for E4M3.

use honelm_blocks::{BlockMatrix, WeightData};
use serde_json::Value;

use super::fields::Fields;
use super::tensors::{Packed, check_not_empty, floats, invalid};
use super::{Form, Method, ModuleShape, QuantizedFormat};
use crate::{ElementType, FormatError, TensorSource};

pub(super) const METHOD: Method = Method {
    name: "fp8",
    reads: "E4M3 with one scale per tensor or per block",
    recognises: |_| false,
    parse: |file, settings| Ok(Box::new(Fp8::parse(file, settings)?)),
};

const FORMAT: &str = "FP8";
const READ: [&str; 5] = ["quant_method", "fmt", "activation_scheme", "weight_block_size", "expert_dtype"];
/// The fields that describe which modules were left alone and what loading does. Scales that are powers of two
/// (`scale_fmt`) are recognised by the type of their tensor.
const HARMLESS: [&str; 5] =
    ["modules_to_not_convert", "ignored_layers", "modules_to_convert", "dequantize", "scale_fmt"];

/// The part of a matrix that shares a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grid {
    /// The whole matrix.
    Tensor,
    /// A row.
    Rows,
    /// A tile of this many rows and columns.
    Blocks(usize, usize),
}

impl Grid {
    /// Returns the numbers of rows and columns that share a scale.
    fn block(self, module: &ModuleShape<'_>) -> (usize, usize) {
        match self {
            Self::Tensor => (module.rows, module.cols),
            Self::Rows => (1, module.cols),
            Self::Blocks(high, wide) => (high, wide),
        }
    }
}

/// The settings of an FP8 checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fp8 {
    grid: Grid,
}

impl Fp8 {
    /// Reads the settings object; `file` names it in messages.
    ///
    /// # Errors
    /// [`FormatError::InvalidQuantization`], [`FormatError::UnsupportedQuantization`],
    /// [`FormatError::UnknownQuantization`].
    pub fn parse(file: &str, value: &Value) -> Result<Self, FormatError> {
        let fields = Fields::new(file, value)?;
        fields.require("fmt", &["e4m3", "float8_e4m3fn"], "e4m3")?;
        fields.require("activation_scheme", &["dynamic", "static"], "dynamic, static")?;
        fields.require("expert_dtype", &["fp8"], "fp8")?;
        fields.only(&READ, &HARMLESS)?;
        Ok(Self {
            grid: block(&fields, "weight_block_size")?.map_or(Grid::Tensor, |(rows, cols)| Grid::Blocks(rows, cols)),
        })
    }
}

/// Reads the numbers of rows and columns that share a scale.
pub(super) fn block(fields: &Fields<'_>, field: &str) -> Result<Option<(usize, usize)>, FormatError> {
    let Some(value) = fields.get(field) else { return Ok(None) };
    let sides: Option<Vec<usize>> = value
        .as_array()
        .and_then(|list| list.iter().map(|n| usize::try_from(n.as_u64()?).ok().filter(|&n| n > 0)).collect());
    match sides.as_deref() {
        Some(&[rows, cols]) => Ok(Some((rows, cols))),
        _ => Err(fields.invalid(field, "two numbers above 0, rows and columns")),
    }
}

/// Returns `true` if a module's `weight` is E4M3.
pub(super) fn is_fp8(source: &dyn TensorSource, module: &ModuleShape<'_>) -> bool {
    source.info(&module.tensor("weight")).is_some_and(|info| info.element == ElementType::F8E4M3)
}

/// Returns the tensors of an FP8 module; `names` are the possible suffixes of its scales.
pub(super) fn packed(
    source: &dyn TensorSource,
    module: &ModuleShape<'_>,
    grid: Grid,
    names: &[&str],
) -> Result<Packed, FormatError> {
    check_not_empty(module, FORMAT)?;
    let (rows, cols) = (module.rows, module.cols);
    let scales = scales_of(source, module, names);
    let found = source.info(&scales).map(|info| info.shape.as_slice());
    let shape = match grid {
        // A single number may have zero, one or two dimensions.
        Grid::Tensor => match found {
            Some(shape) if shape.iter().all(|&n| n == 1) => shape.to_vec(),
            _ => vec![1],
        },
        Grid::Rows => vec![rows, 1],
        Grid::Blocks(high, wide) => vec![rows.div_ceil(high), cols.div_ceil(wide)],
    };
    let mut packed = Packed::new(Form::Blocks(BlockMatrix::fp8_encoding(cols, grid.block(module).1)))
        .with(module.tensor("weight"), &[rows, cols])
        .with(scales, &shape);
    for activation in ["input_scale", "activation_scale"] {
        let name = module.tensor(activation);
        if let Some(info) = source.info(&name) {
            packed = packed.with_optional(name, &info.shape);
        }
    }
    Ok(packed)
}

/// Returns the name of a module's scales.
fn scales_of(source: &dyn TensorSource, module: &ModuleShape<'_>, names: &[&str]) -> String {
    let mut found = names.iter().map(|suffix| module.tensor(suffix));
    let there = found.clone().find(|name| source.contains(name));
    there.or_else(|| found.next()).unwrap_or_default()
}

/// Reads the weights of an FP8 module. The caller has checked that its tensors exist and have the right shapes.
pub(super) fn decode(
    source: &dyn TensorSource,
    module: &ModuleShape<'_>,
    grid: Grid,
    names: &[&str],
) -> Result<WeightData, FormatError> {
    let (_, scales) = floats(source, &scales_of(source, module, names))?;
    let name = module.tensor("weight");
    let codes = source.get(&name)?.bytes;
    BlockMatrix::from_fp8(module.rows, module.cols, &codes, &scales, grid.block(module))
        .map(WeightData::Blocks)
        .map_err(|error| invalid(source, &name, error.to_string()))
}

const NAMES: [&str; 2] = ["weight_scale_inv", "weight_scale"];

impl QuantizedFormat for Fp8 {
    fn name(&self) -> &'static str {
        METHOD.name
    }

    fn packed(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Option<Packed>, FormatError> {
        if !is_fp8(source, module) {
            return Ok(None);
        }
        packed(source, module, self.grid_of(module), &NAMES).map(Some)
    }

    fn decode(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<WeightData, FormatError> {
        match self.packed(source, module)? {
            Some(packed) => {
                packed.check(source)?;
                decode(source, module, self.grid_of(module), &NAMES)
            }
            None => source.matrix(&module.tensor("weight")).map(WeightData::Blocks),
        }
    }
}

impl Fp8 {
    /// Returns the part of a module that shares a scale: an embedding has one scale.
    fn grid_of(&self, module: &ModuleShape<'_>) -> Grid {
        if module.is_linear() { self.grid } else { Grid::Tensor }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refuses_by_name_what_it_cannot_decode() {
        let code = |field: &str, value: Value| {
            let mut settings = json!({"quant_method": "fp8", "weight_block_size": [128, 128], "fmt": "e4m3"});
            settings[field] = value;
            Fp8::parse("config.json", &settings).expect_err("must be refused").code()
        };
        assert_eq!(code("fmt", json!("e5m2")), "unsupported-quantization");
        assert_eq!(code("activation_scheme", json!("odd")), "unsupported-quantization");
        assert_eq!(code("expert_dtype", json!("fp4")), "unsupported-quantization");
        assert_eq!(code("rotation", json!("hadamard")), "unknown-quantization-setting");
        for block in [json!(128), json!([128]), json!([0, 128]), json!([128, -1]), json!(["a", "b"])] {
            assert_eq!(code("weight_block_size", block), "invalid-quantization-config");
        }
    }
}
