//! Makes a model smaller by removing heads, neurons and layers.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use honelm_compress::{Prune, PruneFigures, Pruned, Sparsity, UnitImportance};
use honelm_cpu::Compute;
use honelm_eval::{Protocol, figures};
use honelm_formats::OutputGate;
use honelm_model::{Checkpoint, export};
use honelm_store::{Digest, Journal};
use honelm_text::Tokenizer;
use serde::Serialize;

use crate::device::load;
use crate::documents::calibration_of;
use crate::measure::{Heldout, Lazy, Original, States, context_of};
use crate::open::{digest_of, open, tokenizer_digest, tokenizer_of, weight_bytes};
use crate::quantize::{beside, gguf_metadata, gguf_vocab, publish_beside, write_folder};
use crate::work::{JobCard, Work, gate_of};
use crate::{Differences, Error, Event, Events, RunOptions, TextSource};

/// The number of tokens per chunk of the held-out text, if the context is no shorter.
const CHUNK: usize = 512;

/// The settings of [`prune`].
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// The model: a folder or a GGUF file.
    pub model: PathBuf,
    /// The folder or file to write. It appears when it is complete.
    pub out: PathBuf,
    /// `true` to write a GGUF file instead of a Hugging Face folder.
    pub gguf: bool,
    /// `true` to replace an earlier output of the same kind.
    pub force: bool,
    /// The share of the heads to remove.
    pub heads: f64,
    /// The share of the neurons of each feed-forward network to remove.
    pub ffn: f64,
    /// The number of layers to remove.
    pub layers: usize,
    /// The number of layers at the beginning and at the end that are never removed.
    pub protect: [usize; 2],
    /// The measure by which heads and neurons are chosen.
    pub importance: UnitImportance,
    /// `true` to fit what remains to the outputs of the original.
    pub restore: bool,
    /// Zeros in place of single weights, instead of the removal of heads, neurons and layers, whose shares must be 0 then.
    pub sparsity: Option<Sparsity>,
    /// The calibration text.
    pub calibration: TextSource,
    /// The largest number of calibration samples.
    pub calibration_samples: usize,
    /// The number of tokens per sample.
    pub calibration_length: usize,
    /// The held-out text on which the model is compared with the original after cutting and after restoration; `None` measures
    /// the divergence on held-out calibration samples alone.
    pub text: Option<TextSource>,
    /// The number of chunks of that text to score; `None` scores all.
    pub chunks: Option<usize>,
    /// The number of threads. The work is done on the CPU.
    pub run: RunOptions,
}

impl PruneOptions {
    /// Returns the preset: 20% of the heads and 15% of the neurons, restored on the shipped calibration text.
    #[must_use]
    pub fn new(model: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        let Prune { heads, ffn, layers, importance, restore, protect, sparsity, .. } = Prune::default();
        Self {
            model: model.into(),
            out: out.into(),
            gguf: false,
            force: false,
            heads,
            ffn,
            layers,
            protect,
            importance,
            restore,
            sparsity,
            calibration: TextSource::Shipped,
            calibration_samples: 256,
            calibration_length: 512,
            text: None,
            chunks: None,
            run: RunOptions::default(),
        }
    }

    fn settings(&self) -> Prune {
        let Self { heads, ffn, layers, protect, importance, restore, sparsity, .. } = *self;
        Prune { heads, ffn, layers, protect, importance, restore, sparsity, ..Prune::default() }
    }
}

/// The sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PrunedSizes {
    /// The number of values in all weights and biases.
    pub parameters: u64,
    /// The number of layers.
    pub layers: usize,
    /// The number of query heads of a layer.
    pub heads: usize,
    /// The number of key-value heads of a layer.
    pub kv_heads: usize,
    /// The number of neurons of a feed-forward network.
    pub ffn: usize,
    /// The size of the files that hold the weights, in bytes.
    pub size_bytes: u64,
}

impl PrunedSizes {
    fn new(checkpoint: &Checkpoint, size_bytes: u64) -> Self {
        let sizes = checkpoint.sizes();
        Self {
            parameters: checkpoint.facts().parameters,
            layers: sizes.layers.len(),
            heads: sizes.heads,
            kv_heads: sizes.kv_heads,
            ffn: sizes.ffn,
            size_bytes,
        }
    }
}

/// A comparison of a pruned model with the original on a held-out text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PrunedFigures {
    /// The number of chunks scored.
    pub chunks: usize,
    /// The number of tokens scored.
    pub tokens: usize,
    /// The perplexity.
    pub perplexity: f64,
    /// The differences from the original.
    #[serde(flatten)]
    pub differences: Differences,
}

/// The result of [`prune`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PruneReport {
    /// The folder or file.
    pub path: PathBuf,
    /// The sizes of the original.
    pub before: PrunedSizes,
    /// The sizes of the pruned model.
    pub after: PrunedSizes,
    /// The measure by which heads and neurons were chosen; `None` where none were.
    pub importance: Option<UnitImportance>,
    /// The zeros asked for, if single weights became zero. File size and speed stay.
    pub sparsity: Option<Sparsity>,
    /// What was removed of each layer.
    #[serde(flatten)]
    pub figures: PruneFigures,
    /// The name of the held-out text, if there is one.
    pub text: Option<String>,
    /// The protocol of the comparison on it.
    pub protocol: Option<String>,
    /// The comparison on the held-out text after cutting.
    pub after_cutting: Option<PrunedFigures>,
    /// The comparison on the held-out text after restoration.
    pub after_restoration: Option<PrunedFigures>,
    /// Warnings of the job: among them, shares that the sizes cannot meet.
    pub warnings: Vec<String>,
}

/// Prunes a model. Saves unfinished work beside the output; the next call with the same settings resumes it.
///
/// # Errors
/// An invalid model or text; settings that remove nothing or everything of a kind, or that the container cannot express; an output
/// that exists; [`Error::Interrupted`] if `events` returns `false`.
pub fn prune(options: &PruneOptions, events: Events<'_>) -> Result<PruneReport, Error> {
    let checkpoint = Rc::new(open(&options.model, &options.run, &mut *events)?);
    let settings = options.settings();
    let (planned, shares) = settings.plan(&checkpoint)?;
    if !options.gguf {
        planned.check_heads()?;
    }
    let texts = std::iter::once(&options.calibration).chain(&options.text);
    let gate = gate_of(&checkpoint, texts, options.force);
    check_output(options, &gate)?;
    let work = Work::claim(&beside(&options.out), &gate, false)?;
    // A process that held the lock before may have written the output.
    check_output(options, &gate)?;
    let tokenizer = tokenizer_of(&checkpoint)?;
    let heldout = options.text.as_ref().map(|text| heldout(text, &checkpoint, &tokenizer, options)).transpose()?;
    let text = options.calibration.calibration()?;
    let calibration = calibration_of(&tokenizer, &text, options.calibration_samples, options.calibration_length)?;
    let mut warnings = checkpoint.warnings().to_vec();
    for warning in shares.iter().chain(&text.warnings).chain(heldout.iter().flat_map(|text| &text.warnings)) {
        events(&Event::Warning(warning));
        warnings.push(warning.clone());
    }
    let model_digest = digest_of(&checkpoint)?;
    let key = Digest::default()
        .with(env!("CARGO_PKG_VERSION"))
        .with(&model_digest)
        .with(tokenizer_digest(&checkpoint, &tokenizer)?)
        .with(format!("{settings:?}"))
        .with(&text.digest)
        .with(format!("{} {}", options.calibration_samples, options.calibration_length))
        .hex();
    let journal = Journal::new(&work.path("layers"), &key);
    work.take_up(&JobCard { model: checkpoint.facts().name.clone(), model_digest, key: key.clone() })?;
    let pruned = cut(&checkpoint, &settings, &calibration, &journal, &options.run, &mut *events)?;
    let mut measured = [None, None];
    if let Some(heldout) = &heldout {
        let states = Journal::new(&work.path("states"), &format!("{key} {} {:?}", heldout.digest, options.chunks));
        measured = measure(&checkpoint, &pruned, heldout, states, options, &mut *events)?;
    }
    let path = write(&checkpoint, &pruned, &tokenizer, &work, options)?;
    work.remove()?;
    let [after_cutting, after_restoration] = measured;
    Ok(PruneReport {
        before: PrunedSizes::new(&checkpoint, weight_bytes(&options.model)?),
        after: PrunedSizes::new(pruned.checkpoint(), weight_bytes(&path)?),
        path,
        importance: (options.heads > 0.0 || options.ffn > 0.0).then_some(options.importance),
        sparsity: options.sparsity,
        figures: pruned.figures,
        protocol: heldout.as_ref().map(|text| text.chunked.protocol.to_string()),
        text: heldout.map(|text| text.name),
        after_cutting,
        after_restoration,
        warnings,
    })
}

/// Checks that the output may be written.
fn check_output(options: &PruneOptions, gate: &OutputGate) -> Result<(), Error> {
    Ok(match options.gguf {
        true => gate.gguf(&options.out, false),
        false => gate.folder(&options.out),
    }?)
}

fn heldout(
    text: &TextSource,
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    options: &PruneOptions,
) -> Result<Heldout, Error> {
    checkpoint.facts().check_generates()?;
    let context = context_of(checkpoint, &options.run);
    Heldout::read(text, checkpoint, tokenizer, (Protocol::LlamaCpp(CHUNK.min(context)), options.chunks), context)
}

/// Prunes into `journal`, and reports the progress.
fn cut(
    checkpoint: &Rc<Checkpoint>,
    settings: &Prune,
    calibration: &honelm_compress::Calibration,
    journal: &Journal,
    run: &RunOptions,
    events: Events<'_>,
) -> Result<Pruned, Error> {
    let mut backend = RunOptions { compute: Compute::F32, ..run.clone() }.cpu();
    let mut report = |p: &honelm_compress::Progress| {
        events(&Event::Stage { name: "pruning", detail: &p.stage, done: p.done, total: p.total })
    };
    let threads = run.worker_threads();
    Ok(honelm_compress::prune(checkpoint, settings, calibration, journal, (&mut backend, threads), &mut report)?)
}

/// Compares the models after cutting and after restoration with the original.
fn measure(
    checkpoint: &Checkpoint,
    pruned: &Pruned,
    heldout: &Heldout,
    states: Journal,
    options: &PruneOptions,
    events: Events<'_>,
) -> Result<[Option<PrunedFigures>; 2], Error> {
    let run = options.run.steady();
    let chunks = &heldout.chunked.chunks;
    let mut lazy = Lazy::new(checkpoint, &run);
    let baseline = Original::score(&mut lazy, chunks, States::new(states, checkpoint), &mut *events)?;
    drop(lazy);
    let mut original = Original::new(checkpoint, &run)?;
    let mut compare = |candidate: &Checkpoint, stage: &str| -> Result<PrunedFigures, Error> {
        let mut runner = load(candidate, &run, &mut *events)?;
        let found = figures(&original.compare(&baseline, &mut runner, chunks, stage, None, &mut *events)?);
        let (chunks, tokens, perplexity) = (found.chunks, found.tokens, found.perplexity);
        Ok(PrunedFigures { chunks, tokens, perplexity, differences: found.into() })
    };
    let cut = compare(&pruned.cut, "after cutting: scoring")?;
    let restored = pruned.restored.as_ref().map(|model| compare(model, "after restoration: scoring")).transpose()?;
    Ok([Some(cut), restored])
}

/// Writes the pruned model under a temporary name, opens it again, and publishes it.
fn write(
    original: &Checkpoint,
    pruned: &Pruned,
    tokenizer: &Tokenizer,
    work: &Work,
    options: &PruneOptions,
) -> Result<PathBuf, Error> {
    let model = pruned.checkpoint();
    let complete = work.path("complete");
    std::fs::create_dir_all(&complete).map_err(|source| Error::Io { path: complete.clone(), source })?;
    let complete = complete.join(options.out.file_name().unwrap_or_default());
    match options.gguf {
        true => write_gguf(original, model, tokenizer, &complete, options.force)?,
        false => {
            let folder = write_folder(model, (original, tokenizer), model, None, &complete, None)?;
            accept(&Checkpoint::open(folder.path())?, original, model)?;
            folder.commit()?;
        }
    }
    let files = publish_beside(&[complete], &options.out, options.force)?;
    Ok(files.into_iter().next().unwrap_or_else(|| options.out.clone()))
}

fn write_gguf(
    original: &Checkpoint,
    model: &Checkpoint,
    tokenizer: &Tokenizer,
    path: &Path,
    lossy: bool,
) -> Result<(), Error> {
    let (vocab, _) = gguf_vocab(model, tokenizer, lossy)?;
    let metadata = gguf_metadata(model, &vocab, None);
    export::gguf_parts(path, u64::MAX, model.blueprint(), model, metadata, &|_| None, |written| {
        accept(written, original, model)
    })?;
    Ok(())
}

/// Checks that a written model has the planned sizes, and that the original has not changed. Nothing gets its final name before.
fn accept(written: &Checkpoint, original: &Checkpoint, planned: &Checkpoint) -> Result<(), Error> {
    let (found, expected) = (written.sizes(), planned.sizes());
    if found != expected {
        let problem =
            format!("the written model: found {found:?}, expected {expected:?}; nothing was published, run again");
        return Err(Error::Usage(problem));
    }
    Ok(original.check_files()?)
}
