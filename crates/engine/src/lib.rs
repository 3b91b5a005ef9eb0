//! Sampling and generation of text with a loaded model.
//!
//! A [`Driver`] owns a [`honelm_model::Runner`] and generates any number of answers together. Answers that begin with the
//! same tokens share their cached keys and values. A [`Chat`] turns a conversation into requests, and a [`LoadedModel`]
//! holds all that an answer needs. This crate uses no files, threads or clocks: the caller gives a function that returns the
//! time.
#![forbid(unsafe_code)]

mod answer;
mod cancel;
mod chat;
mod completion;
mod driver;
mod error;
mod generation;
mod loaded;
mod prefixes;
mod raw_prompt;
mod request;
pub mod sampling;
mod sampling_defaults;
mod stop;
mod text_stream;

pub use cancel::Cancel;
pub use chat::{Chat, PLAIN_TEMPLATE, rendered_ids};
pub use completion::{Completion, Delta, FinishReason, OnUpdate, TokenLogprobs, Update};
pub use driver::{AnswerId, Clock, Counts, Driver, DriverOptions, Event};
pub use error::EngineError;
pub use generation::{Generation, Overflow};
pub use loaded::LoadedModel;
pub use raw_prompt::raw_prompt;
pub use request::Request;
pub use sampling_defaults::sampling_defaults;
pub use text_stream::Thinking;
