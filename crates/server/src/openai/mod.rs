//! OpenAI's protocol: chat completions, completions, models.

mod chat;
mod completions;
pub(crate) mod logprobs;
mod models;
mod prompts;
mod sampling;
mod verify;

pub use chat::ChatRequest;
pub use completions::{InfillRequest, TextRequest};
pub use prompts::Prompts;
pub(crate) use verify::{VERSION as VERIFY_VERSION, verifies};
pub use verify::{Verified, VerifiedSeconds, VerifiedUsage, VerifyRequest};

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::app::Shared;
use crate::{Api, ApiError, Finish, Usage};

/// Returns the routes.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/infill", post(completions::infill))
        .route("/v1/honelm/verify", post(verify::create))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
}

/// Returns a response, or that of an error.
fn answered(outcome: Result<Response, ApiError>) -> Response {
    outcome.unwrap_or_else(|error| Api::OpenAi.respond(&error))
}

/// Returns the name of the reason for an end.
fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopText(_) | Finish::Cancelled | Finish::Paused => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

/// Returns the numbers of tokens of a request with these answers. Its prompts count once each; `answers` holds the usage of
/// every answer, those of one prompt together.
fn usage(prompts: &[Vec<Usage>]) -> Value {
    let first = |of: fn(&Usage) -> usize| -> usize { prompts.iter().filter_map(|of_one| of_one.first()).map(of).sum() };
    let (prompt, cached) = (first(|usage| usage.prompt_tokens), first(|usage| usage.cached_tokens));
    let completion: usize = prompts.iter().flatten().map(|usage| usage.completion_tokens).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}
