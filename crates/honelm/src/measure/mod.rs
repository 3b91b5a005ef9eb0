//! Measurements of a model: speed and memory, perplexity, differences between two models, and the cost of rounded activations.

mod activations;
mod bench;
mod cache;
mod chunks;
mod divergence;
mod evaluate;
mod heldout;
mod original;
mod speculation;
mod speed;

pub use activations::{ActivationOptions, ActivationReport, StageInputs, StageLoss, activations};
pub use bench::{
    BenchModel, BenchOptions, BenchRow, CeilingRow, Cpus, PlacedOperation, SustainedOutcome, TimedKernel,
    bench_sustained, benchmark,
};
pub use cache::StatesCache;
pub use divergence::{DivergeOptions, Divergence, LayerDifference, WeightDifference, diverge};
pub use evaluate::{Differences, EvaluateOptions, Evaluation, evaluate};
pub use speculation::{SpeculationOptions, SpeculationRow, StepCost, speculation};
pub use speed::measure;

pub(crate) use cache::{Home, states_key};
pub(crate) use chunks::{ChunkedText, context_of};
pub(crate) use heldout::Heldout;
pub(crate) use original::{Lazy, Measured, Original, States, answers};
