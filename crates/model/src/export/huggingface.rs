#![cfg(not(target_arch = "wasm32"))]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use honelm_blocks::{Encoding, WeightData};
use honelm_formats::gptq::{self, QuantizeConfig};
use honelm_formats::safetensors::{self, Writer};
use honelm_formats::{
    ElementType, FormatError, RawTensor, TensorInfo, TensorSink, read_file, shard_name, write_atomic,
};
use serde_json::{Value as Json, json};

use super::refused;
use crate::forms::Form;
use crate::{Blueprint, Checkpoint, ModelError, Origin, Parameters, Slot, StoredEncoding};

const CONTAINER: &str = "a Hugging Face folder";
/// Most bytes of a file that is copied beside the weights.
const MOST_COPIED: u64 = 256 << 20;

/// What a Hugging Face folder is written with.
#[derive(Debug, Clone, Default)]
pub struct HuggingFace<'a> {
    /// Settings of the GPTQ layers, where weights are integer groups.
    pub quantize_config: Option<&'a QuantizeConfig>,
    /// Files to copy beside the weights: the tokenizer's.
    pub copy: &'a [PathBuf],
    /// Most bytes of a file of weights; one file where there is no limit.
    pub max_shard_size: Option<u64>,
}

/// Writes config.json, generation_config.json and model.safetensors (or shards and their index) of `checkpoint`'s model
/// with the weights of `params` into the existing folder `dir`, each file complete or not at all.
///
/// Integer groups become GPTQ tensors, floats stay as they are. The configuration of a Hugging Face checkpoint is kept
/// but for `quantization_config`; that of another container is written anew.
///
/// # Errors
/// [`ModelError::NotExportable`], what is wrong with a weight, I/O errors.
pub fn huggingface(
    dir: &Path,
    checkpoint: &Checkpoint,
    params: &dyn Parameters,
    options: &HuggingFace<'_>,
) -> Result<(), ModelError> {
    let dtype = write_weights(dir, checkpoint.blueprint(), params, options)?;
    let config = config(checkpoint, dtype, options.quantize_config)?;
    write_json(&dir.join("config.json"), &config)?;
    if let Some(settings) = options.quantize_config {
        write_json(&dir.join("quantize_config.json"), &settings.to_json())?;
    }
    if let Some(generation) = checkpoint.generation_config() {
        write_json(&dir.join("generation_config.json"), generation)?;
    }
    for from in options.copy {
        let name = from.file_name().ok_or_else(|| refused(from.display().to_string(), CONTAINER, "it is no file"))?;
        let bytes = read_file(from, MOST_COPIED)?;
        write_bytes(&dir.join(name), &bytes)?;
    }
    Ok(())
}

fn config(checkpoint: &Checkpoint, dtype: &str, settings: Option<&QuantizeConfig>) -> Result<Json, ModelError> {
    let mut config = checkpoint.config_json().clone();
    let Some(object) = config.as_object_mut() else {
        return Err(refused("the configuration", CONTAINER, "it is no object"));
    };
    let mut full = checkpoint.blueprint().definition.config();
    // A part of the folder's model has a name of its own.
    let is_part = object.get("model_type") != full.get("model_type");
    if is_part || !matches!(checkpoint.origin(), Origin::HuggingFace { .. }) {
        // Every default spelt out, then the token ids.
        if full.get("rope_scaling").and_then(|scaling| scaling.get("rope_type")) == Some(&json!("divisors")) {
            let problem = "its rotary frequencies follow no scaling that config.json has a name for";
            return Err(refused("the configuration", CONTAINER, problem));
        }
        // A null where there is none: readers would take the number that the architecture's first model had.
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            full.insert(key.to_owned(), object.get(key).cloned().unwrap_or(Json::Null));
        }
        full.insert("torch_dtype".to_owned(), json!(dtype));
        *object = full;
    }
    for field in ["quantization_config", "quantization"] {
        object.shift_remove(field);
    }
    if let Some(settings) = settings {
        object.insert("quantization_config".to_owned(), settings.to_json());
    }
    Ok(config)
}

/// What a declared tensor is filled with.
enum Item {
    Weight(Slot, Form),
    Bias(Slot),
    Gptq(Slot, usize),
}

/// Writes the weights and returns the name of the embedding's number type.
fn write_weights(
    dir: &Path,
    blueprint: &Blueprint,
    params: &dyn Parameters,
    options: &HuggingFace<'_>,
) -> Result<&'static str, ModelError> {
    let (writer, items, dtype) = declare(blueprint, params, options)?;
    let parts = match options.max_shard_size {
        Some(limit) => writer.split(limit)?,
        None => vec![writer],
    };
    let count = parts.len();
    let name = |no: usize| if count == 1 { "model".to_owned() } else { shard_name("model", no, count) };
    let named = parts.into_iter().enumerate().map(|(no, part)| (format!("{}.safetensors", name(no)), part));
    let parts: Vec<(String, Writer)> = named.collect();
    let mut weights = Weights { blueprint, params, settings: options.quantize_config, items, encoded: None };
    for (name, writer) in &parts {
        let path = dir.join(name);
        write_atomic(&path, |out| {
            writer.write_to(out, &path.display().to_string(), |tensor, sink| weights.put(tensor, sink))
        })?;
    }
    if count > 1 {
        write_json(&dir.join("model.safetensors.index.json"), &safetensors::index(&parts))?;
    }
    Ok(dtype)
}

/// The tensors of all weights, what each is filled with, and the name of the embedding's number type.
fn declare(
    blueprint: &Blueprint,
    params: &dyn Parameters,
    options: &HuggingFace<'_>,
) -> Result<(Writer, HashMap<String, Item>, &'static str), ModelError> {
    let tree = &blueprint.tree;
    let mut writer = Writer::new();
    let mut items = HashMap::new();
    let mut dtype = "float32";
    for slot in tree.slots() {
        let (Some(module), Some(name)) = (tree.module(slot), tree.hf_name(slot)) else { continue };
        match params.encoding(slot)? {
            StoredEncoding::Blocks(stored) => {
                let (encoding, form) = (module.hf_form().encoding(stored), module.hf_form());
                if slot.module == tree.embedding().name {
                    dtype = dtype_name(encoding);
                }
                writer.tensor(format!("{name}.weight"), &form.shape(module), ElementType::Weights(encoding))?;
                items.insert(format!("{name}.weight"), Item::Weight(slot, form));
            }
            StoredEncoding::Groups { scale_type, .. } => {
                let Some(settings) = options.quantize_config else {
                    return Err(refused(&name, CONTAINER, "integer groups need GPTQ settings"));
                };
                let infos = gptq::tensor_infos(&name, (module.shape[0], module.shape[1]), settings, scale_type)?;
                for (i, info) in infos.into_iter().enumerate() {
                    writer.tensor(&info.name, &info.shape, info.element)?;
                    items.insert(info.name, Item::Gptq(slot, i));
                }
            }
        }
        if module.bias {
            writer.tensor(format!("{name}.bias"), &[module.bias_len()], ElementType::Weights(Encoding::F32))?;
            items.insert(format!("{name}.bias"), Item::Bias(slot));
        }
    }
    Ok((writer, items, dtype))
}

/// Gives declared tensors their data.
struct Weights<'a> {
    blueprint: &'a Blueprint,
    params: &'a dyn Parameters,
    settings: Option<&'a QuantizeConfig>,
    items: HashMap<String, Item>,
    /// The four tensors of a layer are encoded at once and mostly written one after the other.
    encoded: Option<(Slot, [RawTensor; 4])>,
}

impl Weights<'_> {
    fn put(&mut self, tensor: &TensorInfo, sink: &mut TensorSink<'_>) -> Result<(), ModelError> {
        match self.items.get(&tensor.name) {
            Some(&Item::Weight(slot, form)) => match self.params.parameter(slot)?.weight {
                WeightData::Blocks(matrix) => {
                    let file = CONTAINER.to_owned();
                    let at = |source| ModelError::Weight { file, tensor: tensor.name.clone(), source };
                    Ok(sink.write(&form.stored(matrix).map_err(at)?.bytes)?)
                }
                WeightData::Groups(_) => Err(refused(&tensor.name, CONTAINER, "its encoding changed meanwhile")),
            },
            Some(&Item::Bias(slot)) => {
                let bias = self.params.parameter(slot)?.bias.unwrap_or_default();
                let bytes: Vec<u8> = bias.iter().flat_map(|x| x.to_le_bytes()).collect();
                Ok(sink.write(&bytes)?)
            }
            Some(&Item::Gptq(slot, part)) => {
                let tensors = match self.encoded.take() {
                    Some((last, tensors)) if last == slot => tensors,
                    _ => self.encode(slot)?,
                };
                let written = sink.write(&tensors[part].bytes);
                self.encoded = Some((slot, tensors));
                Ok(written?)
            }
            None => Err(refused(&tensor.name, CONTAINER, "no module has it")),
        }
    }

    fn encode(&self, slot: Slot) -> Result<[RawTensor; 4], ModelError> {
        match (self.params.parameter(slot)?.weight, self.blueprint.tree.hf_name(slot), self.settings) {
            (WeightData::Groups(matrix), Some(name), Some(settings)) => Ok(gptq::encode(&matrix, &name, settings)?),
            _ => Err(refused(slot.module, CONTAINER, "its encoding changed meanwhile")),
        }
    }
}

fn dtype_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::F16 => "float16",
        Encoding::BF16 => "bfloat16",
        _ => "float32",
    }
}

fn write_json(path: &Path, json: &Json) -> Result<(), ModelError> {
    write_bytes(path, format!("{json:#}\n").as_bytes())
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    use std::io::Write;
    write_atomic(path, |out| {
        out.write_all(bytes).map_err(|error| ModelError::from(FormatError::io("write", path.display(), error)))
    })
}
