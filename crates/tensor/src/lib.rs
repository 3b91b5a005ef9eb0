//! Shapes, element types, aligned buffers and matrices; no arithmetic.
//!
//! One alphabet is used in every comment and signature of the workspace: N rows of a step, S cached
//! tokens, D model width, H heads, G key-value heads, E head width, F feed-forward width,
//! V vocabulary; M N K for matrix products; g group size.
#![forbid(unsafe_code)]

mod aligned;
mod matrix;

pub use aligned::AlignedVec;
pub use bytes::Bytes;
pub use half::{bf16, f16};
pub use matrix::Matrix;
