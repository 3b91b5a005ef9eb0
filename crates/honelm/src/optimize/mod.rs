//! The main job: shrink a model until the smallest candidate that holds the budget is found, and prove it.

mod folder;
mod job;
mod ladder;
mod report;

use std::path::{Path, PathBuf};

use honelm_bench::Speed;
use honelm_eval::Protocol;

pub use job::optimize;
pub use ladder::{Rung, ladder};
pub use report::{COLUMNS, Quality, Report, Row, Sample, TextCard, bytes, seconds};

use crate::{Error, RunOptions, TextSource};

/// Names under which results are published.
const RESULTS: [&str; 4] = ["model.gguf", "gptq", "report.json", "report.md"];

/// What a compressed model is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// One GGUF file, `model.gguf`.
    Gguf,
    /// A Hugging Face folder in GPTQ's format, `gptq/`.
    Gptq,
}

/// Settings of [`optimize`].
#[derive(Debug, Clone)]
pub struct OptimizeOptions {
    /// The model: a folder or a GGUF file.
    pub model: PathBuf,
    /// Output folder.
    pub out: PathBuf,
    /// What is written.
    pub container: Container,
    /// One rung alone.
    pub bits: Option<u8>,
    /// Group size (gptq).
    pub group_size: Option<usize>,
    /// Largest perplexity difference.
    pub budget: f64,
    /// Calibration text.
    pub calibration: TextSource,
    /// Most samples of it.
    pub calibration_samples: usize,
    /// Tokens a sample.
    pub calibration_length: usize,
    /// Text that decides.
    pub text: TextSource,
    /// How it is scored.
    pub protocol: Protocol,
    /// Begin afresh, even where work on the same model could be resumed or is done.
    pub restart: bool,
    /// Begin afresh, whatever earlier runs left in the folder.
    pub force: bool,
    /// How the models are run: on the processor where no device is named.
    pub run: RunOptions,
}

/// Measures the speed and memory of the model at a path, best in a process of its own.
pub type Measure<'a> = &'a mut dyn FnMut(&Path) -> Result<Speed, Error>;

/// What [`optimize`] came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Everything found.
    pub report: Report,
    /// Whether an earlier run had finished the same job already, so that nothing was done.
    pub was_done: bool,
}
