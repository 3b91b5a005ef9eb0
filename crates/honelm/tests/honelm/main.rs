//! The library as a whole.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod changed;
mod evaluation;
mod examples;
mod instruction_sets;
mod kept;
mod quantize;
mod session;
mod small;
mod support;
