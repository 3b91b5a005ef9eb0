//! Perplexity of a model, alone or against another one.

use std::path::{Path, PathBuf};

use honelm_cpu::Compute;
use honelm_eval::{
    Baseline, EvalError, Figures, MIN_CHUNKS, PieceError, Pieces, Protocol, Window, compare, figures, perplexity, score,
};
use honelm_formats::FileWatch;
use honelm_model::{Checkpoint, OutputLayer, Runner};
use honelm_store::Journal;
use serde::Serialize;

use crate::open::{load, open, tokenizer_of};
use crate::{DeviceChoice, Error, Event, Events, RunOptions, TextSource};

/// Settings of [`evaluate`].
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// The model.
    pub model: PathBuf,
    /// The text.
    pub text: TextSource,
    /// How it is scored.
    pub protocol: Protocol,
    /// Only the first so many chunks.
    pub chunks: Option<usize>,
    /// The original to compare with.
    pub against: Option<PathBuf>,
    /// Kernels of the original, which then runs on the processor, where not those of `run`: a model against itself in f32 shows what
    /// the fast path, or a GPU, costs.
    pub against_compute: Option<Compute>,
    /// How the models are run: on the processor where no device is named.
    pub run: RunOptions,
    /// Folder for the original's states; the system's temporary one by default.
    pub scratch: Option<PathBuf>,
}

/// What [`evaluate`] found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The model.
    pub model: PathBuf,
    /// Protocol, its length fitted to the model.
    pub protocol: String,
    /// Context in tokens.
    pub context: usize,
    /// The text.
    pub text: String,
    /// Whether windows begin with BOS.
    pub bos: bool,
    /// Back end and kernel path.
    pub compute: String,
    /// Chunks scored.
    pub chunks: usize,
    /// Tokens scored.
    pub tokens: usize,
    /// Perplexity.
    pub perplexity: f64,
    /// Its standard error.
    pub perplexity_stderr: f64,
    /// The original.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<PathBuf>,
    /// Figures against the original.
    #[serde(flatten)]
    pub comparison: Option<Differences>,
    /// Things the user should know.
    pub warnings: Vec<String>,
}

/// How far a model is from its original, on the same positions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Differences {
    /// Perplexity of the original.
    pub base_perplexity: f64,
    /// Model minus original.
    pub perplexity_difference: f64,
    /// One-sided 95% lower bound; `None` on too little text.
    pub perplexity_difference_lower95: Option<f64>,
    /// One-sided 95% upper bound; `None` on too little text.
    pub perplexity_difference_upper95: Option<f64>,
    /// Mean KL(original || model) in nats.
    pub kl_divergence: f64,
    /// Its standard error over chunks; `None` on too little text.
    pub kl_divergence_stderr: Option<f64>,
    /// Share of positions with the same most likely token, in percent.
    pub same_top_percent: f64,
    /// Positions at which the original is clear: its two largest logits are at least 0.1 apart.
    pub clear_positions: usize,
    /// Those of them with another most likely token.
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

/// The windows of a text for a model.
pub(crate) struct Windows {
    pub windows: Vec<Window>,
    /// The text's tokens, as far as they are used.
    pub tokens: Vec<u32>,
    pub protocol: Protocol,
    pub bos: bool,
}

impl Windows {
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        text: &str,
        protocol: Protocol,
        chunks: Option<usize>,
        context: usize,
    ) -> Result<Self, Error> {
        let tokenizer = tokenizer_of(checkpoint)?;
        let mut tokens = tokenizer.encode_running(text)?;
        let bos = tokenizer.leading_bos();
        let protocol = protocol.fitted(context);
        let mut windows = protocol.windows(&tokens, bos, context)?;
        if let Some(most) = chunks {
            windows.truncate(most);
            let used: usize = windows.iter().map(|w| w.tokens.len()).sum();
            tokens.truncate(used);
        }
        Ok(Self { windows, tokens, protocol, bos: bos.is_some() })
    }
}

/// The original's states as entries of a journal; nothing is kept once the original's files have changed.
#[derive(Debug)]
pub(crate) struct States {
    journal: Journal,
    watch: FileWatch,
}

impl States {
    /// States of `checkpoint` in `journal`.
    pub(crate) fn new(journal: Journal, checkpoint: &Checkpoint) -> Self {
        Self { journal, watch: checkpoint.watch() }
    }

    fn entry(piece: usize) -> String {
        format!("states-{piece:04}")
    }
}

impl Pieces for States {
    fn get(&self, piece: usize) -> Result<Option<Vec<u8>>, PieceError> {
        Ok(self.journal.get(&Self::entry(piece)).map_err(Error::from)?)
    }

    fn put(&self, piece: usize, contents: &[u8]) -> Result<(), PieceError> {
        self.watch.check().map_err(Error::from)?;
        Ok(self.journal.put(&Self::entry(piece), contents).map_err(Error::from)?)
    }
}

/// A new folder for kept states that nobody else can have prepared, and that is removed when this is dropped.
fn scratch(folder: Option<&Path>) -> Result<tempfile::TempDir, Error> {
    let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
    let made = tempfile::Builder::new().prefix("honelm-states-").tempdir_in(&folder);
    made.map_err(|source| Error::Io { path: folder, source })
}

/// The context that the evaluation of a model runs with.
pub(crate) fn context_of(checkpoint: &Checkpoint, run: &RunOptions) -> usize {
    run.context.unwrap_or_else(|| checkpoint.facts().context.min(honelm_model::DEFAULT_CONTEXT))
}

/// Scores a model on a text; with an original, also how far it is from it. Two models are never in memory together.
pub fn evaluate(options: &EvaluateOptions, events: Events<'_>) -> Result<Evaluation, Error> {
    let own = options.run.steady();
    let checkpoint = open(&options.model, &own, &mut *events)?;
    let text = options.text.heldout()?;
    let context = context_of(&checkpoint, &own);
    let windows = Windows::new(&checkpoint, &text.documents[0], options.protocol, options.chunks, context)?;
    let mut warnings = checkpoint.warnings().to_vec();
    let told = warnings.len();
    if windows.windows.len() < MIN_CHUNKS {
        warnings.push(format!("{} chunks: fewer than {MIN_CHUNKS} give no bounds", windows.windows.len()));
    }
    let mut states = None;
    let original = match &options.against {
        Some(path) => {
            let folder = states.insert(scratch(options.scratch.as_deref())?);
            let run = match options.against_compute {
                Some(compute) => RunOptions { compute, device: DeviceChoice::Cpu, ..own.clone() },
                None => own.clone(),
            };
            Some(Original::measure(path, &checkpoint, &windows, folder.path(), &run, events)?)
        }
        None => None,
    };
    let mut runner = load(&checkpoint, &own, &mut *events)?;
    let compute = runner.describe();
    let (scores, comparison) = match original {
        Some((mut original, baseline)) => {
            let compared = original.compare(&baseline, &mut runner, &windows.windows, "scoring", None, events)?;
            original.watch.check()?;
            let found = figures(&compared).into();
            (compared.scores, Some(found))
        }
        None => {
            let total = windows.windows.len();
            let progress = &mut |done| events(&Event::Stage { name: "scoring", detail: "", done, total });
            (score(&mut runner, &windows.windows, &mut |_| Ok(()), progress)?, None)
        }
    };
    checkpoint.check_unchanged()?;
    for warning in &warnings[told..] {
        events(&Event::Warning(warning));
    }
    let found = perplexity(&scores);
    Ok(Evaluation {
        model: options.model.clone(),
        protocol: windows.protocol.to_string(),
        context,
        text: text.name,
        bos: windows.bos,
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

/// The original's output layer, which makes logits of its states.
pub(crate) struct Original {
    output: OutputLayer,
    backend: honelm_cpu::CpuBackend,
    watch: FileWatch,
}

impl Original {
    /// Scores the model at `path`, keeping its states in the folder `states`. It must read text as `candidate` does.
    fn measure(
        path: &Path,
        candidate: &Checkpoint,
        windows: &Windows,
        states: &Path,
        run: &RunOptions,
        events: Events<'_>,
    ) -> Result<(Self, Baseline), Error> {
        let checkpoint = open(path, run, &mut *events)?;
        let (a, b) = (checkpoint.facts().vocabulary, candidate.facts().vocabulary);
        if a != b {
            return Err(Error::Usage(format!("{} has a vocabulary of {a}, the model one of {b}", path.display())));
        }
        let states = States::new(Journal::new(states, "one run"), &checkpoint);
        let baseline = Self::score(&checkpoint, &windows.windows, states, run, events)?;
        Ok((Self::new(&checkpoint, run)?, baseline))
    }

    /// Scores an opened original, as far as `states` do not have it already.
    pub(crate) fn score(
        checkpoint: &Checkpoint,
        windows: &[Window],
        states: States,
        run: &RunOptions,
        events: Events<'_>,
    ) -> Result<Baseline, Error> {
        let mut baseline = Baseline::resume(windows, checkpoint.facts().width, Box::new(states))?;
        if !baseline.is_complete() {
            let mut runner = load(checkpoint, run, &mut *events)?;
            let total = windows.len();
            let progress = &mut |done| events(&Event::Stage { name: "original: scoring", detail: "", done, total });
            baseline.complete(&mut runner, windows, progress)?;
        }
        Ok(baseline)
    }

    /// The output layer of an original.
    pub(crate) fn new(checkpoint: &Checkpoint, run: &RunOptions) -> Result<Self, Error> {
        let mut backend = run.cpu();
        let output = OutputLayer::load(checkpoint.blueprint(), checkpoint, &mut backend)?;
        Ok(Self { output, backend, watch: checkpoint.watch() })
    }

    /// Compares a candidate; ends early once it cannot hold `budget` any more.
    pub(crate) fn compare(
        &mut self,
        baseline: &Baseline,
        runner: &mut dyn Runner,
        windows: &[Window],
        stage: &str,
        budget: Option<f64>,
        events: Events<'_>,
    ) -> Result<honelm_eval::Comparison, Error> {
        let Self { output, backend, .. } = self;
        let mut logits = |hidden: &honelm_tensor::Matrix| Ok(output.logits(hidden, backend)?);
        let total = windows.len();
        events(&Event::Stage { name: stage, detail: "", done: 0, total });
        let mut proceed = |so_far: &honelm_eval::Comparison| {
            let done = so_far.scores.nll.len();
            if !events(&Event::Stage { name: stage, detail: "", done, total }) {
                return Err(EvalError::Interrupted);
            }
            Ok(!budget.is_some_and(|b| done < total && honelm_eval::hopeless(so_far, b)))
        };
        Ok(compare(runner, windows, baseline, &mut logits, &mut proceed)?)
    }
}
