//! The binary as a user runs it.

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
mod shells;
mod tokenize;
