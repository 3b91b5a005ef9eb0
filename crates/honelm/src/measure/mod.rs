//! Measurements of a model: speed and memory, perplexity, and differences between two models.

mod bench;
mod chunks;
mod divergence;
mod evaluate;
mod original;
mod speed;

pub use bench::{BenchModel, BenchOptions, BenchRow, PlacedOperation, TimedKernel, benchmark};
pub use divergence::{DivergeOptions, Divergence, LayerDifference, WeightDifference, diverge};
pub use evaluate::{Differences, EvaluateOptions, Evaluation, evaluate};
pub use speed::measure;

pub(crate) use chunks::{ChunkedText, context_of};
pub(crate) use original::{Original, States};
