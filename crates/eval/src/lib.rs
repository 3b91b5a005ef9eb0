//! Perplexity protocols, divergence from the original, and the budget gate.
//!
//! [`Protocol::windows`] cuts a tokenised text into [`Window`]s, [`score`] runs a model over them, [`compare`] does so
//! beside the kept hidden states of the original, and [`judge`] applies a budget to the paired per-token differences.
#![forbid(unsafe_code)]

mod bootstrap;
mod compare;
mod error;
mod gate;
mod overlap;
mod protocol;
mod rows;
mod score;

pub use bootstrap::{Bounds, RESAMPLES, bootstrap};
pub use compare::{Baseline, Comparison, compare};
pub use error::EvalError;
pub use gate::{Figures, MIN_CHUNKS, Verdict, figures, hopeless, judge};
pub use overlap::{MAX_OVERLAP, NGRAM, overlap};
pub use protocol::{Protocol, Window};
pub use score::{Perplexity, Scores, perplexity, score};
