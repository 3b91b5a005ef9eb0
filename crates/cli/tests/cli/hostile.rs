//! Malicious files, servers and models: what is read, what reaches a terminal, and how long the program waits.

mod gguf;
mod reading;
mod terminal;
#[cfg(unix)]
mod waiting;
