//! AWQ checkpoints of version `gemm`: three tensors a linear layer, 4 bit.
//!
//! `qweight` i32 `[in, out / 8]` holds eight output channels a word in the order 0, 2, 4, 6, 1, 3, 5, 7
//! from the lowest nibble; `qzeros` i32 `[groups, out / 8]` the zero points likewise; `scales`
//! `[groups, out]`. `w = scale * (q - z)`.
//!
//! `modules_to_not_convert` needs no reading: a module is packed where it has a `qweight`.
//!
//! Source: AutoAWQ (`modules/linear/gemm.py`, `utils/packing_utils.py`, `models/_config.py`).

use honelm_blocks::{GroupMatrix, WeightData};
use honelm_tensor::AlignedVec;
use serde_json::Value;

use super::fields::Fields;
use super::tensors::{Packed, check_not_empty, floats, scale_type, words, zeros_of};
use super::words::{Packing, transposed};
use super::{Form, Method, ModuleShape, QuantizedFormat};
use crate::{FormatError, TensorSource};

pub(super) const METHOD: Method = Method {
    name: "awq",
    reads: "4 bit, GEMM",
    recognises: |settings| settings.get("zero_point").is_some() || settings.get("w_bit").is_some(),
    parse: |file, settings| Ok(Box::new(Awq::parse(file, settings)?)),
};

const FORMAT: &str = "AWQ";
const BITS: u8 = 4;
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
    // Zero points are stored either way.
    "zero_point",
];
/// Which modules were left alone, how they were quantised, how to run them.
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
    /// Columns a group; `None` (-1 in the file) for one group a row.
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
}

impl QuantizedFormat for Awq {
    fn name(&self) -> &'static str {
        METHOD.name
    }

    fn packed(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Option<Packed>, FormatError> {
        if !module.is_linear() || !source.contains(&module.tensor("qweight")) {
            return Ok(None);
        }
        check_not_empty(module, FORMAT)?;
        let (rows, cols) = (module.rows, module.cols);
        let group_size = self.group_size.unwrap_or(cols);
        for (what, found, unit) in [("output rows", rows, 8), ("input columns", cols, group_size)] {
            if !found.is_multiple_of(unit) {
                let reason = format!("{found} {what}; it needs a multiple of {unit}");
                return Err(FormatError::NotRepresentable { tensor: module.name.to_owned(), format: FORMAT, reason });
            }
        }
        let groups = cols / group_size;
        let scale_type = scale_type(source, &module.tensor("scales"));
        let packed = Packed::new(Form::Groups { bits: BITS, group_size, symmetric: false, scale_type })
            .with(module.tensor("qweight"), &[cols, rows / 8])
            .with(module.tensor("qzeros"), &[groups, rows / 8])
            .with(module.tensor("scales"), &[groups, rows]);
        Ok(Some(packed))
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
