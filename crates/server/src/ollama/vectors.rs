//! Embeddings: `/api/embed` and the older `/api/embeddings`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::lines::nanoseconds;
use super::ready;
use super::request::{EmbedRequest, EmbeddingsRequest};
use super::response::{EmbedResponse, EmbeddingsResponse};
use crate::ApiError;
use crate::app::{Shared, with_ignored};
use crate::embeddings::{self, How};
use crate::fields::OneOrMany;
use crate::job::Prompt;

pub(super) async fn embed(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<EmbedRequest>(body).await?;
    let request = incoming.request;
    let ready = ready(&app, request.model.as_deref(), request.keep_alive.as_ref()).await?;
    let texts = request.input.map(OneOrMany::into_vec).unwrap_or_default();
    let (embeddings, tokens) = if texts.is_empty() {
        // The model is loaded.
        (Vec::new(), 0)
    } else {
        let how = How {
            dimensions: request.dimensions.map(|n| n.count()),
            truncate: request.truncate != Some(false),
            normalise: true,
        };
        embeddings::embed(&app, &ready.lease, texts.into_iter().map(Prompt::Text).collect(), how).await?
    };
    let response = EmbedResponse {
        model: ready.lease.card().name.clone(),
        embeddings,
        total_duration: nanoseconds(ready.received.elapsed().as_secs_f64()),
        load_duration: nanoseconds(ready.load_seconds),
        prompt_eval_count: tokens as u64,
    };
    Ok(with_ignored(Json(response).into_response(), incoming.ignored))
}

pub(super) async fn embeddings(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<EmbeddingsRequest>(body).await?;
    let request = incoming.request;
    let ready = ready(&app, request.model.as_deref(), request.keep_alive.as_ref()).await?;
    let embedding = match request.prompt.filter(|prompt| !prompt.is_empty()) {
        None => Vec::new(),
        Some(prompt) => {
            let how = How { dimensions: None, truncate: true, normalise: false };
            let (vectors, _) = embeddings::embed(&app, &ready.lease, vec![Prompt::Text(prompt)], how).await?;
            vectors.into_iter().next().unwrap_or_default()
        }
    };
    Ok(with_ignored(Json(EmbeddingsResponse { embedding }).into_response(), incoming.ignored))
}
