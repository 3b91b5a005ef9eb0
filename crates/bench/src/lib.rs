//! Measurements of a loaded model: loading, prefill, decoding, first token, memory and energy, beside the limits of the machine;
//! long runs, and the comparison of saved records.
//!
//! Only the model is timed, from token ids to logits. Tokenising and sampling are not included, as in llama-bench, except
//! that a first token includes its greedy choice.
#![forbid(unsafe_code)]

mod ceilings;
mod compare;
mod energy;
mod interval;
mod limits;
#[cfg(test)]
mod made_up;
mod memory;
mod records;
mod sensors;
mod speed;
mod sustained;
mod test;

pub use ceilings::{Bound, Ceilings, Limit, Products, Work};
pub use compare::{Comparison, Difference, MARGIN, Pairing, Verdict, compare};
pub use energy::Energy;
pub use interval::Interval;
pub use limits::cpu_limit;
pub use memory::{PeakMemory, memory_bytes, peak_memory_bytes};
pub use records::{Figure, FigureKind, RECORD_VERSION, Record};
pub use sensors::{Origin, Origins, Reading, Sensors};
pub use speed::Speed;
pub use sustained::{Second, Sustained, SustainedFigures, SustainedOptions, sustained};
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
    /// A file is no record of a measurement that can be compared.
    #[error("{name}: {problem}")]
    InvalidRecord {
        /// The file.
        name: String,
        /// The place, what was found and what was expected.
        problem: String,
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
            Self::InvalidRecord { .. } => "invalid-measurement",
            Self::EmptyTest => "empty-test",
            Self::Model(e) => e.code(),
            Self::Interrupted => "interrupted",
        }
    }
}
