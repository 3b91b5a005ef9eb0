//! Measurements of a model: speed and memory, perplexity, and differences between two models.

mod bench;
mod divergence;
mod evaluate;
mod original;
mod speed;
mod windows;

pub use bench::{BenchModel, BenchOptions, BenchRow, PlacedOperation, TimedKernel, benchmark};
pub use divergence::{DivergeOptions, Divergence, LayerDifference, WeightDifference, diverge};
pub use evaluate::{Differences, EvaluateOptions, Evaluation, evaluate};
pub use speed::measure;

pub(crate) use original::{Original, States};
pub(crate) use windows::{Windows, context_of};
