//! Files, servers and models that mean harm: what is read, what reaches a terminal, and how long anything waits.

mod gguf;
mod reading;
mod terminal;
#[cfg(unix)]
mod waiting;
