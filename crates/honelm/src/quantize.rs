//! One model in, one encoding out, without a verdict.

use std::path::{Path, PathBuf};

use honelm_blocks::{Encoding, WeightData};
use honelm_compress::{Calibration, Method, Scheme, compress};
use honelm_cpu::Compute;
use honelm_formats::gptq::{CheckpointFormat, Dynamic, QuantizeConfig};
use honelm_formats::{AtomicDir, gguf::Value};
use honelm_model::{Checkpoint, Container, Module, Parameters, export};
use honelm_store::{Digest, Journal};
use honelm_text::{EncodeOptions, Tokenizer, TokenizerFiles};

use crate::open::{digest_of, tokenizer_of, weight_bytes};
use crate::texts::Text;
use crate::{Error, Event, Events, RunOptions, TextSource};

/// What a model is turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantizeTarget {
    /// A GGUF file whose linear layers have this encoding.
    Encoding(Encoding),
    /// A Hugging Face folder in GPTQ's layout.
    Gptq {
        /// Bits a code: 4 or 8.
        bits: u8,
        /// Columns a group.
        group_size: usize,
    },
}

/// Settings of [`quantize`].
#[derive(Debug, Clone)]
pub struct QuantizeOptions {
    /// The model.
    pub model: PathBuf,
    /// File or folder to write; it appears when complete.
    pub out: PathBuf,
    /// What it becomes.
    pub target: QuantizeTarget,
    /// Most bytes of a file of weights, where they are to be in several.
    pub max_shard_size: Option<u64>,
    /// Text for GPTQ's error feedback; plain rounding without.
    pub calibration: Option<TextSource>,
    /// Most blocks of it.
    pub calibration_blocks: usize,
    /// Tokens a block.
    pub calibration_length: usize,
    /// Threads and device.
    pub run: RunOptions,
}

/// What [`quantize`] wrote.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Quantized {
    /// File or folder; the first of several files.
    pub path: PathBuf,
    /// Bytes of its weights.
    pub size_bytes: u64,
    /// Bytes of the original's.
    pub original_bytes: u64,
    /// File bits over all parameters.
    pub bits_per_weight: f64,
    /// Things the user should know.
    pub warnings: Vec<String>,
}

/// Quantises a model. Unfinished work is kept beside the output and resumed by the next call with the same settings.
pub fn quantize(options: &QuantizeOptions, events: Events<'_>) -> Result<Quantized, Error> {
    let checkpoint = Checkpoint::open(&options.model)?;
    let tokenizer = tokenizer_of(&checkpoint)?;
    let method = if options.calibration.is_some() { Method::gptq() } else { Method::Rtn };
    let scheme = match options.target {
        QuantizeTarget::Encoding(encoding) => Scheme::gguf(encoding, method),
        QuantizeTarget::Gptq { bits, group_size } => Scheme::gptq(bits, group_size, false, method),
    };
    let text = options.calibration.as_ref().map(TextSource::calibration).transpose()?;
    let calibration = match &text {
        Some(text) => Some(calibration_of(&tokenizer, text, options.calibration_blocks, options.calibration_length)?),
        None => None,
    };
    let key = Digest::default()
        .with(env!("CARGO_PKG_VERSION"))
        .with(digest_of(&checkpoint)?)
        .with(scheme.describe())
        .with(text.map(|t| t.digest).unwrap_or_default())
        .with(format!("{} {}", options.calibration_blocks, options.calibration_length))
        .hex();
    let journal = Journal::new(&beside(&options.out), &key);
    let mut warnings = Vec::new();
    let made = make(&checkpoint, &scheme, calibration.as_ref(), &journal, "quantising", &options.run, &mut |event| {
        if let Event::Warning(text) = event {
            warnings.push((*text).to_owned());
        }
        events(event)
    })?;
    let files = write(&checkpoint, &tokenizer, &made, &scheme, &options.out, options.max_shard_size)?;
    journal.clear()?;
    let mut size_bytes = 0;
    for file in &files {
        size_bytes += weight_bytes(file)?;
    }
    Ok(Quantized {
        path: files.into_iter().next().unwrap_or_else(|| options.out.clone()),
        size_bytes,
        original_bytes: checkpoint.file_bytes()?,
        bits_per_weight: size_bytes as f64 * 8.0 / checkpoint.facts().parameters as f64,
        warnings,
    })
}

/// `model.gguf` -> `.model.gguf.work`, in the same folder.
fn beside(out: &Path) -> PathBuf {
    let name = out.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_else(|| "model".to_owned());
    out.with_file_name(format!(".{name}.work"))
}

/// Calibration blocks of a text.
pub(crate) fn calibration_of(
    tokenizer: &Tokenizer,
    text: &Text,
    blocks: usize,
    length: usize,
) -> Result<Calibration, Error> {
    let plain = EncodeOptions { add_special: false, parse_special: false };
    let wanted = blocks.saturating_mul(length);
    let (mut documents, mut tokens) = (Vec::new(), 0);
    for document in &text.documents {
        if tokens >= wanted {
            break;
        }
        let ids = tokenizer.encode(document, plain)?;
        tokens += ids.len();
        documents.push(ids);
    }
    let eos = tokenizer.eos_ids().first().copied();
    Ok(Calibration::new(documents, tokenizer.leading_bos(), eos, blocks, length)?)
}

/// Compresses into `journal`, telling `events` under the name of `stage`.
pub(crate) fn make<'a>(
    checkpoint: &'a Checkpoint,
    scheme: &Scheme,
    calibration: Option<&Calibration>,
    journal: &Journal,
    stage: &str,
    run: &RunOptions,
    events: Events<'_>,
) -> Result<honelm_compress::Compressed<'a>, Error> {
    let exact = RunOptions { compute: Compute::F32, ..*run };
    let mut backend = exact.cpu();
    let mut report = |p: &honelm_compress::Progress| {
        let told = p.warning.as_ref().is_none_or(|w| events(&Event::Warning(w)));
        told && events(&Event::Stage { name: stage, detail: &p.stage, done: p.done, total: p.total })
    };
    let threads = run.worker_threads();
    Ok(compress(checkpoint, scheme, calibration, journal, &mut backend, threads, &mut report)?)
}

/// Writes a compressed model: a GGUF file (or parts of at most `max_shard_size` bytes), or a Hugging Face folder where
/// its weights are integer groups. Gives the files, or the folder.
pub(crate) fn write(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    params: &dyn Parameters,
    scheme: &Scheme,
    out: &Path,
    max_shard_size: Option<u64>,
) -> Result<Vec<PathBuf>, Error> {
    match scheme.linear {
        honelm_compress::Target::Groups { bits, group_size, symmetric } => {
            let settings = settings(bits, group_size, symmetric, format_of(checkpoint, params)?);
            write_folder(checkpoint, tokenizer, params, &settings, out, max_shard_size)?;
            Ok(vec![out.to_owned()])
        }
        _ => write_gguf(checkpoint, tokenizer, params, out, max_shard_size),
    }
}

fn write_gguf(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    params: &dyn Parameters,
    out: &Path,
    max_shard_size: Option<u64>,
) -> Result<Vec<PathBuf>, Error> {
    let vocab = tokenizer.to_gguf_vocab(checkpoint.facts().vocabulary)?;
    let mut metadata: Vec<(String, Value)> = vocab.to_metadata();
    metadata.extend(export::sampling_metadata(checkpoint.generation_config()));
    let limit = max_shard_size.unwrap_or(u64::MAX);
    Ok(export::gguf_parts(out, limit, checkpoint.blueprint(), params, metadata, &|_| None)?)
}

fn settings(bits: u8, group_size: usize, sym: bool, checkpoint_format: CheckpointFormat) -> QuantizeConfig {
    QuantizeConfig {
        bits,
        group_size: (group_size > 0).then_some(group_size),
        desc_act: false,
        sym,
        lm_head: false,
        checkpoint_format,
        dynamic: Dynamic::default(),
        extra: serde_json::Map::default(),
    }
}

fn write_folder(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    params: &dyn Parameters,
    settings: &QuantizeConfig,
    out: &Path,
    max_shard_size: Option<u64>,
) -> Result<(), Error> {
    let folder = AtomicDir::create(out)?;
    let copy = tokenizer_files(checkpoint)?;
    let options = export::HuggingFace { quantize_config: Some(settings), copy: &copy, max_shard_size };
    export::huggingface(folder.path(), checkpoint, params, &options)?;
    if copy.is_empty() {
        for (name, contents) in [
            ("tokenizer.json", tokenizer.to_tokenizer_json()?),
            ("tokenizer_config.json", tokenizer.to_tokenizer_config_json()?),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, contents).map_err(|source| Error::Io { path, source })?;
        }
    }
    Ok(folder.commit()?)
}

/// The checkpoint format that can hold every matrix's zero points.
fn format_of(checkpoint: &Checkpoint, params: &dyn Parameters) -> Result<CheckpointFormat, Error> {
    let tree = checkpoint.tree();
    for slot in tree.slots() {
        if tree.module(slot).is_some_and(Module::is_linear)
            && let WeightData::Groups(matrix) = params.parameter(slot)?.weight
            && CheckpointFormat::for_matrices([&matrix]) == CheckpointFormat::V2
        {
            return Ok(CheckpointFormat::V2);
        }
    }
    Ok(CheckpointFormat::V1)
}

/// The tokenizer's own files in a Hugging Face folder.
fn tokenizer_files(checkpoint: &Checkpoint) -> Result<Vec<PathBuf>, Error> {
    match checkpoint.container() {
        Container::HuggingFace { dir } => Ok(TokenizerFiles::paths(dir)?),
        _ => Ok(Vec::new()),
    }
}
