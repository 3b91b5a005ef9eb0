//! Generation of text with a loaded model: sampling, grammars, conversations.
//!
//! A [`Driver`] owns a [`honelm_model::Runner`] and generates any number of answers together. Answers that begin with the
//! same tokens share their cached keys and values. A [`Chat`] is a conversation, and a [`LoadedModel`] holds all that an
//! answer needs: it makes requests of conversations, with the grammar and the parser of each answer. [`Speculate`] lets a step
//! write several tokens of an answer. This crate uses no files, threads or clocks: the caller gives a function that returns the
//! time.
#![forbid(unsafe_code)]

mod answer;
mod ask;
mod cancel;
mod chat;
mod completion;
mod confidence;
mod constraint;
mod driver;
mod embedding;
mod error;
mod generation;
mod likelihood;
mod loaded;
mod prefixes;
mod raw_prompt;
mod repeats;
mod request;
pub mod sampling;
mod sampling_defaults;
mod speculative;
mod stop;
mod template;
mod text_stream;

pub use ask::ChatAsk;
pub use cancel::Cancel;
pub use chat::{Chat, rendered_ids};
pub use completion::{Completion, Delta, FinishReason, OnUpdate, TokenLogprobs, Update};
pub use confidence::{Agreement, Confidence, Samples};
pub use driver::{AnswerId, Clock, Counts, Driver, DriverOptions, Event};
pub use embedding::scale_to_one;
pub use error::EngineError;
pub use generation::{Generation, Overflow};
pub use honelm_model::{EmbeddingSettings, Pooling};
pub use likelihood::Likelihood;
pub use loaded::{LoadedModel, capabilities};
pub use raw_prompt::raw_prompt;
pub use request::Request;
pub use sampling_defaults::sampling_defaults;
pub use speculative::{Acceptance, Speculate, SpeculationCounts};
pub use template::PLAIN_TEMPLATE;
