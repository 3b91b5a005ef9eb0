use honelm_backend::BackendError;
use honelm_blocks::BlockError;
use honelm_model::{ModelError, Slot};

/// An error of training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An error of the model or of its weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A loss or a gradient that is NaN or infinite.
    #[error("{what} is {value}, expected a finite number; try a lower learning rate")]
    NotFinite {
        /// The quantity.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A batch without a token from which to learn.
    #[error("found no token to train on, expected at least one sequence with a token")]
    NoTokens,
    /// A pair of layers for a loss of hidden states that cannot be compared.
    #[error("hidden states of layer {} of the student and layer {} of the teacher: {problem}", .pair[0] + 1, .pair[1] + 1)]
    Layers {
        /// The layers of the student and of the teacher, from 0.
        pair: [usize; 2],
        /// The problem.
        problem: String,
    },
    /// A trained value that the type in which it is stored cannot hold.
    #[error("layer {:?}, {}: {source}", .slot.layer, .slot.module)]
    Weight {
        /// The parameter.
        slot: Slot,
        /// The problem.
        source: BlockError,
    },
    /// Saved work that is absent or damaged.
    #[error("the saved work '{entry}' is missing or damaged; run again to repeat it")]
    Lost {
        /// The entry.
        entry: String,
    },
    /// Work that could not be saved or read back.
    #[error(transparent)]
    Saves(#[from] SaveError),
    /// A stop by the caller.
    #[error("interrupted")]
    Interrupted,
}

/// An error of a [`crate::Saves`].
pub type SaveError = Box<dyn std::error::Error + Send + Sync>;

impl From<BackendError> for TrainError {
    fn from(error: BackendError) -> Self {
        Self::Model(error.into())
    }
}

impl TrainError {
    /// Returns a stable code in kebab case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model(e) => e.code(),
            Self::NotFinite { .. } => "training-not-finite",
            Self::NoTokens => "no-training-tokens",
            Self::Layers { .. } => "layers-not-comparable",
            Self::Weight { source, .. } => source.code(),
            Self::Lost { .. } => "journal-damaged",
            Self::Saves(_) => "work-not-saved",
            Self::Interrupted => "interrupted",
        }
    }
}
