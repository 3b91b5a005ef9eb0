//! Tests of the whole library.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod calibrations;
mod changed;
mod containers;
mod distil;
mod embed;
mod evaluation;
mod examples;
mod pipeline;
mod prompt_cache;
mod prune;
mod quantize;
mod report;
mod resume;
mod session;
mod small;
mod support;
mod tasks;
mod understanding;
