//! Weight encodings: known answers, grids, matrices, quantisation.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;
mod golden;
mod grids;
mod matrices;
mod quantize;
