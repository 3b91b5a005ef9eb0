//! Sampling and generation over one erased model boundary.
//!
//! A [`Session`] owns a [`honelm_model::Runner`] and one sequence of it, and generates text after prompts, reusing what is cached of them.
//! A [`Chat`] turns a conversation into such prompts. No files, threads or clocks: time comes from a function that the
//! caller gives.
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
