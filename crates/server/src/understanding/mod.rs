//! Labels and facts of texts: `/v1/classify` and `/v1/extract`. Both are answered by the model on this machine alone, under a
//! gateway too.

mod classify;
mod extract;
mod request;
mod response;

use axum::Router;
use axum::response::Response;
use axum::routing::post;

pub use request::{ClassifyTexts, ExampleObject, ExtractFacts, LabelObject};
pub use response::{
    Classifications, ClassifiedText, ExtractedText, Extractions, MentionObject, ScoreObject, TextUsage,
};

use crate::app::Shared;
use crate::{Api, ApiError};

/// The number of prompts of a request that are given to the model at the same time.
const TOGETHER: usize = 8;

/// Returns the routes.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/classify", post(|app, body| async { answered(classify::create(app, body).await) }))
        .route("/v1/extract", post(|app, body| async { answered(extract::create(app, body).await) }))
}

/// Returns a response, or that of an error.
fn answered(outcome: Result<Response, ApiError>) -> Response {
    outcome.unwrap_or_else(|error| Api::OpenAi.respond(&error))
}
