#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod accuracy;
mod beside;
mod bootstrap;
mod budget;
#[cfg(not(target_arch = "wasm32"))]
mod compare;
mod comparison;
mod error;
mod gate;
#[cfg(not(target_arch = "wasm32"))]
mod likelihood;
mod overlap;
mod protocol;
mod rows;
#[cfg(not(target_arch = "wasm32"))]
mod score;
mod scores;

pub use accuracy::{Accuracy, MIN_ITEMS, Retained, accuracy, retained};
pub use beside::compare_beside;
pub use bootstrap::{Bounds, RESAMPLES, bootstrap};
pub use budget::Budget;
#[cfg(not(target_arch = "wasm32"))]
pub use compare::{Baseline, Pieces, compare};
pub use comparison::{CLEAR_MARGIN, Comparison};
pub use error::{EvalError, PieceError};
pub use gate::{Figures, MIN_CHUNKS, Verdict, figures, hopeless, judge, judge_bound};
#[cfg(not(target_arch = "wasm32"))]
pub use likelihood::{Continuations, Likelihood, likelihoods};
pub use overlap::{MAX_OVERLAP, NGRAM, overlap};
pub use protocol::{Chunk, Protocol};
pub use rows::{divergences, mean_nll};
#[cfg(not(target_arch = "wasm32"))]
pub use score::score;
pub use scores::{Perplexity, Scores, perplexity};
