//! GPTQ checkpoints: four tensors a linear layer, 2 to 8 bit.
//!
//! `qweight` i32 `[in * bits / 32, out]` packs codes along `in`; `qzeros` i32 `[groups, out * bits / 32]`
//! packs zero points along `out` the same way; `scales` `[groups, out]`; `g_idx` i32 `[in]` is the group of
//! each column. `w = scale * (q - z)`. Rows and columns that do not fill words end in unused bits.
//!
//! 2, 3, 4 and 8 bit are one stream, least significant bits first. 5, 6 and 7 bit, and 3 bit under
//! `gptq_p`, are planes (see `words.rs`) and need rows and columns in multiples of 32.
//!
//! Where `sym` is claimed, zero points tell v1 (all 2^(bits-1) - 1) and v2 (all 2^(bits-1)) apart, and count where the settings
//! say otherwise. `g_idx` counts whatever `desc_act` says.
//!
//! `modules_in_block_to_quantize` and the like need no reading: a module is packed where it has a `qweight`.
//!
//! Source: AutoGPTQ and GPTQModel (`qlinear` packing, `planar_packing.py`, `convert_gptq_v1_to_v2_format`,
//! `dynamic_get`).

mod config;
mod dynamic;
mod pack;

use honelm_blocks::WeightData;
use serde_json::Value;

use super::tensors::{Packed, check_not_empty, scale_type};
use super::{Form, Method, ModuleShape, QuantizedFormat};
use crate::{FormatError, TensorSource};

pub use config::{CheckpointFormat, QuantizeConfig};
pub use dynamic::{Dynamic, ModuleSettings};
pub use pack::{encode, tensor_infos};

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
        // Embeddings are packed in groups of rows, which no group matrix holds.
        if !module.is_linear() || !source.contains(&module.tensor("qweight")) {
            return Ok(None);
        }
        let Some(settings) = self.of(module.name)? else { return Ok(None) };
        check_not_empty(module, FORMAT)?;
        let (rows, cols) = (module.rows, module.cols);
        let group_size = settings.group_size.unwrap_or(cols);
        let scale_type = scale_type(source, &module.tensor("scales"));
        let mut packed =
            Packed::new(Form::Groups { bits: settings.bits, group_size, symmetric: settings.sym, scale_type });
        for info in tensor_infos(module.name, (rows, cols), self, scale_type)? {
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
