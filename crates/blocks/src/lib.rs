#![doc = include_str!("../README.md")]
//!
//! # Structure
//!
//! Each encoding has a file with its layout, its decoder and its encoder, which together form a `CODEC`. A new encoding
//! needs such a file, a `mod` line here, and a line in the table of `encoding.rs`.
#![forbid(unsafe_code)]

mod base;
mod bias_groups;
mod block_grid;
mod codec;
mod e4m3;
mod encoding;
mod error;
mod grid;
mod group;
mod int_groups;
mod iq1;
mod k_min;
mod k_quant;
mod lattice;
mod scale_type;
mod scaled;
mod search;
mod superblock_grid;
mod table;
mod table_grid;
mod two_level;
mod weight;

mod bf16;
mod f16;
mod f32;
mod fp8;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod nvfp4;
mod q1_0;
mod q2_0;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod tq1_0;
mod tq2_0;

pub use bias_groups::BiasGroups;
pub use encoding::Encoding;
pub use error::BlockError;
pub use grid::{Grid, GroupParams};
pub use group::{GroupMatrix, Zeros};
pub use int_groups::{Fit, IntGroups};
pub use scale_type::ScaleType;
pub use two_level::{SuperblockScales, TwoLevel};
pub use weight::{BlockMatrix, WeightData};
