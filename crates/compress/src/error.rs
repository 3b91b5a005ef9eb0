use honelm_blocks::BlockError;
use honelm_model::ModelError;
use honelm_store::StoreError;

/// Why a model cannot be compressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// A calibration text with too few tokens.
    #[error("the calibration text has {found} tokens, one sample needs {wanted}")]
    CalibrationTooShort {
        /// Tokens found.
        found: usize,
        /// Tokens of one sample.
        wanted: usize,
    },
    /// A line of a calibration file that is not what it should be.
    #[error("line {line} of the calibration text: {problem}")]
    CalibrationLine {
        /// Line number, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A weight that cannot be encoded.
    #[error("{name}: {source}")]
    Weight {
        /// The tensor's name.
        name: String,
        /// Why.
        source: BlockError,
    },
    /// A target that a method or container cannot make.
    #[error("{0}")]
    Unsupported(String),
    /// Kept work of this job that cannot be read back.
    #[error("kept work '{entry}': {problem}; run again to make it anew")]
    Journal {
        /// The entry.
        entry: String,
        /// What is wrong.
        problem: String,
    },
    /// A written model that is not what was to be made.
    #[error("{file}: {tensor} is {found}, not {expected} as planned: nothing was published; run again")]
    NotAsPlanned {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// How it is encoded.
        found: String,
        /// How it was to be.
        expected: String,
    },
    /// The model refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Work could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,
}

impl CompressError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::CalibrationTooShort { .. } => "calibration-too-short",
            Self::CalibrationLine { .. } => "calibration-line",
            Self::Weight { source, .. } => source.code(),
            Self::Unsupported(_) => "unsupported-target",
            Self::Journal { .. } => "journal-damaged",
            Self::NotAsPlanned { .. } => "not-as-planned",
            Self::Model(e) => e.code(),
            Self::Store(e) => e.code(),
            Self::Interrupted => "interrupted",
        }
    }
}
