//! Gradients against finite differences, losses, the optimiser, and the numbers of quantised matrices.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fit;
mod losses;
mod models;
mod numbers;
mod operations;
mod optimizer;
