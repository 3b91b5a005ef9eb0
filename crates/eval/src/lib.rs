#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod beside;
mod bootstrap;
#[cfg(not(target_arch = "wasm32"))]
mod compare;
mod comparison;
mod error;
mod gate;
mod overlap;
mod protocol;
mod rows;
#[cfg(not(target_arch = "wasm32"))]
mod score;
mod scores;

pub use beside::compare_beside;
pub use bootstrap::{Bounds, RESAMPLES, bootstrap};
#[cfg(not(target_arch = "wasm32"))]
pub use compare::{Baseline, Pieces, compare};
pub use comparison::{CLEAR_MARGIN, Comparison};
pub use error::{EvalError, PieceError};
pub use gate::{Figures, MIN_CHUNKS, Verdict, figures, hopeless, judge};
pub use overlap::{MAX_OVERLAP, NGRAM, overlap};
pub use protocol::{Chunk, Protocol};
#[cfg(not(target_arch = "wasm32"))]
pub use score::score;
pub use scores::{Perplexity, Scores, perplexity};
