//! GPTQ checkpoints: four tensors per linear module, 2 to 8 bits.
//!
//! `qweight` i32 `[in * bits / 32, out]` packs codes along `in`. `qzeros` i32 `[groups, out * bits / 32]` packs zero
//! points along `out` in the same way. `scales` is `[groups, out]`, and `g_idx` i32 `[in]` is the group of each
//! column. `w = scale * (q - z)`. Rows and columns that do not fill whole words end in unused bits.
//!
//! Codes of 2, 3, 4 and 8 bits are one stream, least significant bits first. Codes of 5, 6 and 7 bits, and of 3 bits
//! under `gptq_p`, are planes (see `words.rs`), which need rows and columns in multiples of 32.
//!
//! If `sym` is set, the zero points tell v1 (all 2^(bits-1) - 1) and v2 (all 2^(bits-1)) apart, and take precedence over
//! the settings. `g_idx` takes precedence over `desc_act`.
//!
//! `modules_in_block_to_quantize` and similar lists are not needed: a module is packed if it has a `qweight`.
//!
//! Source: AutoGPTQ and GPTQModel (`qlinear` packing, `planar_packing.py`, `convert_gptq_v1_to_v2_format`,
//! `dynamic_get`).

mod config;
mod dynamic;
mod pack;

use honelm_blocks::{GroupMatrix, ScaleType, WeightData};
use serde_json::Value;

use super::tensors::{Packed, check_not_empty, scale_type};
use super::{Form, GroupFormat, Method, ModuleShape, QuantizedFormat};
use crate::{FormatError, RawTensor, TensorInfo, TensorSource};

pub use config::{CheckpointFormat, QuantizeConfig};
pub use dynamic::{Dynamic, ModuleSettings};

pub(super) const METHOD: Method = Method {
    name: "gptq",
    reads: "2 to 8 bit; `gptq`, `gptq_v2` and `gptq_p`; with and without `g_idx`; `dynamic`",
    recognises: |settings| settings.get("group_size").is_some(),
    parse: |file, settings: &Value| Ok(Box::new(QuantizeConfig::parse(file, settings)?)),
};

const FORMAT: &str = "GPTQ";

impl QuantizedFormat for QuantizeConfig {
    fn name(&self) -> &'static str {
        METHOD.name
    }

    fn packed(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Option<Packed>, FormatError> {
        // Embeddings are packed in groups of rows, which no group matrix can hold.
        if !module.is_linear() || !source.contains(&module.tensor("qweight")) {
            return Ok(None);
        }
        let Some(settings) = self.of(module.name)? else { return Ok(None) };
        check_not_empty(module, FORMAT)?;
        let group_size = settings.group_size.unwrap_or(module.cols);
        let scale_type = scale_type(source, &module.tensor("scales"));
        let mut packed =
            Packed::new(Form::Groups { bits: settings.bits, group_size, symmetric: settings.sym, scale_type });
        for info in pack::tensor_infos(module, self, scale_type)? {
            packed = if info.name.ends_with(".g_idx") {
                packed.with_optional(info.name, &info.shape)
            } else {
                packed.with(info.name, &info.shape)
            };
        }
        Ok(Some(packed))
    }

    fn decode(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<WeightData, FormatError> {
        match self.packed(source, module)? {
            Some(packed) => {
                packed.check(source)?;
                pack::decode(source, module.name, (module.rows, module.cols), self).map(WeightData::Groups)
            }
            None => source.matrix(&module.tensor("weight")).map(WeightData::Blocks),
        }
    }

    fn contradictions(&self, source: &dyn TensorSource, module: &ModuleShape<'_>) -> Result<Vec<String>, FormatError> {
        match self.packed(source, module)? {
            Some(packed) => {
                packed.check(source)?;
                pack::contradictions(source, module.name, (module.rows, module.cols), self)
            }
            None => Ok(Vec::new()),
        }
    }
}

impl GroupFormat for QuantizeConfig {
    /// Returns the settings as [`QuantizeConfig::to_json`] does: a module without a `qweight` needs no mention.
    fn settings(&self, _plain: &[String]) -> Value {
        self.to_json()
    }

    fn settings_file(&self) -> Option<&'static str> {
        Some("quantize_config.json")
    }

    fn tensor_infos(&self, module: &ModuleShape<'_>, scale_type: ScaleType) -> Result<Vec<TensorInfo>, FormatError> {
        pack::tensor_infos(module, self, scale_type).map(Vec::from)
    }

    /// Packs a matrix as `qweight`, `qzeros`, `scales`, `g_idx`. In v1, a zero point of 0 is refused.
    fn encode(&self, module: &ModuleShape<'_>, matrix: &GroupMatrix) -> Result<Vec<RawTensor>, FormatError> {
        pack::encode(module, matrix, self)
    }
}
