//! Errors of compression.

use honelm_blocks::BlockError;
use honelm_model::ModelError;
use honelm_store::StoreError;

/// An error of compression.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// A calibration text with too few tokens.
    #[error("the calibration text is too short: found {found} tokens, expected at least {wanted} (one sample)")]
    CalibrationTooShort {
        /// The number of tokens found.
        found: usize,
        /// The number of tokens per sample.
        wanted: usize,
    },
    /// A weight that cannot be encoded.
    #[error("{name}: {source}")]
    Weight {
        /// The tensor's name.
        name: String,
        /// The reason.
        source: BlockError,
    },
    /// A step of a recipe that cannot be used.
    #[error("step {step} ({kind}) of the recipe: {problem}")]
    Recipe {
        /// The step's number, from 1.
        step: usize,
        /// Its method.
        kind: String,
        /// The problem.
        problem: String,
    },
    /// A recipe's file that cannot be used.
    #[error("{file}: {problem}")]
    RecipeFile {
        /// The file, or the recipe's name.
        file: String,
        /// The problem.
        problem: String,
    },
    /// Inputs of a layer that are not finite, or so large that their squares overflow.
    #[error(
        "layer {layer}, {modules}: column {column} of the inputs has a value that is not finite or beyond 1e15; the model cannot be calibrated on this text"
    )]
    Inputs {
        /// The layer's number, from 0.
        layer: usize,
        /// The modules with these inputs.
        modules: String,
        /// The first column with such a value.
        column: usize,
    },
    /// An importance matrix that does not fit the model.
    #[error("{file}: {tensor}: {problem}; the importance matrix belongs to another model")]
    Imatrix {
        /// The file of the importance matrix.
        file: String,
        /// The name of the weight in GGUF.
        tensor: String,
        /// The problem.
        problem: String,
    },
    /// Training that cannot go on.
    #[error("{0}")]
    Training(String),
    /// A combination of recipe, target and text that cannot be used.
    #[error("{0}")]
    Unsupported(String),
    /// A journal entry of this job that cannot be read back.
    #[error("saved work '{entry}': {problem}; run again to repeat that part")]
    Journal {
        /// The entry.
        entry: String,
        /// The problem.
        problem: String,
    },
    /// A written model that differs from the plan.
    #[error("{file}: {tensor}: found {found}, expected {expected}; nothing was published, run again")]
    NotAsPlanned {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The encoding found.
        found: String,
        /// The planned encoding.
        expected: String,
    },
    /// An error of the model or its back end.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Work that could not be saved.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stop by the caller.
    #[error("interrupted")]
    Interrupted,
}

impl CompressError {
    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::CalibrationTooShort { .. } => "calibration-too-short",
            Self::Weight { source, .. } => source.code(),
            Self::Recipe { .. } | Self::RecipeFile { .. } => "recipe",
            Self::Inputs { .. } => "inputs-not-finite",
            Self::Imatrix { .. } => "imatrix-of-another-model",
            Self::Training(_) => "training",
            Self::Unsupported(_) => "unsupported-target",
            Self::Journal { .. } => "journal-damaged",
            Self::NotAsPlanned { .. } => "not-as-planned",
            Self::Model(e) => e.code(),
            Self::Store(e) => e.code(),
            Self::Interrupted => "interrupted",
        }
    }
}

#[cfg(feature = "tune")]
impl From<honelm_train::TrainError> for CompressError {
    fn from(error: honelm_train::TrainError) -> Self {
        match error {
            honelm_train::TrainError::Model(error) => Self::Model(error),
            honelm_train::TrainError::Interrupted => Self::Interrupted,
            honelm_train::TrainError::Saves(source) => match source.downcast::<StoreError>() {
                Ok(error) => Self::Store(*error),
                Err(other) => Self::Training(other.to_string()),
            },
            other => Self::Training(other.to_string()),
        }
    }
}
