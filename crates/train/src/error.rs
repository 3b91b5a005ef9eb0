use honelm_backend::BackendError;
use honelm_model::ModelError;

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
}

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
        }
    }
}
