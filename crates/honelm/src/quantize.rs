//! One model in, one encoding out, without a verdict.

use std::path::{Path, PathBuf};

use honelm_blocks::{Encoding, WeightData};
use honelm_compress::{Calibration, Method, Scheme, check_written, compress};
use honelm_cpu::Compute;
use honelm_formats::gptq::{CheckpointFormat, Dynamic, QuantizeConfig};
use honelm_formats::{AtomicDir, OutputGate, gguf, publish, remove_output};
use honelm_model::{Checkpoint, Module, Origin, Parameters, export};
use honelm_store::{Digest, Journal};
use honelm_text::{EncodeOptions, GgufVocab, Tokenizer, TokenizerFiles};
use serde_json::Value;

use crate::fallback::{self, fallback_lines};
use crate::open::{digest_of, open, tokenizer_digest, tokenizer_of, weight_bytes};
use crate::texts::Text;
use crate::work::{JobCard, Work, gate_of};
use crate::{Error, Event, Events, Fallback, RunOptions, TextSource};

/// What a model is turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantizeTarget {
    /// A GGUF file whose linear layers have this encoding.
    Encoding(Encoding),
    /// A Hugging Face folder in GPTQ's format.
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
    /// Replace an earlier output of the same kind.
    pub force: bool,
    /// Text for GPTQ's error feedback; plain rounding without.
    pub calibration: Option<TextSource>,
    /// Most samples of it.
    pub calibration_samples: usize,
    /// Tokens a sample.
    pub calibration_length: usize,
    /// Whether every matrix has to get the encoding asked for, and the way of rounding.
    pub strict: bool,
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
    /// What that would be without fallbacks.
    pub wanted_bits_per_weight: f64,
    /// Every matrix that has another encoding than the one asked for.
    pub fallbacks: Vec<Fallback>,
    /// Things the user should know.
    pub warnings: Vec<String>,
}

/// Quantises a model. Unfinished work is kept beside the output and resumed by the next call with the same settings.
pub fn quantize(options: &QuantizeOptions, events: Events<'_>) -> Result<Quantized, Error> {
    let checkpoint = open(&options.model, &options.run, &mut *events)?;
    let gate = gate_of(&checkpoint, options.calibration.as_slice(), options.force);
    check_output(options, &gate)?;
    let work = Work::claim(&beside(&options.out), &gate, false)?;
    // The run that had the work before may have written the output meanwhile.
    check_output(options, &gate)?;
    let tokenizer = tokenizer_of(&checkpoint)?;
    let method = if options.calibration.is_some() { Method::gptq() } else { Method::Rtn };
    let scheme = match options.target {
        QuantizeTarget::Encoding(encoding) => Scheme::gguf(encoding, method),
        QuantizeTarget::Gptq { bits, group_size } => Scheme::gptq(bits, group_size, false, method),
    };
    let fallbacks = fallback::of(&checkpoint, &scheme);
    if options.strict && !fallbacks.is_empty() {
        return Err(Error::Fallback { problems: fallback_lines(&fallbacks) });
    }
    let loss = match options.target {
        QuantizeTarget::Encoding(_) => gguf_vocab(&checkpoint, &tokenizer, options.force)?.1,
        QuantizeTarget::Gptq { .. } => None,
    };
    let text = options.calibration.as_ref().map(TextSource::calibration).transpose()?;
    let calibration = match &text {
        Some(text) => Some(calibration_of(&tokenizer, text, options.calibration_samples, options.calibration_length)?),
        None => None,
    };
    let model_digest = digest_of(&checkpoint)?;
    let key = Digest::default()
        .with(env!("CARGO_PKG_VERSION"))
        .with(&model_digest)
        .with(tokenizer_digest(&checkpoint, &tokenizer)?)
        .with(scheme.describe())
        .with(text.map(|t| t.digest).unwrap_or_default())
        .with(format!("{} {} {}", options.calibration_samples, options.calibration_length, options.strict))
        .hex();
    let journal = Journal::new(&work.path("layers"), &key);
    work.take_up(&JobCard { model: checkpoint.facts().name.clone(), model_digest, key })?;
    let (mut warnings, mut problems) = (checkpoint.warnings().to_vec(), Vec::new());
    let made = make(&checkpoint, &scheme, calibration.as_ref(), &journal, "quantising", &options.run, &mut |event| {
        match event {
            // The work warns of another way of rounding than the one asked for.
            Event::Warning(text) if options.strict => problems.push((*text).to_owned()),
            Event::Warning(text) => warnings.push((*text).to_owned()),
            _ => {}
        }
        events(event) && problems.is_empty()
    });
    if !problems.is_empty() {
        return Err(Error::Fallback { problems });
    }
    let made = made?;
    warnings.extend(loss);
    let complete = work.path("complete");
    std::fs::create_dir_all(&complete).map_err(|source| Error::Io { path: complete.clone(), source })?;
    let complete = complete.join(options.out.file_name().unwrap_or_default());
    let complete = write(&checkpoint, &tokenizer, &made, &scheme, &complete, (options.max_shard_size, options.force))?;
    let files = publish_beside(&complete, &options.out, options.force)?;
    work.remove()?;
    let mut size_bytes = 0;
    for file in &files {
        size_bytes += weight_bytes(file)?;
    }
    let parameters = checkpoint.facts().parameters as f64;
    Ok(Quantized {
        path: files.into_iter().next().unwrap_or_else(|| options.out.clone()),
        size_bytes,
        original_bytes: checkpoint.file_bytes()?,
        bits_per_weight: size_bytes as f64 * 8.0 / parameters,
        wanted_bits_per_weight: (size_bytes as f64 * 8.0 - fallback::bits_above(&checkpoint, &scheme)) / parameters,
        fallbacks,
        warnings,
    })
}

/// Checks that the output may be written.
fn check_output(options: &QuantizeOptions, gate: &OutputGate) -> Result<(), Error> {
    Ok(match options.target {
        QuantizeTarget::Encoding(_) => gate.gguf(&options.out, options.max_shard_size.is_some()),
        QuantizeTarget::Gptq { .. } => gate.folder(&options.out),
    }?)
}

/// Moves complete files into the folder of `out`; gives their paths there. Where one cannot be moved, those before it go.
fn publish_beside(complete: &[PathBuf], out: &Path, replace: bool) -> Result<Vec<PathBuf>, Error> {
    let mut published: Vec<PathBuf> = Vec::new();
    for from in complete {
        let to = out.with_file_name(from.file_name().unwrap_or_default());
        if let Err(error) = publish(from, &to, replace) {
            for path in &published {
                // The first error says more than any that follows from it.
                let _ = remove_output(path);
            }
            return Err(error.into());
        }
        published.push(to);
    }
    Ok(published)
}

/// `model.gguf` -> `.model.gguf.work`, in the same folder.
fn beside(out: &Path) -> PathBuf {
    let name = out.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_else(|| "model".to_owned());
    out.with_file_name(format!(".{name}.work"))
}

/// Calibration samples of a text.
pub(crate) fn calibration_of(
    tokenizer: &Tokenizer,
    text: &Text,
    samples: usize,
    length: usize,
) -> Result<Calibration, Error> {
    let plain = EncodeOptions { add_special: false, parse_special: false };
    let wanted = samples.saturating_mul(length);
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
    Ok(Calibration::new(documents, tokenizer.leading_bos(), eos, samples, length)?)
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
    let exact = RunOptions { compute: Compute::F32, ..run.clone() };
    let mut backend = exact.cpu();
    let mut report = |p: &honelm_compress::Progress| {
        let told = p.warning.as_ref().is_none_or(|w| events(&Event::Warning(w)));
        told && events(&Event::Stage { name: stage, detail: &p.stage, done: p.done, total: p.total })
    };
    let threads = run.worker_threads();
    Ok(compress(checkpoint, scheme, calibration, journal, &mut backend, threads, &mut report)?)
}

/// Refuses a model that was written but is not what was to be made, or was made from files that have changed: nothing
/// gets its name before this.
fn accept(written: &Checkpoint, original: &Checkpoint, scheme: &Scheme) -> Result<(), Error> {
    check_written(written, original, scheme)?;
    Ok(original.check_files()?)
}

/// Writes a compressed model: a GGUF file (or parts of at most `max_shard_size` bytes; with a tokenizer that may be `lossy`), or a Hugging Face folder where
/// its weights are integer groups. Gives the files, or the folder.
pub(crate) fn write(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    params: &dyn Parameters,
    scheme: &Scheme,
    out: &Path,
    (max_shard_size, lossy): (Option<u64>, bool),
) -> Result<Vec<PathBuf>, Error> {
    match scheme.linear {
        honelm_compress::Target::Groups { bits, group_size, symmetric } => {
            let settings = settings(bits, group_size, symmetric, format_of(checkpoint, params)?);
            let folder = write_folder(checkpoint, tokenizer, params, &settings, out, max_shard_size)?;
            accept(&Checkpoint::open(folder.path())?, checkpoint, scheme)?;
            folder.commit()?;
            Ok(vec![out.to_owned()])
        }
        _ => {
            let (vocab, _) = gguf_vocab(checkpoint, tokenizer, lossy)?;
            write_gguf(checkpoint, &vocab, params, scheme, out, max_shard_size)
        }
    }
}

/// A tokenizer as GGUF metadata, with a warning where a file made of them gives other tokens for some texts, which is an
/// error unless `lossy`.
pub(crate) fn gguf_vocab(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    lossy: bool,
) -> Result<(GgufVocab, Option<String>), Error> {
    match tokenizer.to_lossy_gguf_vocab(checkpoint.facts().vocabulary)? {
        (_, Some(loss)) if !lossy => Err(loss.into()),
        (vocab, loss) => Ok((vocab, loss.map(|loss| loss.to_string()))),
    }
}

fn write_gguf(
    checkpoint: &Checkpoint,
    vocab: &GgufVocab,
    params: &dyn Parameters,
    scheme: &Scheme,
    out: &Path,
    max_shard_size: Option<u64>,
) -> Result<Vec<PathBuf>, Error> {
    let mut metadata: Vec<(String, gguf::Value)> = vocab.to_metadata();
    metadata.extend(export::sampling_metadata(checkpoint.generation_config()));
    let limit = max_shard_size.unwrap_or(u64::MAX);
    export::gguf_parts(out, limit, checkpoint.blueprint(), params, metadata, &|_| None, |written| {
        accept(written, checkpoint, scheme)
    })
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

/// The folder, complete but without its name.
fn write_folder(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    params: &dyn Parameters,
    settings: &QuantizeConfig,
    out: &Path,
    max_shard_size: Option<u64>,
) -> Result<AtomicDir, Error> {
    let folder = AtomicDir::create(out)?;
    let copy = tokenizer_files(checkpoint)?;
    let options = export::HuggingFace { quantize_config: Some(settings), copy: &copy, max_shard_size };
    export::huggingface(folder.path(), checkpoint, params, &options)?;
    if copy.is_empty() {
        for (name, contents) in [
            ("tokenizer.json", tokenizer.to_tokenizer_json()?),
            ("tokenizer_config.json", tokenizer.to_tokenizer_config_json()?),
            ("generation_config.json", generation_config(checkpoint, tokenizer)),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, contents).map_err(|source| Error::Io { path, source })?;
        }
    }
    Ok(folder)
}

/// The generation settings of another container, with all end tokens: config.json and tokenizer_config.json name two.
fn generation_config(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> String {
    let mut settings = checkpoint.generation_config().and_then(Value::as_object).cloned().unwrap_or_default();
    settings.insert("eos_token_id".to_owned(), tokenizer.eos_ids().into());
    format!("{:#}\n", Value::Object(settings))
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
    match checkpoint.origin() {
        Origin::HuggingFace { dir } => Ok(TokenizerFiles::paths(dir)?),
        _ => Ok(Vec::new()),
    }
}
