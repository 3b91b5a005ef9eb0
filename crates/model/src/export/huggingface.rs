//! Hugging Face folders: `config.json`, safetensors files, and the files copied beside them.
#![cfg(not(target_arch = "wasm32"))]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use honelm_blocks::{Encoding, WeightData};
use honelm_formats::quantized::GroupFormat;
use honelm_formats::safetensors::{self, Writer};
use honelm_formats::{
    ElementType, FormatError, RawTensor, TensorInfo, TensorSink, read_file, shard_name, write_atomic,
};
use serde_json::{Map, Value as Json, json};

use super::container::module_shape;
use super::refused;
use crate::forms::Form;
use crate::{Blueprint, Checkpoint, ModelError, Origin, Parameters, Slot, StoredEncoding};

const CONTAINER: &str = "a Hugging Face folder";
/// The largest size in bytes of a file that is copied beside the weights.
const MOST_COPIED: u64 = 256 << 20;

/// The options of [`huggingface`].
#[derive(Debug, Clone, Default)]
pub struct HuggingFace<'a> {
    /// The format of integer groups; see [`super::Container::format`].
    pub quantization: Option<&'a dyn GroupFormat>,
    /// The files to copy beside the weights: the tokenizer's.
    pub copy: &'a [PathBuf],
    /// The largest size in bytes of a file of weights; without a limit there is one file.
    pub max_shard_size: Option<u64>,
}

/// Writes `config.json`, `generation_config.json`, the settings of embeddings and `model.safetensors` (or shards and their
/// index) of `checkpoint`'s model with the weights of `params` into the existing folder `dir`. Each file appears complete or not at all.
///
/// Integer groups are packed by `options.quantization`; floats are written unchanged. The configuration of a Hugging Face
/// checkpoint is kept except for its quantisation settings; the configuration of another container is written anew.
///
/// # Errors
/// [`ModelError::NotExportable`], invalid weights, I/O errors.
pub fn huggingface(
    dir: &Path,
    checkpoint: &Checkpoint,
    params: &dyn Parameters,
    options: &HuggingFace<'_>,
) -> Result<(), ModelError> {
    let written = write_weights(dir, checkpoint.blueprint(), params, options)?;
    let mut config = config(checkpoint, written.dtype)?;
    if let Some(format) = options.quantization {
        let settings = format.settings(&written.plain);
        if let Some(name) = format.settings_file() {
            write_json(&dir.join(name), &settings)?;
        }
        for &field in format.config_fields() {
            config.insert(field.to_owned(), settings.clone());
        }
    }
    write_json(&dir.join("config.json"), &Json::Object(config))?;
    if let Some(generation) = checkpoint.generation_config() {
        write_json(&dir.join("generation_config.json"), generation)?;
    }
    for (path, json) in checkpoint.embedding().into_iter().flat_map(|settings| settings.files(checkpoint.facts().width))
    {
        let path = dir.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| FormatError::io("create", folder.display(), error))?;
        }
        write_json(&path, &json)?;
    }
    for from in options.copy {
        let no_file = || refused(from.display().to_string(), CONTAINER, "the path does not name a file");
        let name = from.file_name().ok_or_else(no_file)?;
        let bytes = read_file(from, MOST_COPIED)?;
        write_bytes(&dir.join(name), &bytes)?;
    }
    Ok(())
}

/// Returns the configuration without quantisation settings.
fn config(checkpoint: &Checkpoint, dtype: &str) -> Result<Map<String, Json>, ModelError> {
    let Some(mut object) = checkpoint.config_json().as_object().cloned() else {
        return Err(refused("the configuration", CONTAINER, "it is not a JSON object"));
    };
    let mut full = checkpoint.blueprint().definition.config();
    // The text part of a larger model has a model type of its own.
    let is_part = object.get("model_type") != full.get("model_type");
    if is_part || !matches!(checkpoint.origin(), Origin::HuggingFace { .. }) {
        // The new configuration spells out every default; the token ids are added to it.
        if full.get("rope_scaling").and_then(|scaling| scaling.get("rope_type")) == Some(&json!("divisors")) {
            let problem = "config.json has no name for the scaling of its rotary frequencies";
            return Err(refused("the configuration", CONTAINER, problem));
        }
        // A missing id is written as null: otherwise readers would take the id of the architecture's first model.
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            full.insert(key.to_owned(), object.get(key).cloned().unwrap_or(Json::Null));
        }
        full.insert("torch_dtype".to_owned(), json!(dtype));
        object = full;
    }
    for field in ["quantization_config", "quantization"] {
        object.shift_remove(field);
    }
    let embedding = Slot { layer: None, module: checkpoint.tree().embedding().name };
    if let StoredEncoding::Blocks(stored) = checkpoint.encoding(embedding)?
        && stored.is_float()
        && dtype_name(stored) != dtype
    {
        let named = ["torch_dtype", "dtype"].into_iter().filter(|field| object.contains_key(*field));
        let named: Vec<&str> = named.collect();
        named.into_iter().for_each(|field| drop(object.insert(field.to_owned(), json!(dtype))));
    }
    Ok(object)
}

/// The contents of a declared tensor.
enum Item {
    Weight(Slot, Form),
    Bias(Slot),
    /// A tensor of a packed module, by its number.
    Packed(Slot, usize),
}

/// The tensors of a model's weights.
struct Declared {
    writer: Writer,
    items: HashMap<String, Item>,
    /// The name of the embedding's number type.
    dtype: &'static str,
    /// The names of the linear modules that are not packed. The output layer is among them even if it is tied, because
    /// loaders make a linear module of it all the same.
    plain: Vec<String>,
}

/// The facts about written weights that `config.json` holds.
struct Written {
    dtype: &'static str,
    plain: Vec<String>,
}

fn write_weights(
    dir: &Path,
    blueprint: &Blueprint,
    params: &dyn Parameters,
    options: &HuggingFace<'_>,
) -> Result<Written, ModelError> {
    let Declared { writer, items, dtype, plain } = declare(blueprint, params, options)?;
    let parts = match options.max_shard_size {
        Some(limit) => writer.split(limit)?,
        None => vec![writer],
    };
    let count = parts.len();
    let name = |no: usize| if count == 1 { "model".to_owned() } else { shard_name("model", no, count) };
    let named = parts.into_iter().enumerate().map(|(no, part)| (format!("{}.safetensors", name(no)), part));
    let parts: Vec<(String, Writer)> = named.collect();
    let mut weights = Weights { blueprint, params, format: options.quantization, items, encoded: None };
    for (name, writer) in &parts {
        let path = dir.join(name);
        write_atomic(&path, |out| {
            writer.write_to(out, &path.display().to_string(), |tensor, sink| weights.put(tensor, sink))
        })?;
    }
    if count > 1 {
        write_json(&dir.join("model.safetensors.index.json"), &safetensors::index(&parts))?;
    }
    Ok(Written { dtype, plain })
}

fn declare(blueprint: &Blueprint, params: &dyn Parameters, options: &HuggingFace<'_>) -> Result<Declared, ModelError> {
    let tree = &blueprint.tree;
    let (mut writer, mut items) = (Writer::new(), HashMap::new());
    let (mut dtype, mut plain) = ("float32", Vec::new());
    for slot in tree.slots() {
        let (Some(module), Some(name)) = (tree.module(slot), tree.hf_name(slot)) else { continue };
        match params.encoding(slot)? {
            StoredEncoding::Blocks(stored) => {
                let (encoding, form) = (module.hf_form().encoding(stored), module.hf_form());
                if slot.module == tree.embedding().name {
                    dtype = dtype_name(encoding);
                }
                if module.is_linear() {
                    plain.push(name.clone());
                }
                writer.tensor(format!("{name}.weight"), &form.shape(module), ElementType::Weights(encoding))?;
                items.insert(format!("{name}.weight"), Item::Weight(slot, form));
            }
            StoredEncoding::Groups { scale_type, .. } => {
                let Some(format) = options.quantization else {
                    return Err(refused(&name, CONTAINER, "no format is given for its integer groups"));
                };
                for (i, info) in format.tensor_infos(&module_shape(&name, module), scale_type)?.into_iter().enumerate()
                {
                    writer.tensor(&info.name, &info.shape, info.element)?;
                    items.insert(info.name, Item::Packed(slot, i));
                }
            }
        }
        if module.bias {
            writer.tensor(format!("{name}.bias"), &[module.bias_len()], ElementType::Weights(Encoding::F32))?;
            items.insert(format!("{name}.bias"), Item::Bias(slot));
        }
    }
    if tree.output.is_none() {
        plain.push("lm_head".to_owned());
    }
    Ok(Declared { writer, items, dtype, plain })
}

/// Writes the contents of declared tensors.
struct Weights<'a> {
    blueprint: &'a Blueprint,
    params: &'a dyn Parameters,
    format: Option<&'a dyn GroupFormat>,
    items: HashMap<String, Item>,
    /// The module that was packed last: its tensors are packed together and mostly written one after the other.
    encoded: Option<(Slot, Vec<RawTensor>)>,
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
                WeightData::Groups(_) => {
                    Err(refused(&tensor.name, CONTAINER, "its encoding has changed since it was declared"))
                }
            },
            Some(&Item::Bias(slot)) => {
                let bias = self.params.parameter(slot)?.bias.unwrap_or_default();
                let bytes: Vec<u8> = bias.iter().flat_map(|x| x.to_le_bytes()).collect();
                Ok(sink.write(&bytes)?)
            }
            Some(&Item::Packed(slot, part)) => {
                let tensors = match self.encoded.take() {
                    Some((last, tensors)) if last == slot => tensors,
                    _ => self.encode(slot)?,
                };
                let written = sink.write(&tensors[part].bytes);
                self.encoded = Some((slot, tensors));
                Ok(written?)
            }
            None => Err(refused(&tensor.name, CONTAINER, "no module has this tensor")),
        }
    }

    fn encode(&self, slot: Slot) -> Result<Vec<RawTensor>, ModelError> {
        let module = self.blueprint.module(slot)?;
        match (self.params.parameter(slot)?.weight, self.blueprint.tree.hf_name(slot), self.format) {
            (WeightData::Groups(matrix), Some(name), Some(format)) => {
                Ok(format.encode(&module_shape(&name, module), &matrix)?)
            }
            _ => Err(refused(slot.module, CONTAINER, "its encoding has changed since it was declared")),
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
