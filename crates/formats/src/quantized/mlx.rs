//! MLX checkpoints of mode `affine`: three tensors per linear module or embedding, 2 to 8 bits.
//!
//! `weight` u32 `[out, in * bits / 32]` is one stream of codes along `in`, least significant bits first. `scales` and
//! `biases` are `[out, in / g]` in the model's number type. `w = scale * q + bias`.
//!
//! A module is packed if it has `scales`. The settings hold values for all modules and, under the name of a module, an
//! object for that module, or `false` if it is not quantised.
//!
//! Source: mlx (`backend/cpu/quantized.cpp`, `nn/layers/quantized.py`), mlx-lm (`utils.py`).

use std::collections::BTreeMap;

use honelm_blocks::{GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_tensor::AlignedVec;
use serde_json::{Value, json};

use super::fields::Fields;
use super::tensors::{
    Packed, check_not_empty, check_not_ordered, check_whole_groups, checked, float_tensor, floats, integer_zeros,
    invalid, refused, scale_element, scale_type, word_tensor, words,
};
use super::words::Packing;
use super::{Form, GroupFormat, Method, ModuleShape, QuantizedFormat};
use crate::{ElementType, FormatError, IntegerType, RawTensor, TensorInfo, TensorSource};

pub(super) const METHOD: Method = Method {
    name: "mlx",
    reads: "affine, 2 to 8 bit",
    // Only the field `quantization` of config.json identifies MLX.
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
    /// The modules with their own settings; `None` for a module that is not quantised.
    modules: BTreeMap<String, Option<Settings>>,
}

impl Mlx {
    /// Returns the settings of a checkpoint whose quantised modules all have the same bits and group size.
    #[must_use]
    pub fn uniform(bits: u8, group_size: usize) -> Self {
        Self { all: Settings { bits, group_size }, modules: BTreeMap::new() }
    }

    /// Reads the settings object; `file` names it in messages.
    ///
    /// # Errors
    /// [`FormatError::InvalidQuantization`], [`FormatError::UnsupportedQuantization`],
    /// [`FormatError::UnknownQuantization`].
    pub fn parse(file: &str, value: &Value) -> Result<Self, FormatError> {
        let fields = Fields::new(file, value)?;
        let all = settings(&fields)?;
        let mut modules = BTreeMap::new();
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

    /// Returns the settings of a module of a checkpoint, or `None` if the module is not quantised.
    fn of(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Option<Settings> {
        match self.modules.get(module.name) {
            Some(settings) => *settings,
            None => source.contains(&module.tensor("scales")).then_some(self.all),
        }
    }

    /// Returns the settings of a module that is to be written.
    fn written(&self, module: &ModuleShape<'_>) -> Result<Settings, FormatError> {
        let settings = self.modules.get(module.name).copied().unwrap_or(Some(self.all));
        settings.ok_or_else(|| refused(module.name, FORMAT, "the settings exclude the module"))
    }
}

const OWN: [&str; 3] = ["bits", "group_size", "mode"];

/// Reads bits and group size.
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
        tensors(module, Settings { bits, group_size }, scale_type(source, &module.tensor("scales"))).map(Some)
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
            let reason = format!("the biases are {}, but the scales are {}", bias_type.name(), scale_type.name());
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

/// Returns the tensors of a packed module.
fn tensors(module: &ModuleShape<'_>, settings: Settings, scale_type: ScaleType) -> Result<Packed, FormatError> {
    check_not_empty(module, FORMAT)?;
    let Settings { bits, group_size } = settings;
    let (rows, cols) = (module.rows, module.cols);
    check_whole_groups(module, FORMAT, group_size)?;
    if !(cols % 32 * usize::from(bits)).is_multiple_of(32) {
        let reason = format!("its {cols} input columns of {bits} bits do not fill whole 32-bit words");
        return Err(refused(module.name, FORMAT, reason));
    }
    let groups = cols / group_size;
    Ok(Packed::new(Form::Groups { bits, group_size, symmetric: false, scale_type })
        .with(module.tensor("weight"), &[rows, Packing::Stream.words(bits, cols)])
        .with(module.tensor("scales"), &[rows, groups])
        .with(module.tensor("biases"), &[rows, groups]))
}

impl GroupFormat for Mlx {
    /// Returns the settings. Modules that are not quantised need no mention: they have no `scales`.
    fn settings(&self, _plain: &[String]) -> Value {
        let of_module = |settings: Option<Settings>| match settings {
            Some(Settings { bits, group_size }) => json!({"group_size": group_size, "bits": bits, "mode": "affine"}),
            None => json!(false),
        };
        let mut all = of_module(Some(self.all));
        for (name, settings) in &self.modules {
            all[name] = of_module(*settings);
        }
        all
    }

    /// Returns both fields: mlx-lm reads the first and repeats it as the second.
    fn config_fields(&self) -> &'static [&'static str] {
        &["quantization", "quantization_config"]
    }

    fn tensor_infos(&self, module: &ModuleShape<'_>, scale_type: ScaleType) -> Result<Vec<TensorInfo>, FormatError> {
        let element = |name: &str| match name.rsplit_once('.') {
            Some((_, "weight")) => ElementType::Integer(IntegerType::U32),
            _ => scale_element(scale_type),
        };
        tensors(module, self.written(module)?, scale_type)?.infos(FORMAT, element)
    }

    /// Packs a matrix as `weight`, `scales`, `biases`. The bias of an integer zero point z is `-scale * z` rounded to the
    /// type of the scales, as in mlx-lm's conversion from AWQ (`_transform_awq_weights`).
    fn encode(&self, module: &ModuleShape<'_>, matrix: &GroupMatrix) -> Result<Vec<RawTensor>, FormatError> {
        let Settings { bits, group_size } = self.written(module)?;
        let refuse = |reason: String| refused(module.name, FORMAT, reason);
        let matrix = checked(matrix, module, FORMAT, (bits, group_size))?;
        check_not_ordered(&matrix, module, FORMAT)?;
        let biases = match &matrix.zeros {
            Zeros::Bias(biases) => biases.clone(),
            Zeros::Constant(_) | Zeros::Integer(_) => {
                let zeros = integer_zeros(&matrix).map_err(refuse)?;
                let bias = |(&scale, &zero): (&f32, &u8)| matrix.scale_type.round(-scale * f32::from(zero));
                matrix.scales.iter().zip(&zeros).map(bias).collect()
            }
        };
        if let Some(bias) = biases.iter().find(|bias| !bias.is_finite()) {
            return Err(refuse(format!("the bias {bias} of a group is not a finite number")));
        }
        let mut tensors = Vec::with_capacity(3);
        for info in self.tensor_infos(module, matrix.scale_type)? {
            tensors.push(match info.name.rsplit_once('.') {
                Some((_, "weight")) => word_tensor(info, &Packing::Stream.pack_rows(bits, &matrix.codes, module.cols)),
                Some((_, "scales")) => float_tensor(info, &matrix.scales, matrix.scale_type),
                _ => float_tensor(info, &biases, matrix.scale_type),
            });
        }
        Ok(tensors)
    }
}
