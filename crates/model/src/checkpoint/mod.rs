//! Opening models: everything about a checkpoint is checked here, before any weight is used.

mod source;
mod synthetic;

use std::ops::Range;
use std::path::{Path, PathBuf};

use honelm_backend::{CacheSpec, CacheType};
use honelm_blocks::{BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_formats::gguf::Gguf;
use honelm_formats::hub_cache::snapshot_name;
use honelm_formats::layouts;
use honelm_formats::safetensors::Safetensors;
use serde_json::Value as Json;

use crate::{Blueprint, Facts, ModelError, Parameter, Parameters, Slot, Tree, arch, gguf_config, gguf_sampling};
use source::Source;
use synthetic::Synthetic;

/// What a model came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Container {
    /// A folder as Hugging Face lays it out.
    HuggingFace {
        /// The folder.
        dir: PathBuf,
    },
    /// A GGUF file.
    Gguf {
        /// The file.
        path: PathBuf,
    },
    /// Nothing: the weights are made up.
    Synthetic,
}

/// How a weight is encoded in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredEncoding {
    /// Row-wise blocks, floats included.
    Blocks(Encoding),
    /// Integer groups.
    Groups {
        /// Bits a code.
        bits: u8,
        /// Columns a group.
        group_size: usize,
        /// Whether every zero point is the middle code.
        symmetric: bool,
        /// Number type of the scales.
        scale_type: ScaleType,
    },
}

impl From<layouts::Form> for StoredEncoding {
    fn from(form: layouts::Form) -> Self {
        match form {
            layouts::Form::Blocks(encoding) => Self::Blocks(encoding),
            layouts::Form::Groups { bits, group_size, symmetric, scale_type } => {
                Self::Groups { bits, group_size, symmetric, scale_type }
            }
        }
    }
}

impl From<&WeightData> for StoredEncoding {
    fn from(weight: &WeightData) -> Self {
        match weight {
            WeightData::Blocks(matrix) => Self::Blocks(matrix.encoding),
            &WeightData::Groups(GroupMatrix { bits, group_size, scale_type, ref zeros, .. }) => {
                let symmetric = *zeros == Zeros::Constant(1 << (bits - 1));
                Self::Groups { bits, group_size, symmetric, scale_type }
            }
        }
    }
}

/// The JSON files of a Hugging Face folder that bear on its weights.
#[derive(Debug, Clone, Default)]
pub struct FolderFiles {
    /// `config.json`.
    pub config: Json,
    /// `generation_config.json`.
    pub generation_config: Option<Json>,
    /// `quantize_config.json`, which GPTQ checkpoints may have.
    pub quantize_config: Option<Json>,
    /// `quant_config.json`, which AWQ checkpoints may have.
    pub quant_config: Option<Json>,
}

/// An opened model: its configuration and a way to its weights, all names and shapes checked.
#[derive(Debug)]
pub struct Checkpoint {
    blueprint: Blueprint,
    container: Container,
    store: Store,
    config: Json,
    generation_config: Option<Json>,
    files: Vec<PathBuf>,
}

/// Files that hold quantisation settings alone.
const QUANTIZE_CONFIG: &str = "quantize_config.json";
const QUANT_CONFIG: &str = "quant_config.json";

#[derive(Debug)]
enum Store {
    Files(Box<Source>),
    Synthetic(Synthetic),
}

impl Checkpoint {
    /// Opens a GGUF file, or a folder with `config.json` and safetensors (or its `config.json`).
    ///
    /// # Errors
    /// What is wrong with the file, the configuration or a tensor, each by name.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
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
                    Ok(FileKind::Gguf) => Self::from_gguf(Gguf::open(path)?, path),
                    Ok(FileKind::Safetensors) | Err(FormatError::UnknownFormat { .. }) => Err(not_a_model()),
                    Err(other) => Err(other.into()),
                };
            }
        };
        let files = FolderFiles {
            config: read_json(dir.join("config.json"))?.ok_or_else(not_a_model)?,
            generation_config: read_json(dir.join("generation_config.json"))?,
            quantize_config: read_json(dir.join("quantize_config.json"))?,
            quant_config: read_json(dir.join("quant_config.json"))?,
        };
        let own = [(QUANTIZE_CONFIG, files.quantize_config.is_some()), (QUANT_CONFIG, files.quant_config.is_some())];
        let tensors = Safetensors::open(dir)?;
        let shards: Vec<PathBuf> = tensors.files().map(PathBuf::from).collect();
        let mut checkpoint = Self::from_folder(dir, files, tensors)?;
        checkpoint.files = std::iter::once(dir.join("config.json"))
            .chain(own.into_iter().filter(|(_, there)| *there).map(|(name, _)| dir.join(name)))
            .chain(shards)
            .collect();
        Ok(checkpoint)
    }

    /// A model of parsed files; `dir` names the folder.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_folder(dir: &Path, files: FolderFiles, tensors: Safetensors) -> Result<Self, ModelError> {
        let FolderFiles { config, generation_config, quantize_config, quant_config } = files;
        let file = dir.join("config.json").display().to_string();
        let own = [(QUANTIZE_CONFIG, &quantize_config), (QUANT_CONFIG, &quant_config)];
        let own =
            own.into_iter().filter_map(|(name, json)| Some((dir.join(name).display().to_string(), json.as_ref()?)));
        let own: Vec<(String, &Json)> = own.collect();
        let own: Vec<(&str, &Json)> = own.iter().map(|(file, json)| (file.as_str(), *json)).collect();
        let layout = layouts::detect(Some((&file, &config)), &own)?;
        let blueprint = arch::blueprint(&file, stem(dir, Path::file_name), &config)?;
        let source = Source::folder(tensors, layout, &blueprint.tree)?;
        let container = Container::HuggingFace { dir: dir.to_owned() };
        let files = Vec::new();
        Ok(Self { blueprint, container, store: Store::Files(Box::new(source)), config, generation_config, files })
    }

    /// A model of a parsed GGUF file; `path` names it.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_gguf(gguf: Gguf, path: &Path) -> Result<Self, ModelError> {
        let config = gguf_config::read(&gguf)?;
        let generation_config = gguf_sampling::read(&gguf)?;
        let own_name = gguf.get_str("general.name")?.map(str::trim).filter(|name| !name.is_empty());
        let name = own_name.map_or_else(|| stem(path, Path::file_stem), str::to_owned);
        let blueprint = arch::blueprint(gguf.file(), name, &config)?;
        // A whole model is the file at `path`, whatever messages call it; parts go by their own names.
        let files = match gguf.files().count() {
            1 => vec![path.to_owned()],
            _ => gguf.files().map(PathBuf::from).collect(),
        };
        let source = Source::gguf(gguf, &blueprint.tree)?;
        let container = Container::Gguf { path: path.to_owned() };
        Ok(Self { blueprint, container, store: Store::Files(Box::new(source)), config, generation_config, files })
    }

    /// Random weights of a published model's shapes, made when asked for: the same for the same `seed`.
    /// `encoding` is that of the linear layers; where it is quantised, embedding and output are Q6_K
    /// (Q8_0 beside Q8_0), as in published files.
    ///
    /// # Errors
    /// [`ModelError::UnknownShape`]; see [`Checkpoint::shapes`].
    pub fn synthetic(shape: &str, encoding: Encoding, seed: u64) -> Result<Self, ModelError> {
        Self::made_up(shape, &synthetic::config(shape)?, encoding, seed)
    }

    /// As [`Checkpoint::synthetic`], of a configuration in Hugging Face's form.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn made_up(name: &str, config: &Json, encoding: Encoding, seed: u64) -> Result<Self, ModelError> {
        let (blueprint, config) = (arch::blueprint(name, name.to_owned(), config)?, config.clone());
        let store = Store::Synthetic(Synthetic { encoding, seed });
        let (container, files) = (Container::Synthetic, Vec::new());
        Ok(Self { blueprint, container, store, config, generation_config: None, files })
    }

    /// The shapes that [`Checkpoint::synthetic`] knows.
    #[must_use]
    pub fn shapes() -> Vec<&'static str> {
        synthetic::shapes()
    }

    /// What the model is.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.blueprint.facts
    }

    /// Its weights' names and shapes.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.blueprint.tree
    }

    /// The model without its weights.
    #[must_use]
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// What it came in; the tokenizer is found there.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// The parsed GGUF file, where it came in one.
    #[must_use]
    pub fn gguf(&self) -> Option<&Gguf> {
        match &self.store {
            Store::Files(source) => source.as_gguf(),
            Store::Synthetic(_) => None,
        }
    }

    /// The layout of its quantised modules, where it is a folder that has any: `gptq`, `awq`, ...
    #[must_use]
    pub fn layout(&self) -> Option<&'static str> {
        match &self.store {
            Store::Files(source) => source.layout().map(layouts::Layout::name),
            Store::Synthetic(_) => None,
        }
    }

    /// `config.json` as it was read; for other containers the same in that form.
    #[must_use]
    pub fn config_json(&self) -> &Json {
        &self.config
    }

    /// `generation_config.json`, where there is one; of a GGUF file the same fields, where it has any.
    #[must_use]
    pub fn generation_config(&self) -> Option<&Json> {
        self.generation_config.as_ref()
    }

    /// Every file that the weights and the configuration came from: what a digest of the model covers.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Bytes of these files.
    ///
    /// # Errors
    /// I/O errors naming the file.
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

    /// The shape of the cache of all blocks.
    #[must_use]
    pub fn cache_spec(&self, element: CacheType) -> CacheSpec {
        self.blueprint.cache_spec(element)
    }

    /// Tensors of the files that no module and no setting uses, and that do not change the result.
    #[must_use]
    pub fn ignored_tensors(&self) -> &[String] {
        match &self.store {
            Store::Files(source) => source.ignored(),
            Store::Synthetic(_) => &[],
        }
    }

    /// How a slot's weight is encoded, without reading it.
    ///
    /// # Errors
    /// [`ModelError::UnknownSlot`].
    pub fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        let module = self.blueprint.module(slot)?;
        let found = match &self.store {
            Store::Files(source) => source.encoding(&self.blueprint.tree, slot, module),
            Store::Synthetic(synthetic) => Some(StoredEncoding::Blocks(synthetic.encoding_of(slot, module))),
        };
        found.ok_or_else(|| ModelError::UnknownSlot { block: slot.block, module: slot.module.to_owned() })
    }

    /// As [`Checkpoint::tensor_name`], the slot's own name where it has none: what messages call a weight.
    #[must_use]
    pub fn name_of(&self, slot: Slot) -> String {
        let own = || slot.block.map_or_else(|| slot.module.to_owned(), |i| format!("{i}.{}", slot.module));
        self.tensor_name(slot).unwrap_or_else(own)
    }

    /// What a slot's weight is called in its file: `blk.0.attn_q.weight`, `model.layers.0.self_attn.q_proj.qweight`.
    #[must_use]
    pub fn tensor_name(&self, slot: Slot) -> Option<String> {
        match &self.store {
            Store::Files(source) => source.tensor_name(&self.blueprint.tree, slot),
            Store::Synthetic(_) => self.blueprint.tree.hf_name(slot).map(|name| format!("{name}.weight")),
        }
    }
}

impl Parameters for Checkpoint {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let module = self.blueprint.module(slot)?;
        match &self.store {
            Store::Files(source) => source.parameter(&self.blueprint.tree, slot, module),
            Store::Synthetic(synthetic) => synthetic.parameter(slot, module),
        }
    }

    fn rows(&self, slot: Slot, rows: Range<usize>) -> Result<Option<BlockMatrix>, ModelError> {
        match &self.store {
            Store::Files(source) => source.rows(&self.blueprint.tree, slot, self.blueprint.module(slot)?, rows),
            Store::Synthetic(_) => Ok(None),
        }
    }

    fn forget(&self) {
        if let Store::Files(source) = &self.store {
            source.tensors().forget();
        }
    }

    fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        Self::encoding(self, slot)
    }
}

/// A model's name from its path.
fn stem(path: &Path, part: impl for<'a> Fn(&'a Path) -> Option<&'a std::ffi::OsStr>) -> String {
    let hub = snapshot_name(path).map(str::to_owned);
    let own = hub.or_else(|| part(path).map(|name| name.to_string_lossy().into_owned()));
    #[cfg(not(target_arch = "wasm32"))]
    let own = own.or_else(|| path.canonicalize().ok()?.file_name().map(|name| name.to_string_lossy().into_owned()));
    own.unwrap_or_else(|| "model".to_owned())
}
