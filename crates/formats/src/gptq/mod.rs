//! GPTQ checkpoints: four tensors a linear layer inside safetensors, and their settings.
//!
//! `qweight` i32 `[in * bits / 32, out]` packs codes along `in`, least significant bits first;
//! `qzeros` i32 `[groups, out * bits / 32]` packs zero points along `out` the same way; `scales`
//! `[groups, out]`; `g_idx` i32 `[in]` is the group of each column. `w = scale * (q - z)`.
//!
//! Source: AutoGPTQ and GPTQModel (`qlinear` packing, `convert_gptq_v1_to_v2_format`).

mod config;
mod pack;

pub use config::{CheckpointFormat, QuantizeConfig};
pub use pack::{decode, encode, is_quantized, layout};
