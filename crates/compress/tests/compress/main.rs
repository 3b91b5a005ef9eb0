//! Compression of whole models.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod architectures;
mod common;
mod imatrix;
mod methods;
mod prune;
mod tune;
