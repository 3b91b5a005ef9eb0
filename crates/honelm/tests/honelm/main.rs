//! Tests of the whole library.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod changed;
mod evaluation;
mod examples;
mod instruction_sets;
mod quantize;
mod report;
mod resume;
mod session;
mod small;
mod support;
