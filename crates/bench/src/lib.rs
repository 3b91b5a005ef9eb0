//! Measurements of a loaded model: loading, prefill, decoding, first token and memory.
//!
//! Only the model is timed, from token ids to logits. Tokenising and sampling are not included, as in llama-bench, except
//! that the first token of [`Speed`] includes its greedy choice.
#![forbid(unsafe_code)]

mod memory;
mod speed;
mod test;

pub use memory::{memory_bytes, peak_memory_bytes};
pub use speed::Speed;
pub use test::{Measurement, Rows, Test, in_turns, run, run_for};

/// The error of a measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The test needs a longer context.
    #[error("{test}: context too short: found {context} tokens, expected {wanted}; use --context or smaller tests")]
    ContextTooShort {
        /// The name of the test.
        test: String,
        /// The number of tokens that the test needs.
        wanted: usize,
        /// The number of tokens in the context.
        context: usize,
    },
    /// The test has no tokens, no batch or no repeats.
    #[error("empty test: expected prompt or generated tokens, and a batch and repeats of at least 1")]
    EmptyTest,
    /// An error of the model.
    #[error(transparent)]
    Model(#[from] honelm_model::ModelError),
    /// The caller stopped the measurement.
    #[error("interrupted")]
    Interrupted,
}

impl BenchError {
    /// Returns a stable name for programs.
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
