//! Loading: from the page's files to a model on a device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use honelm_engine::{Generation, sampling_defaults};
use honelm_formats::gguf::Gguf;
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{Bytes, FileData, FormatError, parse_json};
use honelm_gpu::Gpu;
use honelm_model::{Checkpoint, EmbeddingSettings, FolderFiles, LoadOptions, Loader, Model, OpenOptions};
use honelm_text::{GgufVocab, Tokenizer, TokenizerFiles};
use js_sys::Function;
use serde_json::{Value, json};

use crate::both::both;
use crate::chosen::Chosen;
use crate::files::{Files, ModelFiles};
use crate::options::LoadSettings;
use crate::{WebError, device, tell};

/// A model on a device, and what else its files hold.
pub struct Placed {
    pub checkpoint: Checkpoint,
    pub tokenizer: Tokenizer,
    /// The model's own settings of answers.
    pub generation: Generation,
    pub chosen: Chosen,
    pub model: Model,
}

/// Chooses a device and places the model on it. `on_progress` receives `{"stage", "file", "done", "total"}` as JSON.
pub async fn load(files: &ModelFiles, settings: &LoadSettings, on_progress: &Function) -> Result<Placed, WebError> {
    let report = |stage: &str, file: &str, done: u64, total: u64| {
        tell(on_progress, &json!({"stage": stage, "file": file, "done": done, "total": total}));
    };
    let reading = |file: &str, done: u64, total: u64| report("reading", file, done, total);
    let files = Files::new(files, &reading);
    let options = settings.open_options();
    // A browser takes some time to open a GPU.
    let (opened, gpu) = both(open(&files, &options), device::open(settings)).await;
    let (checkpoint, vocabulary) = opened.inspect_err(|_| gpu.iter().flatten().for_each(Gpu::destroy))?;
    let file = files.single().unwrap_or_else(|| "generation_config.json".to_owned());
    let generation = sampling_defaults(&file, checkpoint.generation_config())?;
    let testing = |done: usize, total: usize| report("testing", "", done as u64, total as u64);
    let mut chosen = device::choose(settings, &checkpoint, gpu, &generation.sampling(), &testing).await?;
    // A GPU builds the model's kernels meanwhile.
    let tokenizer = vocabulary.tokenizer()?;
    let options =
        LoadOptions { context: settings.context, cache_type: settings.cache_type(), ..LoadOptions::default() };
    let placing = |done: usize, total: usize| report("placing", "", done as u64, total as u64);
    let placed = match place(&files, &checkpoint, &chosen, &options, &placing).await {
        // The CPU then runs the whole model, never a part of it.
        Err(problem) if settings.may_fall_back(&chosen) && problem.is_of_device() => {
            chosen = device::cpu(settings, Some(problem.to_string()));
            place(&files, &checkpoint, &chosen, &options, &placing).await
        }
        placed => placed,
    };
    let model = placed?;
    chosen.built().await;
    Ok(Placed { checkpoint, tokenizer, generation, chosen, model })
}

/// The file of all weights of a folder.
pub const WEIGHTS: &str = "model.safetensors";
/// The file that lists the files of weights, where there are several.
pub const INDEX: &str = "model.safetensors.index.json";
/// The file without which a folder is not a model.
pub const CONFIG: &str = "config.json";
/// The other files that are read if they exist, without those of the tokenizer.
pub const SETTINGS: [&str; 3] = ["generation_config.json", "quantize_config.json", "quant_config.json"];

/// The contents that a tokenizer is made of.
enum Vocabulary {
    Gguf(Box<GgufVocab>),
    Folder(Box<TokenizerFiles>),
}

impl Vocabulary {
    fn tokenizer(self) -> Result<Tokenizer, WebError> {
        Ok(match self {
            Self::Gguf(vocabulary) => Tokenizer::from_vocab(&vocabulary)?,
            Self::Folder(files) => Tokenizer::from_files(&files)?,
        })
    }
}

/// Opens the page's files as a checkpoint, with what its tokenizer is made of. Of the weights, only the headers are read.
async fn open(files: &Files<'_>, options: &OpenOptions) -> Result<(Checkpoint, Vocabulary), WebError> {
    let opened = match files.single() {
        Some(name) => {
            let (checkpoint, vocabulary) = gguf(files, &name, options).await?;
            (checkpoint, Vocabulary::Gguf(Box::new(vocabulary)))
        }
        None => {
            let folder = folder(files).await?;
            let vocabulary = tokenizer(files, &folder).await?;
            (folder.checkpoint(files, options).await?, Vocabulary::Folder(Box::new(vocabulary)))
        }
    };
    files.forget();
    Ok(opened)
}

/// Opens the page's files as a checkpoint. Only the headers of the weights and the configuration are read.
pub async fn checkpoint(files: &Files<'_>, options: &OpenOptions) -> Result<Checkpoint, WebError> {
    let opened = match files.single() {
        Some(name) => gguf(files, &name, options).await?.0,
        None => folder(files).await?.checkpoint(files, options).await?,
    };
    files.forget();
    Ok(opened)
}

/// Puts the weights on the device, one weight or slab at a time. `progress` receives the number of placed weights and of all.
async fn place(
    files: &Files<'_>,
    checkpoint: &Checkpoint,
    chosen: &Chosen,
    options: &LoadOptions,
    progress: &dyn Fn(usize, usize),
) -> Result<Model, WebError> {
    options.context_of(checkpoint.facts())?;
    let device = Rc::clone(&chosen.device);
    let mut loader = Loader::in_order(checkpoint.blueprint(), checkpoint.slots_as_stored());
    let mut in_transit = None;
    loop {
        let (done, total) = loader.progress();
        progress(done, total);
        if !files.drive(|| loader.advance(checkpoint, &mut *device.borrow_mut())).await? {
            break;
        }
        if files.tidy()
            && let Some(before) = in_transit.replace((chosen.settle)())
        {
            // Copies in transit to a GPU take memory too. Those since the last time may still travel.
            before.await;
        }
    }
    files.forget();
    Ok(loader.finish(device, options)?)
}

async fn gguf(files: &Files<'_>, name: &str, options: &OpenOptions) -> Result<(Checkpoint, GgufVocab), WebError> {
    let data = required(files.remote(name).await?, name)?;
    let mut gguf = files.drive(|| Ok(Gguf::parse(data.clone(), name)?)).await?;
    // With a large vocabulary, the header and the lists in it take many megabytes.
    files.forget();
    let vocabulary = GgufVocab::take(&mut gguf)?;
    let checkpoint = files.drive(|| Checkpoint::from_gguf(gguf.clone(), Path::new(name), options)).await?;
    Ok((checkpoint, vocabulary))
}

/// The configuration files of a folder.
struct Folder {
    config: Bytes,
    generation_config: Option<Bytes>,
}

/// Reads the configuration files that both checkpoint and tokenizer need.
async fn folder(files: &Files<'_>) -> Result<Folder, WebError> {
    let config = required(files.whole(CONFIG).await?, CONFIG)?;
    Ok(Folder { config, generation_config: files.whole("generation_config.json").await? })
}

impl Folder {
    /// Reads the other configuration files and the headers of the weights.
    async fn checkpoint(self, files: &Files<'_>, options: &OpenOptions) -> Result<Checkpoint, WebError> {
        let folder = FolderFiles {
            config: parse_json(CONFIG, &self.config)?,
            generation_config: document("generation_config.json", self.generation_config.as_ref())?,
            quantize_config: document("quantize_config.json", files.whole("quantize_config.json").await?.as_ref())?,
            quant_config: document("quant_config.json", files.whole("quant_config.json").await?.as_ref())?,
            embedding: embedding(files).await?,
        };
        let tensors = match files.remote(WEIGHTS).await? {
            Some(data) => files.drive(|| Ok(Safetensors::parse(data.clone(), WEIGHTS)?)).await?,
            None => shards(files).await?,
        };
        let name = files.name();
        let open = || Checkpoint::from_folder(Path::new(&name), folder.clone(), tensors.clone(), options);
        files.drive(open).await
    }
}

/// Reads the settings of a sentence-transformers folder, if it is one.
async fn embedding(files: &Files<'_>) -> Result<Option<EmbeddingSettings>, WebError> {
    let Some(modules) = document(EmbeddingSettings::MODULES, files.whole(EmbeddingSettings::MODULES).await?.as_ref())?
    else {
        return Ok(None);
    };
    let mut configs = BTreeMap::new();
    for name in EmbeddingSettings::configs(&modules)? {
        let found = document(&name, files.whole(&name).await?.as_ref())?;
        configs.insert(name, found);
    }
    Ok(EmbeddingSettings::of_contents(&modules, &configs)?)
}

/// Opens the shards of a model in several files.
async fn shards(files: &Files<'_>) -> Result<Safetensors, WebError> {
    let index = required(files.whole(INDEX).await?, &format!("{WEIGHTS} (or {INDEX})"))?;
    let mut parts: BTreeMap<String, FileData> = BTreeMap::new();
    for name in shard_names(&index)? {
        let data = required(files.remote(&name).await?, &name)?;
        parts.insert(name, data);
    }
    let missing = |name: &str| FormatError::MissingShard { file: INDEX.to_owned(), shard: name.to_owned() };
    let part = |name: &str| Ok((parts.get(name).cloned().ok_or_else(|| missing(name))?, name.to_owned()));
    files.drive(|| Ok(Safetensors::from_shards(INDEX, &index, part)?)).await
}

/// Returns the names of the files of weights in an index.
pub fn shard_names(index: &Bytes) -> Result<BTreeSet<String>, WebError> {
    let parsed: Value = parse_json(INDEX, index)?;
    let map = parsed["weight_map"].as_object();
    Ok(map.into_iter().flat_map(|map| map.values()).filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Reads the files of a folder's tokenizer, as few as possible.
async fn tokenizer(files: &Files<'_>, folder: &Folder) -> Result<TokenizerFiles, WebError> {
    let mut contents: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    contents.insert(CONFIG, folder.config.to_vec());
    contents.extend(folder.generation_config.as_ref().map(|bytes| ("generation_config.json", bytes.to_vec())));
    for &name in TokenizerFiles::names() {
        if TokenizerFiles::is_vocabulary(name) && contents.contains_key("tokenizer.json") {
            continue;
        }
        // A large vocabulary is moved, not copied.
        contents.extend(files.whole(name).await?.map(|bytes| (name, bytes.into())));
    }
    let expected = || TokenizerFiles::names().join(", ");
    TokenizerFiles::of_contents(contents).ok_or_else(|| WebError::NoTokenizer { expected: expected() })
}

fn required<T>(found: Option<T>, name: &str) -> Result<T, WebError> {
    found.ok_or_else(|| WebError::FileNotFound { file: name.to_owned() })
}

fn document(name: &str, bytes: Option<&Bytes>) -> Result<Option<Value>, WebError> {
    Ok(bytes.map(|bytes| parse_json(name, bytes)).transpose()?)
}
