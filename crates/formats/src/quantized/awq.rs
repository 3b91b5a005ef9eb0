//! AWQ checkpoints of version `gemm`: three tensors per linear module, 4 bits.
//!
//! `qweight` i32 `[in, out / 8]` holds eight output channels per word, in the order 0, 2, 4, 6, 1, 3, 5, 7 from the
//! lowest nibble. `qzeros` i32 `[groups, out / 8]` holds the zero points in the same order. `scales` is `[groups, out]`.
//! `w = scale * (q - z)`.
//!
//! `modules_to_not_convert` is not read: a module is packed if it has a `qweight`. It is written for other loaders.
//!
//! Source: AutoAWQ (`modules/linear/gemm.py`, `utils/packing_utils.py`, `models/_config.py`).

use honelm_blocks::{GroupMatrix, ScaleType, WeightData};
use honelm_tensor::AlignedVec;
use serde_json::{Value, json};

use super::fields::Fields;
use super::tensors::{
    I32, Packed, check_not_empty, check_not_ordered, check_whole_groups, checked, float_tensor, floats, integer_zeros,
    refused, scale_element, scale_type, word_tensor, words, zeros_of,
};
use super::words::{Packing, transposed};
use super::{Form, GroupFormat, Method, ModuleShape, QuantizedFormat};
use crate::{FormatError, RawTensor, TensorInfo, TensorSource};

pub(super) const METHOD: Method = Method {
    name: "awq",
    reads: "4 bit, GEMM",
    recognises: |settings| settings.get("zero_point").is_some() || settings.get("w_bit").is_some(),
    parse: |file, settings| Ok(Box::new(Awq::parse(file, settings)?)),
};

const FORMAT: &str = "AWQ";
const BITS: u8 = 4;
/// The output channels per word.
const CHANNELS: usize = 8;
const READ: [&str; 11] = [
    "quant_method",
    "method",
    "bits",
    "w_bit",
    "group_size",
    "q_group_size",
    "version",
    "format",
    "checkpoint_format",
    "pack_dtype",
    // Zero points are stored in any case.
    "zero_point",
];
/// The fields that describe which modules were left alone, how modules were quantised, and how to run them.
const HARMLESS: [&str; 14] = [
    "modules_to_not_convert",
    "backend",
    "do_fuse",
    "fuse_max_seq_len",
    "modules_to_fuse",
    "exllama_config",
    "sym",
    "lm_head",
    "desc_act",
    "true_sequential",
    "meta",
    "scale_search_chunked_activations",
    "_attn_implementation_autoset",
    "zp",
];

/// The settings of an AWQ checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awq {
    /// The columns per group; `None` (-1 in the file) for one group per row.
    pub group_size: Option<usize>,
}

impl Awq {
    /// Reads the settings object; `file` names it in messages.
    ///
    /// # Errors
    /// [`FormatError::InvalidQuantization`], [`FormatError::UnsupportedQuantization`],
    /// [`FormatError::UnknownQuantization`].
    pub fn parse(file: &str, value: &Value) -> Result<Self, FormatError> {
        let fields = Fields::new(file, value)?;
        for field in ["version", "format", "checkpoint_format"] {
            fields.require(field, &["gemm"], "gemm")?;
        }
        fields.require("pack_dtype", &["int32"], "int32")?;
        fields.flag("zero_point")?;
        fields.only(&READ, &HARMLESS)?;
        let (older, newer) = (fields.bits("w_bit", &[BITS], "4")?, fields.bits("bits", &[BITS], "4")?);
        if older.or(newer).is_none() {
            return Err(fields.invalid("bits", "4"));
        }
        let group_size = match fields.group_size("group_size")? {
            Some(size) => Some(size),
            None => fields.group_size("q_group_size")?,
        };
        match group_size {
            Some(group_size) => Ok(Self { group_size }),
            None => Err(fields.invalid("group_size", "-1 or a number of columns")),
        }
    }

    /// Returns the tensors of a packed module.
    fn tensors(&self, module: &ModuleShape<'_>, scale_type: ScaleType) -> Result<Packed, FormatError> {
        check_not_empty(module, FORMAT)?;
        let (rows, cols) = (module.rows, module.cols);
        if !rows.is_multiple_of(CHANNELS) {
            let reason = format!("it has {rows} output rows, which is not a multiple of {CHANNELS}");
            return Err(refused(module.name, FORMAT, reason));
        }
        let group_size = self.group_size.unwrap_or(cols);
        check_whole_groups(module, FORMAT, group_size)?;
        let groups = cols / group_size;
        Ok(Packed::new(Form::Groups { bits: BITS, group_size, symmetric: false, scale_type })
            .with(module.tensor("qweight"), &[cols, rows / CHANNELS])
            .with(module.tensor("qzeros"), &[groups, rows / CHANNELS])
            .with(module.tensor("scales"), &[groups, rows]))
    }
}

impl QuantizedFormat for Awq {
    fn name(&self) -> &'static str {
        METHOD.name
    }

    fn packed(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Option<Packed>, FormatError> {
        if !module.is_linear() || !source.contains(&module.tensor("qweight")) {
            return Ok(None);
        }
        self.tensors(module, scale_type(source, &module.tensor("scales"))).map(Some)
    }

    fn decode(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<WeightData, FormatError> {
        let Some(packed) = self.packed(source, module)? else {
            return source.matrix(&module.tensor("weight")).map(WeightData::Blocks);
        };
        packed.check(source)?;
        let (rows, cols) = (module.rows, module.cols);
        let group_size = self.group_size.unwrap_or(cols);
        let unpacked = |name: &str, count: usize| {
            let words = words(source, &module.tensor(name))?;
            let mut codes = vec![0; count * rows];
            Packing::Interleaved.unpack_rows(BITS, &words, rows, &mut codes);
            Ok::<_, FormatError>(transposed(&codes, rows))
        };
        let (scale_type, scales) = floats(source, &module.tensor("scales"))?;
        let zeros = zeros_of(unpacked("qzeros", cols / group_size)?);
        Ok(WeightData::Groups(GroupMatrix {
            rows,
            cols,
            bits: BITS,
            group_size,
            scale_type,
            codes: AlignedVec::from_slice(&unpacked("qweight", cols)?),
            scales: transposed(&scales, rows),
            zeros,
            order: None,
        }))
    }
}

impl GroupFormat for Awq {
    /// Returns the settings as AutoAWQ writes them.
    fn settings(&self, plain: &[String]) -> Value {
        json!({
            "quant_method": METHOD.name,
            "bits": BITS,
            "group_size": self.group_size.map_or_else(|| json!(-1), |size| json!(size)),
            "zero_point": true,
            "version": "gemm",
            "modules_to_not_convert": if plain.is_empty() { Value::Null } else { json!(plain) },
        })
    }

    fn tensor_infos(&self, module: &ModuleShape<'_>, scale_type: ScaleType) -> Result<Vec<TensorInfo>, FormatError> {
        let element = |name: &str| if name.ends_with(".scales") { scale_element(scale_type) } else { I32 };
        self.tensors(module, scale_type)?.infos(FORMAT, element)
    }

    /// Packs a matrix as `qweight`, `qzeros`, `scales`.
    fn encode(&self, module: &ModuleShape<'_>, matrix: &GroupMatrix) -> Result<Vec<RawTensor>, FormatError> {
        let (rows, cols) = (module.rows, module.cols);
        let matrix = checked(matrix, module, FORMAT, (BITS, self.group_size.unwrap_or(cols)))?;
        check_not_ordered(&matrix, module, FORMAT)?;
        let groups = matrix.groups();
        let zeros = integer_zeros(&matrix).map_err(|reason| refused(module.name, FORMAT, reason))?;
        // [rows, count] -> [count, words of rows]
        let packed = |codes: &[u8], count: usize| Packing::Interleaved.pack_rows(BITS, &transposed(codes, count), rows);
        let mut tensors = Vec::with_capacity(3);
        for info in self.tensor_infos(module, matrix.scale_type)? {
            tensors.push(match info.name.rsplit_once('.') {
                Some((_, "qweight")) => word_tensor(info, &packed(&matrix.codes, cols)),
                Some((_, "qzeros")) => word_tensor(info, &packed(&zeros, groups)),
                _ => float_tensor(info, &transposed(&matrix.scales, groups), matrix.scale_type),
            });
        }
        Ok(tensors)
    }
}
