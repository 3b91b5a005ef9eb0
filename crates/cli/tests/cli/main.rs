//! Tests that run the binary.

mod allocation;
mod bad_input;
mod bench;
mod commands;
mod common;
mod distil;
mod hostile;
mod optimize;
mod outputs;
mod prompt;
mod prune;
mod pull;
mod redact;
mod reference;
mod router;
mod run;
mod screen;
mod serve;
mod shells;
mod speculation;
mod tasks;
mod tokenize;
mod understanding;
mod usage;
