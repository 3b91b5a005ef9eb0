//! An HTTP server for models on this machine, with the protocols of existing clients.
//!
//! A request becomes a [`Job`]. The [`Registry`] finds its model, and loads it if needed. The worker of the model, a thread of
//! its own, steps the answers of all jobs together and sends each job its [`Part`]s. A protocol is a folder of this crate: it
//! reads requests into jobs, and translates parts into its responses and streams ([`Translate`]).
//!
//! Every request passes [`security::Security`] before its body is read. All numbers of requests are types that are checked at
//! both ends ([`fields::Int`], [`fields::Num`]).
#![forbid(unsafe_code)]

pub mod anthropic;
pub mod app;
mod changing_line;
pub mod client;
pub mod config;
pub mod embeddings;
mod error;
pub mod fields;
mod files;
pub mod gateway;
mod http;
mod ids;
pub mod job;
pub mod json;
mod log;
pub mod messages;
pub mod metrics;
pub mod model;
pub mod ollama;
pub mod openai;
mod openapi;
mod patience;
pub mod provenance;
pub mod registry;
pub mod responses;
mod routes;
pub mod security;
mod server;
mod settings;
mod status;
pub mod stream;
mod tokens;
pub mod tools;
pub mod turns;
pub mod understanding;
pub mod web;
mod worker;

pub use config::{Config, Limits, LogFormat};
pub use error::{Api, ApiError};
pub use files::Files;
pub use gateway::Gateway;
pub use job::{Choice, Finish, Job, Part, Parts, Prompt, Resumed, StepTimes, TokenLogprob, Usage, collect};
pub use openapi::document;
pub use registry::{Lease, Loader, Registry};
pub use server::{Server, models, terminated};
pub use settings::Settings;
pub use stream::{Frames, Translate};
