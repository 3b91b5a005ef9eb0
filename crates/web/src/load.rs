//! From the page's files to a model on a device.

use std::collections::BTreeMap;
use std::path::Path;

use honelm_formats::gguf::Gguf;
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{Bytes, FormatError, parse_json};
use honelm_model::{Checkpoint, FolderFiles};
use honelm_text::{Tokenizer, TokenizerFiles};
use serde_json::Value;

use crate::WebError;
use crate::files::Files;

/// Opens the page's files as a checkpoint with its tokenizer.
pub async fn open(files: &Files<'_>) -> Result<(Checkpoint, Tokenizer), WebError> {
    match files.single() {
        Some(name) => gguf(files, &name).await,
        None => folder(files).await,
    }
}

async fn gguf(files: &Files<'_>, name: &str) -> Result<(Checkpoint, Tokenizer), WebError> {
    let bytes = required(files, name).await?;
    let gguf = Gguf::parse(bytes, name)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    Ok((Checkpoint::from_gguf(gguf, Path::new(name))?, tokenizer))
}

async fn folder(files: &Files<'_>) -> Result<(Checkpoint, Tokenizer), WebError> {
    let config = required(files, "config.json").await?;
    let generation_config = files.whole("generation_config.json").await?;
    let tokenizer = tokenizer(files, &config, generation_config.as_ref()).await?;
    let folder = FolderFiles {
        config: parse_json("config.json", &config)?,
        generation_config: json("generation_config.json", generation_config.as_ref())?,
        quantize_config: json("quantize_config.json", files.whole("quantize_config.json").await?.as_ref())?,
        quant_config: json("quant_config.json", files.whole("quant_config.json").await?.as_ref())?,
    };
    let tensors = match files.whole("model.safetensors").await? {
        Some(bytes) => Safetensors::parse(bytes, "model.safetensors")?,
        None => shards(files).await?,
    };
    Ok((Checkpoint::from_folder(Path::new(""), folder, tensors)?, tokenizer))
}

/// The parts of a model that is not in one file.
async fn shards(files: &Files<'_>) -> Result<Safetensors, WebError> {
    const INDEX: &str = "model.safetensors.index.json";
    let not_found = |_| WebError::FileNotFound { file: format!("model.safetensors (or {INDEX})") };
    let index = required(files, INDEX).await.map_err(not_found)?;
    let names: Value = parse_json(INDEX, &index)?;
    let mut parts: BTreeMap<String, Bytes> = BTreeMap::new();
    for name in names["weight_map"].as_object().into_iter().flat_map(|map| map.values()).filter_map(Value::as_str) {
        if !parts.contains_key(name) {
            parts.insert(name.to_owned(), required(files, name).await?);
        }
    }
    let missing = |name: &str| FormatError::MissingShard { file: INDEX.to_owned(), shard: name.to_owned() };
    Ok(Safetensors::from_shards(INDEX, &index, |name| {
        Ok((parts.get(name).cloned().ok_or_else(|| missing(name))?, name.to_owned()))
    })?)
}

/// A folder's tokenizer, from as few of its files as it takes.
async fn tokenizer(files: &Files<'_>, config: &Bytes, generation: Option<&Bytes>) -> Result<Tokenizer, WebError> {
    let mut contents: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    contents.insert("config.json", config.to_vec());
    contents.extend(generation.map(|bytes| ("generation_config.json", bytes.to_vec())));
    for &name in TokenizerFiles::names() {
        if TokenizerFiles::is_vocabulary(name) && contents.contains_key("tokenizer.json") {
            continue;
        }
        contents.extend(files.whole(name).await?.map(|bytes| (name, bytes.to_vec())));
    }
    let expected = || TokenizerFiles::names().join(", ");
    let found = TokenizerFiles::of_contents(contents).ok_or_else(|| WebError::NoTokenizer { expected: expected() })?;
    Ok(Tokenizer::from_files(&found)?)
}

async fn required(files: &Files<'_>, name: &str) -> Result<Bytes, WebError> {
    files.whole(name).await?.ok_or_else(|| WebError::FileNotFound { file: name.to_owned() })
}

fn json(name: &str, bytes: Option<&Bytes>) -> Result<Option<Value>, WebError> {
    Ok(bytes.map(|bytes| parse_json(name, bytes)).transpose()?)
}
