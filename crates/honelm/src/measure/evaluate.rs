//! The perplexity of a model, alone or compared with the original.

use std::path::PathBuf;

use honelm_backend::CacheType;
use honelm_cpu::Compute;
use honelm_eval::{Figures, MIN_CHUNKS, MIN_ITEMS, Protocol, figures, perplexity, score};
use honelm_model::Runner;
use serde::Serialize;

use super::{Heldout, Measured, Original, StatesCache, context_of};
use crate::device::load;
use crate::open::{open, tokenizer_of};
use crate::tasks::{Prepared, TaskOptions, TaskResults};
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
    /// The tasks to answer, if any.
    pub tasks: Option<TaskOptions>,
    /// The original to compare with, if any.
    pub against: Option<PathBuf>,
    /// The kernels of the original, which then runs on the CPU; `None` takes those of `run`. A model compared with
    /// itself in f32 shows the loss of the fast kernels or of a GPU.
    pub against_compute: Option<Compute>,
    /// The number type of the original's cache; `None` takes that of `run`. A model compared with itself shows the loss of a
    /// cache of fewer bits.
    pub against_cache_type: Option<CacheType>,
    /// The device, threads and context. With [`DeviceChoice::Auto`] the models run on the CPU.
    pub run: RunOptions,
    /// The cache of the original's hidden states; without one they are removed after the run.
    pub cache: Option<StatesCache>,
    /// The folder for the original's hidden states where there is no cache; `None` is the system's temporary folder.
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
            tasks: None,
            against: None,
            against_compute: None,
            against_cache_type: None,
            run: RunOptions::default(),
            cache: None,
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
    /// The accuracy on the tasks, if there are any.
    #[serde(flatten)]
    pub accuracy: Option<TaskResults>,
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
    /// The one-sided 95% upper bound of the mean; `None` if there is too little text.
    pub kl_divergence_upper95: Option<f64>,
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
            kl_divergence_upper95: f.kl_divergence_upper95,
            same_top_percent: f.same_top_percent,
            clear_positions: f.clear_positions,
            clear_positions_changed: f.clear_positions_changed,
        }
    }
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
    let context = context_of(&checkpoint, &own);
    let how = (options.protocol, options.chunks);
    let text = Heldout::read(&options.text, &checkpoint, &tokenizer_of(&checkpoint)?, how, context)?;
    let heldout = &text.chunked;
    let mut warnings = checkpoint.warnings().to_vec();
    let told = warnings.len();
    warnings.extend(text.warnings.iter().cloned());
    if heldout.chunks.len() < MIN_CHUNKS {
        warnings.push(format!("the text has {} chunks: bounds need at least {MIN_CHUNKS}", heldout.chunks.len()));
    }
    for warning in &warnings[told..] {
        events(&Event::Warning(warning));
    }
    let tasks = options.tasks.as_ref();
    // Invalid items are found before the work begins.
    let prepared = tasks.map(|t| Prepared::new(&checkpoint, &t.tasks, t.chat, context)).transpose()?;
    for warning in prepared.iter().flat_map(|prepared| &prepared.warnings) {
        events(&Event::Warning(warning));
        warnings.push(warning.clone());
    }
    if let Some(items) =
        tasks.map(|t| t.tasks.items.len()).filter(|&items| items < MIN_ITEMS && options.against.is_some())
    {
        let text = format!("the tasks have {items} items: bounds need at least {MIN_ITEMS}");
        events(&Event::Warning(&text));
        warnings.push(text);
    }
    let measured = match &options.against {
        Some(path) => {
            let mut run = match options.against_compute {
                Some(compute) => RunOptions { compute, device: DeviceChoice::Cpu, ..own.clone() },
                None => own.clone(),
            };
            run.cache_type = options.against_cache_type.unwrap_or(run.cache_type);
            let place = (options.cache.as_ref(), options.scratch.as_deref());
            Some(Original::measure(path, &checkpoint, heldout, tasks, place, &run, events)?)
        }
        None => None,
    };
    let mut runner = load(&checkpoint, &own, &mut *events)?;
    let compute = runner.describe();
    let mut original_outcomes = None;
    let (scores, comparison) = match measured {
        Some(Measured { mut original, baseline, outcomes, _home }) => {
            let compared = original.compare(&baseline, &mut runner, &heldout.chunks, "scoring", None, events)?;
            original.check_unchanged()?;
            original_outcomes = outcomes;
            let found = figures(&compared).into();
            (compared.scores, Some(found))
        }
        None => {
            let total = heldout.chunks.len();
            let progress = &mut |done| events(&Event::Stage { name: "scoring", detail: "", done, total });
            (score(&mut runner, &heldout.chunks, &mut |_| Ok(()), progress)?, None)
        }
    };
    let accuracy = match tasks.zip(prepared) {
        Some((t, prepared)) => {
            let (_, outcomes) = prepared.answer(Box::new(runner), "answering", events)?;
            Some(TaskResults::new(&t.tasks, &outcomes, original_outcomes.as_deref()))
        }
        None => None,
    };
    checkpoint.check_unchanged()?;
    let found = perplexity(&scores);
    Ok(Evaluation {
        model: options.model.clone(),
        protocol: heldout.protocol.to_string(),
        context,
        text: text.name.clone(),
        bos: heldout.bos,
        compute,
        chunks: scores.nll.len(),
        tokens: found.tokens,
        perplexity: found.value,
        perplexity_stderr: found.stderr,
        against: options.against.clone(),
        comparison,
        accuracy,
        warnings,
    })
}
