//! Whole models: values of transformers, invariance, containers, hostile files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod architectures;
mod common;
mod configurations;
mod containers;
mod distil;
mod hostile;
mod invariance;
mod labels;
mod machines;
mod made_up;
mod parts;
mod quantized;
mod reference;
mod remote;
mod rounded;
mod sentences;
mod steps;
mod tiny;
