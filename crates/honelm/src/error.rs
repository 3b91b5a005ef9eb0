//! The errors of the library.

use std::path::PathBuf;

use honelm_backend::BackendError;
use honelm_bench::BenchError;
use honelm_blocks::BlockError;
use honelm_compress::CompressError;
use honelm_engine::EngineError;
use honelm_eval::EvalError;
use honelm_formats::FormatError;
use honelm_gateway::GatewayError;
use honelm_gpu::GpuError;
use honelm_model::ModelError;
use honelm_plan::PlanError;
use honelm_store::StoreError;
use honelm_text::TextError;

use crate::PromptCacheError;

/// An error of the library. [`Error::code`] is a stable name for programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no model with this name.
    #[error("no model '{name}': looked in {}", list(searched))]
    ModelNotFound {
        /// The name.
        name: String,
        /// The folders that were searched.
        searched: Vec<PathBuf>,
    },
    /// A text is invalid.
    #[error("{path}: {problem}")]
    Text {
        /// The file.
        path: String,
        /// The problem.
        problem: String,
    },
    /// A line of a task file is invalid, or its item does not fit the model.
    #[error("{path}: line {line}: {problem}")]
    Task {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The problem.
        problem: String,
    },
    /// A file operation failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The output folder holds the work on another model.
    #[error("{}: holds the work on another model ({found}); choose another folder with -o, or replace the work with --force", .path.display())]
    OtherModel {
        /// The folder.
        path: PathBuf,
        /// The name of that model.
        found: String,
    },
    /// The output folder holds work with other options.
    #[error("{}: holds work on this model with other options or texts; replace it with --restart, or choose another folder with -o", .path.display())]
    OtherOptions {
        /// The folder.
        path: PathBuf,
    },
    /// Another process works on the same output.
    #[error("{}: another process is working here", .path.display())]
    Busy {
        /// The output, or the folder of its unfinished work.
        path: PathBuf,
    },
    /// Matrices cannot have the encoding asked for, and no other is allowed.
    #[error("{}; --strict allows only the encoding asked for", problems.join("; "))]
    Fallback {
        /// The fallbacks that would be taken, a sentence per kind.
        problems: Vec<String>,
    },
    /// An option is invalid, or options contradict each other.
    #[error("{0}")]
    Usage(String),
    /// A value that cannot be written as JSON, or read back from it.
    #[error("cannot write {what} as JSON: {source}")]
    Serialise {
        /// The value.
        what: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
    /// A process that measures speed failed.
    #[error("measuring {}: {problem}", .path.display())]
    Measure {
        /// The model.
        path: PathBuf,
        /// The problem as the process reported it.
        problem: String,
    },
    /// A server did not answer a prompt.
    #[error("{url}: the prompt of line {line}: {problem}")]
    Cloud {
        /// The address.
        url: String,
        /// The line of the prompt, from 1.
        line: usize,
        /// The problem.
        problem: String,
    },
    /// A call took longer than it may.
    #[error("not complete within the limit of {} s", .limit.as_secs_f64())]
    Deadline {
        /// The limit.
        limit: std::time::Duration,
    },
    /// The caller stopped the job.
    #[error("interrupted")]
    Interrupted,
    /// An encoding cannot hold a value.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A file is invalid.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A model is invalid, or an operation on it failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tokenizer or a chat template is invalid.
    #[error(transparent)]
    Tokenizer(#[from] TextError),
    /// A device failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// There is no usable GPU.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A generation failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A text has private data or cannot be searched, or a gateway file, an estimator or labelled traffic is invalid.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// A file of cached prompts cannot be used.
    #[error(transparent)]
    PromptCache(#[from] PromptCacheError),
    /// An evaluation failed.
    #[error(transparent)]
    Eval(EvalError),
    /// A compression failed.
    #[error(transparent)]
    Compress(CompressError),
    /// A journal, the Hugging Face cache or a download failed.
    #[error(transparent)]
    Store(StoreError),
    /// A memory plan failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A speed test failed.
    #[error(transparent)]
    Bench(BenchError),
}

impl From<BenchError> for Error {
    fn from(e: BenchError) -> Self {
        if matches!(e, BenchError::Interrupted) { Self::Interrupted } else { Self::Bench(e) }
    }
}

impl From<EvalError> for Error {
    fn from(e: EvalError) -> Self {
        match e {
            EvalError::Interrupted => Self::Interrupted,
            // An error of this crate that passed through the evaluation.
            EvalError::States(source) => {
                source.downcast().map_or_else(|e| Self::Eval(EvalError::States(e)), |own| *own)
            }
            other => Self::Eval(other),
        }
    }
}

impl From<CompressError> for Error {
    fn from(e: CompressError) -> Self {
        if matches!(e, CompressError::Interrupted) { Self::Interrupted } else { Self::Compress(e) }
    }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        if matches!(e, StoreError::Interrupted) { Self::Interrupted } else { Self::Store(e) }
    }
}

impl Error {
    /// Returns `true` if the device failed, so that another device may succeed.
    pub(crate) fn is_of_device(&self) -> bool {
        let of_model = |error: &ModelError| matches!(error, ModelError::Backend(_));
        match self {
            Self::Gpu(_) | Self::Backend(_) => true,
            Self::Model(error) | Self::Bench(BenchError::Model(error)) => of_model(error),
            Self::Engine(error) => error.model().is_some_and(of_model),
            _ => false,
        }
    }

    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ModelNotFound { .. } => "model-not-found",
            Self::Text { .. } => "invalid-text",
            Self::Task { .. } => "invalid-task",
            Self::Io { .. } => "io",
            Self::OtherModel { .. } => "folder-of-another-model",
            Self::OtherOptions { .. } => "folder-of-other-options",
            Self::Busy { .. } => "folder-busy",
            Self::Fallback { .. } => "encoding-fallback",
            Self::Usage(_) => "usage",
            Self::Serialise { .. } => "serialisation-failed",
            Self::Measure { .. } => "measurement-failed",
            Self::Cloud { .. } => "cloud-failed",
            Self::Deadline { .. } => "deadline",
            Self::Interrupted => "interrupted",
            Self::Block(e) => e.code(),
            Self::Format(e) => e.code(),
            Self::Model(e) => e.code(),
            Self::Tokenizer(e) => e.code(),
            Self::Backend(e) => e.code(),
            Self::Gpu(e) => e.code(),
            Self::Engine(e) => e.code(),
            Self::Gateway(e) => e.code(),
            Self::PromptCache(e) => e.code(),
            Self::Eval(e) => e.code(),
            Self::Compress(e) => e.code(),
            Self::Store(e) => e.code(),
            Self::Plan(e) => e.code(),
            Self::Bench(e) => e.code(),
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}
