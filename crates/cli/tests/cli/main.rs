//! Tests that run the binary.

mod allocation;
mod bad_input;
mod commands;
mod common;
mod hostile;
mod optimize;
mod outputs;
mod prompt;
mod pull;
mod reference;
mod run;
mod screen;
mod shells;
mod tasks;
mod tokenize;
