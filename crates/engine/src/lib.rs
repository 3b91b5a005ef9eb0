//! Sampling and generation of text with a loaded model.
//!
//! A [`Session`] owns a [`honelm_model::Runner`] and one sequence of it, and generates text after prompts. It reuses the
//! cached tokens that a prompt begins with. A [`Chat`] turns a conversation into prompts. This crate uses no files, threads
//! or clocks: the caller gives a function that returns the time.
#![forbid(unsafe_code)]

mod chat;
mod error;
mod generation;
mod raw_prompt;
pub mod sampling;
mod sampling_defaults;
mod session;
mod stop;

pub use chat::{Chat, OnPiece, OnPieces, PLAIN_TEMPLATE, Reply, rendered_ids};
pub use error::EngineError;
pub use generation::{Completion, FinishReason, Generation, Overflow, TokenLogprobs, Update};
pub use raw_prompt::raw_prompt;
pub use sampling_defaults::sampling_defaults;
pub use session::{Clock, OnUpdate, Session};
