//! Aligned buffers and matrices of 32-bit floats.
//!
//! Comments and signatures throughout the workspace use one set of letters: N rows of a step, S cached tokens, D
//! model width, H heads, G key-value heads, E head width, F feed-forward width, V vocabulary size; M, N and K for
//! matrix products; g group size.
#![forbid(unsafe_code)]

mod aligned;
mod matrix;

pub use aligned::AlignedVec;
pub use bytes::Bytes;
pub use half::{bf16, f16};
pub use matrix::Matrix;
