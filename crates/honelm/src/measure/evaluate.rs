//! The perplexity of a model, alone or compared with the original.

use std::path::{Path, PathBuf};

use honelm_cpu::Compute;
use honelm_eval::{Figures, MIN_CHUNKS, Protocol, figures, perplexity, score};
use honelm_model::Runner;
use serde::Serialize;

use super::{ChunkedText, Original, context_of};
use crate::device::load;
use crate::open::{open, tokenizer_of};
use crate::{DeviceChoice, Error, Event, Events, RunOptions, TextSource};

/// The settings of [`evaluate`].
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// The model: a folder or a GGUF file.
    pub model: PathBuf,
    /// The text.
    pub text: TextSource,
    /// The protocol of the evaluation.
    pub protocol: Protocol,
    /// The number of chunks to score; `None` scores all.
    pub chunks: Option<usize>,
    /// The original to compare with, if any.
    pub against: Option<PathBuf>,
    /// The kernels of the original, which then runs on the CPU; `None` takes those of `run`. A model compared with
    /// itself in f32 shows the loss of the fast kernels or of a GPU.
    pub against_compute: Option<Compute>,
    /// The device, threads and context. With [`DeviceChoice::Auto`] the models run on the CPU.
    pub run: RunOptions,
    /// The folder for the original's hidden states; `None` is the system's temporary folder.
    pub scratch: Option<PathBuf>,
}

impl EvaluateOptions {
    /// Returns the default settings: the shipped held-out text, all of it, in chunks of 512 tokens, without an
    /// original.
    #[must_use]
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            text: TextSource::Shipped,
            protocol: Protocol::LlamaCpp(512),
            chunks: None,
            against: None,
            against_compute: None,
            run: RunOptions::default(),
            scratch: None,
        }
    }
}

/// The result of [`evaluate`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The model.
    pub model: PathBuf,
    /// The protocol.
    pub protocol: String,
    /// The context in tokens.
    pub context: usize,
    /// The name of the text.
    pub text: String,
    /// `true` if chunks begin with BOS.
    pub bos: bool,
    /// The back end and its kernels.
    pub compute: String,
    /// The number of chunks scored.
    pub chunks: usize,
    /// The number of tokens scored.
    pub tokens: usize,
    /// The perplexity.
    pub perplexity: f64,
    /// The standard error of the perplexity.
    pub perplexity_stderr: f64,
    /// The original, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<PathBuf>,
    /// The differences from the original.
    #[serde(flatten)]
    pub comparison: Option<Differences>,
    /// Warnings about the files and the text.
    pub warnings: Vec<String>,
}

/// The differences of a model from the original, on the same positions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Differences {
    /// The perplexity of the original.
    pub base_perplexity: f64,
    /// The perplexity of the model minus that of the original.
    pub perplexity_difference: f64,
    /// The one-sided 95% lower bound of the difference; `None` if there is too little text.
    pub perplexity_difference_lower95: Option<f64>,
    /// The one-sided 95% upper bound of the difference; `None` if there is too little text.
    pub perplexity_difference_upper95: Option<f64>,
    /// The mean of KL(original || model) in nats.
    pub kl_divergence: f64,
    /// The standard error of the mean over chunks; `None` if there is too little text.
    pub kl_divergence_stderr: Option<f64>,
    /// The percentage of positions at which both find the same token most likely.
    pub same_top_percent: f64,
    /// The number of positions at which the original's two largest logits are at least 0.1 apart.
    pub clear_positions: usize,
    /// The number of those positions at which the model finds another token most likely.
    pub clear_positions_changed: usize,
}

impl From<Figures> for Differences {
    fn from(f: Figures) -> Self {
        Self {
            base_perplexity: f.base_perplexity,
            perplexity_difference: f.perplexity_difference,
            perplexity_difference_lower95: f.perplexity_difference_lower95,
            perplexity_difference_upper95: f.perplexity_difference_upper95,
            kl_divergence: f.kl_divergence,
            kl_divergence_stderr: f.kl_divergence_stderr,
            same_top_percent: f.same_top_percent,
            clear_positions: f.clear_positions,
            clear_positions_changed: f.clear_positions_changed,
        }
    }
}

/// Makes a new folder with a random name for hidden states. Dropping it removes it.
fn scratch(folder: Option<&Path>) -> Result<tempfile::TempDir, Error> {
    let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
    let made = tempfile::Builder::new().prefix("honelm-states-").tempdir_in(&folder);
    made.map_err(|source| Error::Io { path: folder, source })
}

/// Scores a model on a text and, if there is an original, compares it with that. The two models are not in memory at
/// the same time, except for the original's output layer.
///
/// # Errors
/// An invalid model or text, a text that is too short for the protocol, two models with different vocabularies,
/// [`Error::Interrupted`] if `events` returns `false`.
pub fn evaluate(options: &EvaluateOptions, events: Events<'_>) -> Result<Evaluation, Error> {
    let own = options.run.steady();
    let checkpoint = open(&options.model, &own, &mut *events)?;
    let text = options.text.heldout()?;
    let context = context_of(&checkpoint, &own);
    let heldout =
        ChunkedText::new(&tokenizer_of(&checkpoint)?, &text.documents[0], options.protocol, options.chunks, context)?;
    let mut warnings = checkpoint.warnings().to_vec();
    let told = warnings.len();
    warnings.extend(text.warnings);
    if heldout.chunks.len() < MIN_CHUNKS {
        warnings.push(format!("the text has {} chunks: bounds need at least {MIN_CHUNKS}", heldout.chunks.len()));
    }
    for warning in &warnings[told..] {
        events(&Event::Warning(warning));
    }
    let mut states = None;
    let original = match &options.against {
        Some(path) => {
            let folder = states.insert(scratch(options.scratch.as_deref())?);
            let run = match options.against_compute {
                Some(compute) => RunOptions { compute, device: DeviceChoice::Cpu, ..own.clone() },
                None => own.clone(),
            };
            Some(Original::measure(path, &checkpoint, &heldout, folder.path(), &run, events)?)
        }
        None => None,
    };
    let mut runner = load(&checkpoint, &own, &mut *events)?;
    let compute = runner.describe();
    let (scores, comparison) = match original {
        Some((mut original, baseline)) => {
            let compared = original.compare(&baseline, &mut runner, &heldout.chunks, "scoring", None, events)?;
            original.check_unchanged()?;
            let found = figures(&compared).into();
            (compared.scores, Some(found))
        }
        None => {
            let total = heldout.chunks.len();
            let progress = &mut |done| events(&Event::Stage { name: "scoring", detail: "", done, total });
            (score(&mut runner, &heldout.chunks, &mut |_| Ok(()), progress)?, None)
        }
    };
    checkpoint.check_unchanged()?;
    let found = perplexity(&scores);
    Ok(Evaluation {
        model: options.model.clone(),
        protocol: heldout.protocol.to_string(),
        context,
        text: text.name,
        bos: heldout.bos,
        compute,
        chunks: scores.nll.len(),
        tokens: found.tokens,
        perplexity: found.value,
        perplexity_stderr: found.stderr,
        against: options.against.clone(),
        comparison,
        warnings,
    })
}
