//! Loading: from the page's files to a model on a device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use honelm_formats::gguf::Gguf;
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{Bytes, FileData, FormatError, parse_json};
use honelm_model::{Checkpoint, FolderFiles, LoadOptions, Loader, Model, OpenOptions};
use honelm_text::{Tokenizer, TokenizerFiles};
use serde_json::Value;

use crate::WebError;
use crate::chosen::Chosen;
use crate::files::Files;

/// Opens the page's files as a checkpoint with its tokenizer. Of the weights, only the headers are read.
pub async fn open(files: &Files<'_>, options: &OpenOptions) -> Result<(Checkpoint, Tokenizer), WebError> {
    let opened = match files.single() {
        Some(name) => gguf(files, &name, options).await?,
        None => folder(files, options).await?,
    };
    files.forget();
    Ok(opened)
}

/// Puts the weights on the device, one weight or slab at a time. `progress` receives the number of placed weights and of all.
pub async fn place(
    files: &Files<'_>,
    checkpoint: &Checkpoint,
    chosen: &Chosen,
    options: &LoadOptions,
    progress: &dyn Fn(usize, usize),
) -> Result<Model, WebError> {
    options.context_of(checkpoint.facts())?;
    let device = Rc::clone(&chosen.device);
    let mut loader = Loader::new(checkpoint.blueprint());
    loop {
        let (done, total) = loader.progress();
        progress(done, total);
        if !files.drive(|| loader.advance(checkpoint, &mut *device.borrow_mut())).await? {
            break;
        }
        if files.tidy() {
            // Copies in transit to a GPU take memory too.
            (chosen.settle)().await;
        }
    }
    files.forget();
    Ok(loader.finish(device, options)?)
}

async fn gguf(files: &Files<'_>, name: &str, options: &OpenOptions) -> Result<(Checkpoint, Tokenizer), WebError> {
    let data = required(files.remote(name).await?, name)?;
    let gguf = files.drive(|| Ok(Gguf::parse(data.clone(), name)?)).await?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let checkpoint = files.drive(|| Checkpoint::from_gguf(gguf.clone(), Path::new(name), options)).await?;
    Ok((checkpoint, tokenizer))
}

async fn folder(files: &Files<'_>, options: &OpenOptions) -> Result<(Checkpoint, Tokenizer), WebError> {
    let config = required(files.whole("config.json").await?, "config.json")?;
    let generation_config = files.whole("generation_config.json").await?;
    let tokenizer = tokenizer(files, &config, generation_config.as_ref()).await?;
    let folder = FolderFiles {
        config: parse_json("config.json", &config)?,
        generation_config: json("generation_config.json", generation_config.as_ref())?,
        quantize_config: json("quantize_config.json", files.whole("quantize_config.json").await?.as_ref())?,
        quant_config: json("quant_config.json", files.whole("quant_config.json").await?.as_ref())?,
        embedding: None,
    };
    let tensors = match files.remote("model.safetensors").await? {
        Some(data) => files.drive(|| Ok(Safetensors::parse(data.clone(), "model.safetensors")?)).await?,
        None => shards(files).await?,
    };
    let name = files.name();
    let open = || Checkpoint::from_folder(Path::new(&name), folder.clone(), tensors.clone(), options);
    Ok((files.drive(open).await?, tokenizer))
}

/// Opens the shards of a model in several files.
async fn shards(files: &Files<'_>) -> Result<Safetensors, WebError> {
    const INDEX: &str = "model.safetensors.index.json";
    let index = required(files.whole(INDEX).await?, &format!("model.safetensors (or {INDEX})"))?;
    let parsed: Value = parse_json(INDEX, &index)?;
    let map = parsed["weight_map"].as_object();
    let names: BTreeSet<&str> = map.into_iter().flat_map(|map| map.values()).filter_map(Value::as_str).collect();
    let mut parts: BTreeMap<&str, FileData> = BTreeMap::new();
    for name in names {
        parts.insert(name, required(files.remote(name).await?, name)?);
    }
    let missing = |name: &str| FormatError::MissingShard { file: INDEX.to_owned(), shard: name.to_owned() };
    let part = |name: &str| Ok((parts.get(name).cloned().ok_or_else(|| missing(name))?, name.to_owned()));
    files.drive(|| Ok(Safetensors::from_shards(INDEX, &index, part)?)).await
}

/// Loads a folder's tokenizer, from as few files as possible.
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

fn required<T>(found: Option<T>, name: &str) -> Result<T, WebError> {
    found.ok_or_else(|| WebError::FileNotFound { file: name.to_owned() })
}

fn json(name: &str, bytes: Option<&Bytes>) -> Result<Option<Value>, WebError> {
    Ok(bytes.map(|bytes| parse_json(name, bytes)).transpose()?)
}
