//! Weight encodings: scalar quantise and dequantise ARE the specification.
//!
//! One file per encoding. [`Encoding`] names the row-wise block encodings (floats are blocks of one
//! value); [`GroupMatrix`] is the one canonical form of every integer-group checkpoint (GPTQ, AWQ,
//! MLX, ...); [`WeightData`] is what a weight carries through loading, back ends and export;
//! [`Grid`] is what error-feeding quantisers write onto.
//!
//! Adding an encoding: one file with its `CODEC` (and a `mod` line here), one row of the table in
//! `encoding.rs`.
#![forbid(unsafe_code)]

mod block_grid;
mod codec;
mod encoding;
mod error;
mod grid;
mod group;
mod int_groups;
mod scale_type;
mod search;
mod weight;

mod bf16;
mod f16;
mod f32;
mod k_quant;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q6_k;
mod q8_0;

pub use encoding::Encoding;
pub use error::BlockError;
pub use grid::{Grid, GroupParams};
pub use group::{GroupMatrix, Zeros};
pub use int_groups::{Fit, IntGroups};
pub use scale_type::ScaleType;
pub use weight::{BlockMatrix, WeightData};
