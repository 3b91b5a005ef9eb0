//! Upstreams: their requests, and their answers as pieces.

mod anthropic;
mod connection;
mod http;
mod openai;
mod sse;

use std::time::Duration;

use honelm_gateway::accounting;
use honelm_gateway::policy::{Api, Failure, Upstream as Settings};
use serde_json::Value;

pub(crate) use http::{Endpoint, tls};

use crate::job::{Finish, Job, TokenLogprob};

/// A piece of an upstream's answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// Text.
    Text { choice: usize, text: String, logprobs: Vec<TokenLogprob> },
    /// Reasoning.
    Reasoning { choice: usize, text: String },
    /// A complete call of a tool; the arguments are JSON text.
    Call { choice: usize, id: String, name: String, arguments: String },
    /// An answer is complete.
    Finish { choice: usize, finish: Finish },
    /// The numbers of tokens so far.
    Usage(accounting::Usage),
    /// Something came that is not complete yet.
    Progress,
}

/// An answer that breaks the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// The reader of an answer in one API.
pub(crate) trait Read: Send {
    /// Reads an event.
    fn event(&mut self, event: &sse::Event) -> Result<Vec<Piece>, Broken>;

    /// Returns `true` if all answers are complete.
    fn is_complete(&self) -> bool;

    /// Returns `true` if nothing follows.
    fn has_ended(&self) -> bool;
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// The kind, which decides about retries.
    pub failure: Failure,
    /// The time that the upstream asks to wait.
    pub retry_after: Option<Duration>,
}

impl Failed {
    /// Creates a failure without a time to wait.
    pub fn new(failure: Failure) -> Self {
        Self { failure, retry_after: None }
    }

    /// Returns a stable name.
    pub fn code(&self) -> &'static str {
        match self.failure {
            Failure::Connect => "unreachable",
            Failure::Timeout => "silent",
            Failure::Broken => "broken-off",
            Failure::Status(429) => "rate-limited",
            Failure::Status(401 | 403) => "unauthorized",
            Failure::Status(500..) => "server-error",
            Failure::Status(_) => "refused",
        }
    }
}

/// Returns `true` if an API can express a job.
pub(crate) fn can_express(api: Api, job: &Job) -> bool {
    api == Api::OpenAi || (job.choices == 1 && job.given.logprobs.is_none())
}

/// Returns the body of the request of a job. `answer_tokens` is the most that the answer may have.
pub(crate) fn body(to: &Settings, job: &Job, answer_tokens: Option<u64>) -> Value {
    match to.api {
        Api::OpenAi => openai::body(to, job, answer_tokens),
        Api::Anthropic => anthropic::body(to, job, answer_tokens),
    }
}

/// Returns the reader of the answers to a job.
pub(crate) fn reader(api: Api, choices: usize) -> Box<dyn Read> {
    match api {
        Api::OpenAi => Box::new(openai::Reader::new(choices)),
        Api::Anthropic => Box::new(anthropic::Reader::default()),
    }
}

/// Returns the text of a call's arguments: an object that a chat template would write, or text.
fn arguments_text(arguments: &Value) -> String {
    match arguments {
        Value::Null => "{}".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
