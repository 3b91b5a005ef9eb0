//! MLX checkpoints, affine: three tensors a linear layer or embedding.
//!
//! `weight` u32 `[out, in * bits / 32]` is one stream of codes along `in`, least significant bits first;
//! `scales` and `biases` `[out, in / g]` in the model's number type. `w = scale * q + bias`.
//!
//! A module is packed where it has `scales`. The settings hold values for all and, by a module's name, an
//! object for that one, or `false` where it is not quantised.
//!
//! Source: mlx (`backend/cpu/quantized.cpp`, `nn/layers/quantized.py`), mlx-lm (`utils.py`).

use std::collections::HashMap;

use honelm_blocks::{GroupMatrix, WeightData, Zeros};
use honelm_tensor::AlignedVec;
use serde_json::Value;

use super::fields::Fields;
use super::tensors::{Packed, check_not_empty, floats, invalid, scale_type, words};
use super::words::Packing;
use super::{Form, Method, ModuleShape, QuantizedFormat};
use crate::{FormatError, TensorSource};

pub(super) const METHOD: Method = Method {
    name: "mlx",
    reads: "affine, 2 to 8 bit",
    // Only config.json's `quantization` is known to be MLX's.
    recognises: |_| false,
    parse: |file, settings| Ok(Box::new(Mlx::parse(file, settings)?)),
};

const FORMAT: &str = "MLX";
const BITS: [u8; 6] = [2, 3, 4, 5, 6, 8];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    bits: u8,
    group_size: usize,
}

/// The settings of an MLX checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mlx {
    all: Settings,
    /// `None`: not quantised.
    modules: HashMap<String, Option<Settings>>,
}

impl Mlx {
    /// Reads the settings object; `file` names it in messages.
    ///
    /// # Errors
    /// [`FormatError::InvalidQuantization`], [`FormatError::UnsupportedQuantization`],
    /// [`FormatError::UnknownQuantization`].
    pub fn parse(file: &str, value: &Value) -> Result<Self, FormatError> {
        let fields = Fields::new(file, value)?;
        let all = settings(&fields)?;
        let mut modules = HashMap::new();
        for (name, value) in fields.iter().filter(|(name, _)| !OWN.contains(name)) {
            let of_module = match (value, fields.child(name)) {
                (Value::Bool(false), _) => None,
                (Value::Bool(true), _) if name.contains('.') => Some(all),
                (Value::Object(_), Ok(Some(own))) => {
                    own.only(&OWN, &[])?;
                    Some(settings(&own)?)
                }
                _ => return Err(fields.unknown(name)),
            };
            modules.insert(name.to_owned(), of_module);
        }
        Ok(Self { all, modules })
    }

    fn of(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Option<Settings> {
        match self.modules.get(module.name) {
            Some(settings) => *settings,
            None => source.contains(&module.tensor("scales")).then_some(self.all),
        }
    }
}

const OWN: [&str; 3] = ["bits", "group_size", "mode"];

fn settings(fields: &Fields<'_>) -> Result<Settings, FormatError> {
    fields.require("mode", &["affine"], "affine")?;
    let bits = fields.bits("bits", &BITS, "2, 3, 4, 5, 6, 8")?;
    let group_size = fields.group_size("group_size")?.flatten();
    match (bits, group_size) {
        (Some(bits), Some(group_size)) => Ok(Settings { bits, group_size }),
        (None, _) => Err(fields.invalid("bits", "a number of bits")),
        (_, None) => Err(fields.invalid("group_size", "a number of columns")),
    }
}

impl QuantizedFormat for Mlx {
    fn name(&self) -> &'static str {
        METHOD.name
    }

    fn packed(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Option<Packed>, FormatError> {
        let Some(Settings { bits, group_size }) = self.of(source, module) else { return Ok(None) };
        check_not_empty(module, FORMAT)?;
        let (rows, cols) = (module.rows, module.cols);
        let whole_words = (cols % 32 * usize::from(bits)).is_multiple_of(32);
        if !cols.is_multiple_of(group_size) || !whole_words {
            let reason = format!("{cols} input columns; it needs whole words and groups of {group_size}");
            return Err(FormatError::NotRepresentable { tensor: module.name.to_owned(), format: FORMAT, reason });
        }
        let groups = cols / group_size;
        let scale_type = scale_type(source, &module.tensor("scales"));
        let packed = Packed::new(Form::Groups { bits, group_size, symmetric: false, scale_type })
            .with(module.tensor("weight"), &[rows, Packing::Stream.words(bits, cols)])
            .with(module.tensor("scales"), &[rows, groups])
            .with(module.tensor("biases"), &[rows, groups]);
        Ok(Some(packed))
    }

    fn decode(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<WeightData, FormatError> {
        let (Some(packed), Some(Settings { bits, group_size })) =
            (self.packed(source, module)?, self.of(source, module))
        else {
            return source.matrix(&module.tensor("weight")).map(WeightData::Blocks);
        };
        packed.check(source)?;
        let (rows, cols) = (module.rows, module.cols);
        let words = words(source, &module.tensor("weight"))?;
        let (scale_type, scales) = floats(source, &module.tensor("scales"))?;
        let (bias_type, biases) = floats(source, &module.tensor("biases"))?;
        if bias_type != scale_type {
            let reason = format!("its numbers are {}, those of the scales {}", bias_type.name(), scale_type.name());
            return Err(invalid(source, &module.tensor("biases"), reason));
        }
        let mut codes = AlignedVec::zeroed(rows * cols);
        Packing::Stream.unpack_rows(bits, &words, cols, &mut codes);
        let zeros = Zeros::Bias(biases);
        Ok(WeightData::Groups(GroupMatrix {
            rows,
            cols,
            bits,
            group_size,
            scale_type,
            codes,
            scales,
            zeros,
            order: None,
        }))
    }
}
