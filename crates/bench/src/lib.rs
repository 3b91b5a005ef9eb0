//! Load, prefill, decode, first token and memory of a loaded model.
//!
//! Timed is the model alone: from handing over token ids to having logits. Tokenising and sampling are left out, as in
//! llama-bench; the first token of [`Speed`] includes choosing it greedily.
#![forbid(unsafe_code)]

mod memory;
mod speed;
mod test;

pub use memory::peak_memory_bytes;
pub use speed::Speed;
pub use test::{Measurement, Test, run};

/// Why a measurement cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A test that does not fit.
    #[error("{test} needs {wanted} tokens of context, the model has {context} here; use --context or smaller tests")]
    ContextTooShort {
        /// Name of the test.
        test: String,
        /// Tokens needed.
        wanted: usize,
        /// Tokens there are.
        context: usize,
    },
    /// A test without tokens or steps.
    #[error("a test needs prompt or generated tokens, a batch and repeats of at least 1")]
    EmptyTest,
    /// The model refused.
    #[error(transparent)]
    Model(#[from] honelm_model::ModelError),
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,
}

impl BenchError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ContextTooShort { .. } => "context-too-short",
            Self::EmptyTest => "empty-test",
            Self::Model(e) => e.code(),
            Self::Interrupted => "interrupted",
        }
    }
}
