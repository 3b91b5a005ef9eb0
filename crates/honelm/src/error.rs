use std::path::PathBuf;

use honelm_backend::BackendError;
use honelm_bench::BenchError;
use honelm_blocks::BlockError;
use honelm_compress::CompressError;
use honelm_engine::EngineError;
use honelm_eval::EvalError;
use honelm_formats::FormatError;
use honelm_gpu::GpuError;
use honelm_model::ModelError;
use honelm_plan::PlanError;
use honelm_store::StoreError;
use honelm_text::TextError;

/// Everything that can go wrong, with a stable code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No model of that name.
    #[error("no model '{name}'; looked in {}", list(searched))]
    ModelNotFound {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// A text that cannot be used.
    #[error("{path}: {problem}")]
    Text {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The file system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A folder that holds other work.
    #[error("{}: holds the work on another model ({found}); choose another folder with -o, or replace it with --force", .path.display())]
    OtherModel {
        /// The folder.
        path: PathBuf,
        /// The model whose work it is.
        found: String,
    },
    /// A folder whose work was done with other options.
    #[error("{}: holds work on this model with other options or texts; use --restart to replace it, or another folder with -o", .path.display())]
    OtherOptions {
        /// The folder.
        path: PathBuf,
    },
    /// Another run works on the same output.
    #[error("{}: another run is working here", .path.display())]
    Busy {
        /// The output, or the folder of its unfinished work.
        path: PathBuf,
    },
    /// Encodings that cannot be had, where no others are allowed.
    #[error("{}; --strict allows no other encoding than the one asked for", problems.join("; "))]
    Fallback {
        /// What would be done instead, a sentence for each kind.
        problems: Vec<String>,
    },
    /// Options that contradict each other.
    #[error("{0}")]
    Usage(String),
    /// A measurement process failed.
    #[error("measuring {}: {problem}", .path.display())]
    Measure {
        /// The model measured.
        path: PathBuf,
        /// What it said.
        problem: String,
    },
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,
    /// An encoding cannot hold a value.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tokenizer or template.
    #[error(transparent)]
    Tokenizer(#[from] TextError),
    /// A device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// There is no GPU to run on.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A generation.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An evaluation.
    #[error(transparent)]
    Eval(EvalError),
    /// A compression.
    #[error(transparent)]
    Compress(CompressError),
    /// Kept work, or a model of the Hub.
    #[error(transparent)]
    Store(StoreError),
    /// A plan of memory.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A measurement.
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
            // What our own place for states said.
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
    /// Whether it is a device that refuses, so that another one may not.
    pub(crate) fn is_of_device(&self) -> bool {
        let of_model = |error: &ModelError| matches!(error, ModelError::Backend(_));
        match self {
            Self::Gpu(_) | Self::Backend(_) => true,
            Self::Model(error) | Self::Bench(BenchError::Model(error)) => of_model(error),
            _ => false,
        }
    }

    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ModelNotFound { .. } => "model-not-found",
            Self::Text { .. } => "invalid-text",
            Self::Io { .. } => "io",
            Self::OtherModel { .. } => "folder-of-another-model",
            Self::OtherOptions { .. } => "folder-of-other-options",
            Self::Busy { .. } => "folder-busy",
            Self::Fallback { .. } => "encoding-fallback",
            Self::Usage(_) => "usage",
            Self::Measure { .. } => "measurement-failed",
            Self::Interrupted => "interrupted",
            Self::Block(e) => e.code(),
            Self::Format(e) => e.code(),
            Self::Model(e) => e.code(),
            Self::Tokenizer(e) => e.code(),
            Self::Backend(e) => e.code(),
            Self::Gpu(e) => e.code(),
            Self::Engine(e) => e.code(),
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
