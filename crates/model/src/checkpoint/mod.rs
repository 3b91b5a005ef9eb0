//! Opening of models: a checkpoint is checked completely before any weight is used.

mod encoding;
mod resized;
mod source;
mod synthetic;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use honelm_backend::{CacheSpec, CacheType};
use honelm_blocks::{BlockMatrix, Encoding};
use honelm_formats::gguf::Gguf;
use honelm_formats::hub_cache::snapshot_name;
use honelm_formats::quantized::{self, Settings};
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{FileStamp, FileWatch};
use serde_json::Value as Json;

use crate::reading::{OpenOptions, Reading};
use crate::{
    Blueprint, EmbeddingSettings, Facts, ModelError, Parameter, Parameters, Slot, Tree, arch, disputed, gguf_config,
    gguf_sampling, pooling,
};
pub use encoding::StoredEncoding;
use resized::Given;
pub use resized::Resize;
use source::Source;
use synthetic::Synthetic;

/// The origin of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A Hugging Face folder.
    HuggingFace {
        /// The folder.
        dir: PathBuf,
    },
    /// A GGUF file.
    Gguf {
        /// The file.
        path: PathBuf,
    },
    /// No file, since the weights are generated.
    Synthetic,
}

/// The JSON files of a Hugging Face folder that affect its weights.
#[derive(Debug, Clone, Default)]
pub struct FolderFiles {
    /// `config.json`.
    pub config: Json,
    /// `generation_config.json`.
    pub generation_config: Option<Json>,
    /// `quantize_config.json` of a GPTQ checkpoint.
    pub quantize_config: Option<Json>,
    /// `quant_config.json` of an AWQ checkpoint.
    pub quant_config: Option<Json>,
    /// The settings of a sentence-transformers folder.
    pub embedding: Option<EmbeddingSettings>,
}

/// An opened model: its configuration, and access to its weights, whose names and shapes have been checked.
#[derive(Debug)]
pub struct Checkpoint {
    blueprint: Blueprint,
    origin: Origin,
    store: Store,
    config: Json,
    generation_config: Option<Json>,
    embedding: Option<EmbeddingSettings>,
    files: Vec<PathBuf>,
    warnings: Vec<String>,
    /// The state of the files that were read completely instead of mapped.
    read: Vec<FileStamp>,
}

/// The files that contain only quantisation settings.
const QUANTIZE_CONFIG: &str = "quantize_config.json";
const QUANT_CONFIG: &str = "quant_config.json";

#[derive(Debug)]
enum Store {
    Files(Box<Source>),
    Synthetic(Synthetic),
    Given(Given),
}

impl Checkpoint {
    /// Opens a GGUF file, or a folder with `config.json` and safetensors, which `config.json` in it also names.
    ///
    /// # Errors
    /// An invalid file, configuration or tensor; the error names it.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens a model as [`Checkpoint::open`] does, with options.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, ModelError> {
        use honelm_formats::{FileKind, FormatError, identify, map_file, read_json};

        let path = path.as_ref();
        let not_a_model = || ModelError::NotAModel { path: path.display().to_string() };
        let dir = match path.file_name().and_then(|name| name.to_str()) {
            _ if path.is_dir() => path,
            Some("config.json" | "model.safetensors" | "model.safetensors.index.json") => {
                path.parent().ok_or_else(not_a_model)?
            }
            _ => {
                let data = map_file(path)?;
                let bytes = data.bytes().cloned().unwrap_or_default();
                let file = path.display().to_string();
                return match identify(&file, &bytes[..bytes.len().min(512)]) {
                    Ok(FileKind::Gguf) => Self::from_gguf(Gguf::open(path)?, path, options),
                    Ok(FileKind::Safetensors) | Err(FormatError::UnknownFormat { .. }) => Err(not_a_model()),
                    Err(other) => Err(other.into()),
                };
            }
        };
        let present = |name: &str| dir.join(name).is_file();
        let settings = ["config.json", QUANTIZE_CONFIG, QUANT_CONFIG].into_iter().filter(|name| present(name));
        // Recorded before the files are read, so that any change after reading is noticed.
        let read = settings.map(|name| FileStamp::of(&dir.join(name))).collect::<Result<_, _>>()?;
        let files = FolderFiles {
            config: read_json(dir.join("config.json"))?.ok_or_else(not_a_model)?,
            generation_config: read_json(dir.join("generation_config.json"))?,
            quantize_config: read_json(dir.join("quantize_config.json"))?,
            quant_config: read_json(dir.join("quant_config.json"))?,
            embedding: crate::sentence::of_folder(dir)?,
        };
        let own = [(QUANTIZE_CONFIG, files.quantize_config.is_some()), (QUANT_CONFIG, files.quant_config.is_some())];
        let tensors = Safetensors::open(dir)?;
        let shards: Vec<PathBuf> = tensors.files().map(PathBuf::from).collect();
        let mut checkpoint = Self::from_folder(dir, files, tensors, options)?;
        checkpoint.files = std::iter::once(dir.join("config.json"))
            .chain(own.into_iter().filter(|(_, there)| *there).map(|(name, _)| dir.join(name)))
            .chain(shards)
            .collect();
        checkpoint.read = read;
        Ok(checkpoint)
    }

    /// Creates a checkpoint from parsed files; `dir` names the folder.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_folder(
        dir: &Path,
        files: FolderFiles,
        tensors: Safetensors,
        options: &OpenOptions,
    ) -> Result<Self, ModelError> {
        let FolderFiles { config, generation_config, quantize_config, quant_config, embedding } = files;
        let file = dir.join("config.json").display().to_string();
        let own = [(QUANTIZE_CONFIG, &quantize_config), (QUANT_CONFIG, &quant_config)];
        let own =
            own.into_iter().filter_map(|(name, json)| Some((dir.join(name).display().to_string(), json.as_ref()?)));
        let own: Vec<(String, &Json)> = own.collect();
        let own: Vec<(&str, &Json)> = own.iter().map(|(file, json)| (file.as_str(), *json)).collect();
        let mut reading = Reading::new(options);
        let settings = Settings::find(Some((&file, &config)), &own);
        let settings_file = settings.as_ref().map_or(file.as_str(), |settings| settings.file).to_owned();
        settings.iter().flat_map(Settings::contradictions).for_each(|warning| reading.warn(warning));
        let format = match settings {
            Some(settings) => Some(reading.parse(settings, Settings::remove, |settings| Ok(settings.format()?))?),
            None => None,
        };
        let name = stem(dir, Path::file_name);
        let blueprint = reading.parse_json(&config, |config| arch::blueprint(&file, name.clone(), config))?;
        disputed::warnings(&file, &config).into_iter().for_each(|warning| reading.warn(warning));
        duplicates(&tensors).into_iter().for_each(|warning| reading.warn(warning));
        let source = Source::folder(tensors, format, &blueprint.tree)?;
        for warning in source.contradictions(&blueprint.tree)? {
            reading.warn(format!("{settings_file}: {warning}"));
        }
        let table = Slot { layer: None, module: blueprint.tree.embedding().name };
        let stored = blueprint.module(table).ok().and_then(|m| source.encoding(&blueprint.tree, table, m));
        disputed::number_type(&file, &config, stored).into_iter().for_each(|warning| reading.warn(warning));
        let (store, warnings) = (Store::Files(Box::new(source)), reading.into_warnings());
        let origin = Origin::HuggingFace { dir: dir.to_owned() };
        let (files, read) = (Vec::new(), Vec::new());
        Ok(Self { blueprint, origin, store, config, generation_config, embedding, files, warnings, read })
    }

    /// Creates a checkpoint from a parsed GGUF file; `path` names it.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_gguf(gguf: Gguf, path: &Path, options: &OpenOptions) -> Result<Self, ModelError> {
        let mut reading = Reading::new(options);
        let config = gguf_config::read(&gguf, &mut reading)?;
        let generation_config = gguf_sampling::read(&gguf)?;
        let embedding = pooling::of_gguf(&gguf)?;
        let own_name = gguf.get_str("general.name")?.map(str::trim).filter(|name| !name.is_empty());
        let name = own_name.map_or_else(|| stem(path, Path::file_stem), str::to_owned);
        let blueprint = arch::blueprint(gguf.file(), name, &config)?;
        // A model in one file is at `path`, which may differ from the name in messages; parts have their own names.
        let files = match gguf.files().count() {
            1 => vec![path.to_owned()],
            _ => gguf.files().map(PathBuf::from).collect(),
        };
        let source = Source::gguf(gguf, &blueprint.tree)?;
        let origin = Origin::Gguf { path: path.to_owned() };
        let (store, warnings) = (Store::Files(Box::new(source)), reading.into_warnings());
        let read = Vec::new();
        Ok(Self { blueprint, origin, store, config, generation_config, embedding, files, warnings, read })
    }

    /// Creates a checkpoint with the shapes of a published model and random weights, which are generated on demand and
    /// depend only on `seed`. The linear modules have the encoding `encoding`; if it has fewer than 8 bits per weight,
    /// embedding and output layer are Q6_K, as in published files.
    ///
    /// # Errors
    /// [`ModelError::UnknownShape`]; see [`Checkpoint::shapes`].
    pub fn synthetic(shape: &str, encoding: Encoding, seed: u64) -> Result<Self, ModelError> {
        Self::made_up(shape, &synthetic::config(shape)?, encoding, seed)
    }

    /// Creates a checkpoint as [`Checkpoint::synthetic`] does, from a configuration in Hugging Face's form.
    ///
    /// # Errors
    /// An invalid configuration.
    pub fn made_up(name: &str, config: &Json, encoding: Encoding, seed: u64) -> Result<Self, ModelError> {
        let (blueprint, config) = (arch::blueprint(name, name.to_owned(), config)?, config.clone());
        let store = Store::Synthetic(Synthetic { encoding, seed });
        let (origin, files, warnings, read) = (Origin::Synthetic, Vec::new(), Vec::new(), Vec::new());
        let (generation_config, embedding) = (None, None);
        Ok(Self { blueprint, origin, store, config, generation_config, embedding, files, warnings, read })
    }

    /// Returns the shapes that [`Checkpoint::synthetic`] accepts.
    #[must_use]
    pub fn shapes() -> Vec<&'static str> {
        synthetic::shapes()
    }

    /// Returns the general properties of the model.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.blueprint.facts
    }

    /// Returns the names and shapes of the weights.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.blueprint.tree
    }

    /// Returns the description of the model without its weights.
    #[must_use]
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Returns the origin, where the tokenizer is, too.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the parsed GGUF file; `None` for other origins.
    #[must_use]
    pub fn gguf(&self) -> Option<&Gguf> {
        match &self.store {
            Store::Files(source) => source.as_gguf(),
            Store::Synthetic(_) | Store::Given(_) => None,
        }
    }

    /// Returns the name of the quantised format of a folder, such as `gptq` or `awq`; `None` if it has no quantised modules.
    #[must_use]
    pub fn quantized_format(&self) -> Option<&'static str> {
        match &self.store {
            Store::Files(source) => source.format().map(quantized::QuantizedFormat::name),
            Store::Synthetic(_) | Store::Given(_) => None,
        }
    }

    /// Returns `config.json` as it was read; for other origins, the same settings in that form.
    #[must_use]
    pub fn config_json(&self) -> &Json {
        &self.config
    }

    /// Returns `generation_config.json`, or the same fields of a GGUF file; `None` if there are none.
    #[must_use]
    pub fn generation_config(&self) -> Option<&Json> {
        self.generation_config.as_ref()
    }

    /// Returns the settings of embeddings that the files have; `None` if they have none.
    #[must_use]
    pub fn embedding(&self) -> Option<EmbeddingSettings> {
        self.embedding
    }

    /// Returns the ambiguities and contradictions in the files, each with the interpretation that was chosen.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns the files that weights and configuration were read from, which are those that a digest of the model covers.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns a watch that notices changes of the mapped files. It can outlive the checkpoint.
    #[must_use]
    pub fn watch(&self) -> FileWatch {
        match &self.store {
            Store::Files(source) => source.tensors().watch(),
            Store::Synthetic(_) | Store::Given(_) => FileWatch::default(),
        }
    }

    /// Checks that the files have not changed since they were opened. Call this before publishing or saving anything that
    /// was computed from the weights.
    ///
    /// # Errors
    /// [`honelm_formats::FormatError::Changed`].
    pub fn check_unchanged(&self) -> Result<(), ModelError> {
        Ok(self.watch().check()?)
    }

    /// Checks as [`Checkpoint::check_unchanged`] does, and that every path of [`Checkpoint::files`] still names the file
    /// that was opened. Call this after reading the files by their paths.
    ///
    /// # Errors
    /// [`honelm_formats::FormatError::Changed`].
    pub fn check_files(&self) -> Result<(), ModelError> {
        self.read.iter().try_for_each(FileStamp::check)?;
        Ok(self.watch().check_names()?)
    }

    /// Returns the total size of [`Checkpoint::files`] in bytes.
    ///
    /// # Errors
    /// I/O errors with the path.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn file_bytes(&self) -> Result<u64, ModelError> {
        let mut bytes = 0;
        for path in &self.files {
            let metadata = std::fs::metadata(path);
            let failed = |source| honelm_formats::FormatError::io("open", path.display(), source);
            bytes += metadata.map_err(failed)?.len();
        }
        Ok(bytes)
    }

    /// Returns the shape of the cache of all layers.
    #[must_use]
    pub fn cache_spec(&self, element: CacheType) -> CacheSpec {
        self.blueprint.cache_spec(element)
    }

    /// Returns the tensors that are not used and do not change the model's results.
    #[must_use]
    pub fn ignored_tensors(&self) -> &[String] {
        match &self.store {
            Store::Files(source) => source.ignored(),
            Store::Synthetic(_) | Store::Given(_) => &[],
        }
    }

    /// Returns the encoding of a weight without reading it.
    ///
    /// # Errors
    /// [`ModelError::UnknownSlot`].
    pub fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        let module = self.blueprint.module(slot)?;
        let found = match &self.store {
            Store::Files(source) => source.encoding(&self.blueprint.tree, slot, module),
            Store::Synthetic(synthetic) => Some(StoredEncoding::Blocks(synthetic.encoding_of(slot, module))),
            Store::Given(given) => Some(given.0.encoding(slot)?),
        };
        found.ok_or_else(|| ModelError::UnknownSlot { layer: slot.layer, module: slot.module.to_owned() })
    }

    /// Returns the name of a weight for messages: [`Checkpoint::tensor_name`], or the slot's own name if it has none.
    #[must_use]
    pub fn name_of(&self, slot: Slot) -> String {
        let own = || slot.layer.map_or_else(|| slot.module.to_owned(), |i| format!("{i}.{}", slot.module));
        self.tensor_name(slot).unwrap_or_else(own)
    }

    /// Returns all slots, in the order in which the files store their tensors. A loader in this order reads each file from the
    /// beginning to the end.
    #[must_use]
    pub fn slots_as_stored(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.tree().slots().collect();
        if let Store::Files(source) = &self.store {
            let names = source.tensors().names();
            let places: HashMap<&str, usize> = names.into_iter().zip(0..).collect();
            slots.sort_by_cached_key(|&slot| self.tensor_name(slot).and_then(|name| places.get(&name[..]).copied()));
        }
        slots
    }

    /// Returns the name of a weight's tensor in its file: `blk.0.attn_q.weight`,
    /// `model.layers.0.self_attn.q_proj.qweight`.
    #[must_use]
    pub fn tensor_name(&self, slot: Slot) -> Option<String> {
        match &self.store {
            Store::Files(source) => source.tensor_name(&self.blueprint.tree, slot),
            Store::Synthetic(_) | Store::Given(_) => {
                self.blueprint.tree.hf_name(slot).map(|name| format!("{name}.weight"))
            }
        }
    }
}

impl Parameters for Checkpoint {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let module = self.blueprint.module(slot)?;
        match &self.store {
            Store::Files(source) => source.parameter(&self.blueprint.tree, slot, module),
            Store::Synthetic(synthetic) => synthetic.parameter(slot, module),
            Store::Given(given) => given.0.parameter(slot),
        }
    }

    fn rows(&self, slot: Slot, rows: Range<usize>) -> Result<Option<BlockMatrix>, ModelError> {
        match &self.store {
            Store::Files(source) => source.rows(&self.blueprint.tree, slot, self.blueprint.module(slot)?, rows),
            Store::Synthetic(_) => Ok(None),
            Store::Given(given) => given.0.rows(slot, rows),
        }
    }

    fn forget(&self) {
        match &self.store {
            Store::Files(source) => source.tensors().forget(),
            Store::Synthetic(_) => {}
            Store::Given(given) => given.0.forget(),
        }
    }

    fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        Self::encoding(self, slot)
    }
}

/// Returns the warning about tensors that are in several shards.
fn duplicates(tensors: &Safetensors) -> Option<String> {
    let (tensor, file) = tensors.passed_over().next()?;
    let count = tensors.passed_over().count();
    let tensor = tensor.escape_debug();
    Some(format!(
        "{}: {count} tensors are also in other shards ({tensor} in {file}); they are read from the shard that the index \
         names",
        tensors.name()
    ))
}

/// Derives a model's name from its path.
fn stem(path: &Path, part: impl for<'a> Fn(&'a Path) -> Option<&'a std::ffi::OsStr>) -> String {
    let hub = snapshot_name(path).map(str::to_owned);
    let own = hub.or_else(|| part(path).map(|name| name.to_string_lossy().into_owned()));
    #[cfg(not(target_arch = "wasm32"))]
    let own = own.or_else(|| path.canonicalize().ok()?.file_name().map(|name| name.to_string_lossy().into_owned()));
    own.unwrap_or_else(|| "model".to_owned())
}
