//! Embeddings: `/v1/embeddings`, and what Ollama's endpoints share with it.
//!
//! Any model can embed a text: its final hidden states are pooled, as `--pooling` or else the model's files say, and scaled to
//! length 1. How much such a vector tells depends on the training of the model.

mod request;
mod response;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, TryStreamExt};
use honelm_engine::scale_to_one;

pub use request::CreateEmbeddings;
pub use response::{EmbeddingObject, EmbeddingUsage, Embeddings, Values};

use crate::app::{Shared, with_ignored};
use crate::job::{Embed, Job, Part, Prompt};
use crate::registry::Lease;
use crate::{Api, ApiError};

/// The number of texts that are given to the model at the same time.
const TOGETHER: usize = 8;

/// Returns the routes.
pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/v1/embeddings", post(|app, body| async { answered(create(app, body).await) }))
}

/// Returns a response, or that of an error.
fn answered(outcome: Result<Response, ApiError>) -> Response {
    outcome.unwrap_or_else(|error| Api::OpenAi.respond(&error))
}

async fn create(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<CreateEmbeddings>(body).await?;
    let CreateEmbeddings { model, input, encoding_format, dimensions, .. } = incoming.request;
    let as_base64 = match encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let found = format!("found {other:?}, expected \"float\" or \"base64\"");
            return Err(ApiError::invalid("encoding_format", found));
        }
    };
    let Some(input) = input else {
        return Err(ApiError::invalid("input", "found nothing, expected a text, tokens, or a list of them"));
    };
    let lease = app.registry.get(model.as_deref().unwrap_or_default(), None).await?;
    let how = How { dimensions: dimensions.map(|n| n.count()), truncate: false, normalise: true };
    let (vectors, tokens) = embed(&app, &lease, input.0, how).await?;
    let data = vectors.into_iter().enumerate().map(|(index, values)| {
        let embedding = if as_base64 { Values::Base64(encoded(&values)) } else { Values::Numbers(values) };
        EmbeddingObject { object: "embedding", index, embedding }
    });
    let prompt_tokens = tokens as u64;
    let response = Embeddings {
        object: "list",
        data: data.collect(),
        model: lease.card().name.clone(),
        usage: EmbeddingUsage { prompt_tokens, total_tokens: prompt_tokens },
    };
    Ok(with_ignored(Json(response).into_response(), incoming.ignored))
}

/// The form of embeddings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// The number of values; by default all.
    pub dimensions: Option<usize>,
    /// Cuts off what the context cannot hold.
    pub truncate: bool,
    /// Scales the vectors to length 1. Otherwise, they are scaled only if the model's files say so.
    pub normalise: bool,
}

/// Computes the embeddings of texts. Returns them with the number of tokens of all texts.
///
/// # Errors
/// 400 for no texts or too many, a text that is too long, or more dimensions than the model has.
pub(crate) async fn embed(
    app: &Shared,
    lease: &Lease,
    prompts: Vec<Prompt>,
    how: How,
) -> Result<(Vec<Vec<f32>>, usize), ApiError> {
    if prompts.is_empty() {
        return Err(ApiError::invalid("input", "found an empty list, expected at least one text"));
    }
    app.check_count("input", prompts.len())?;
    let own = lease.card().embedding;
    let pooling = app.config.pooling.or(own.map(|own| own.pooling)).unwrap_or_default();
    let how = How { normalise: how.normalise || own.is_some_and(|own| own.normalised), ..how };
    let embed = Embed { pooling, truncate: how.truncate };
    let jobs = prompts.into_iter().map(|prompt| {
        let job = Job { embed: Some(embed), ..Job::new(prompt, lease.card().generation.clone()) };
        one(lease, job)
    });
    let embedded: Vec<(Vec<f32>, usize)> = futures_util::stream::iter(jobs).buffered(TOGETHER).try_collect().await?;
    let tokens = embedded.iter().map(|(_, tokens)| tokens).sum();
    let vectors = embedded.into_iter().map(|(values, _)| cut(values, how)).collect::<Result<_, _>>()?;
    Ok((vectors, tokens))
}

/// Computes an embedding. Returns it with the number of tokens.
async fn one(lease: &Lease, job: Job) -> Result<(Vec<f32>, usize), ApiError> {
    let mut parts = lease.submit(job)?;
    let mut found = None;
    while let Some(part) = parts.next().await {
        match part {
            Part::Embedding { values, .. } => found = Some(values),
            Part::Failed(error) => return Err(error),
            Part::Done { usage, .. } => {
                if let Some(values) = found.take() {
                    return Ok((values, usage.prompt_tokens));
                }
            }
            _ => {}
        }
    }
    Err(ApiError::internal("model-stopped", "the model stopped before the embedding was complete"))
}

/// Returns the first values, scaled to length 1.
fn cut(mut values: Vec<f32>, how: How) -> Result<Vec<f32>, ApiError> {
    if let Some(dimensions) = how.dimensions {
        if dimensions > values.len() {
            let found = format!("found {dimensions}, expected at most {}, the width of the model", values.len());
            return Err(ApiError::invalid("dimensions", found));
        }
        values.truncate(dimensions);
    }
    if how.normalise {
        scale_to_one(&mut values);
    }
    Ok(values)
}

/// Returns the bytes of the values, lowest first, in base64.
fn encoded(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_cut_scaled_and_encoded() {
        let how = How { dimensions: Some(2), truncate: false, normalise: true };
        assert_eq!(cut(vec![3.0, 4.0, 12.0], how), Ok(vec![0.6, 0.8]));
        assert_eq!(cut(vec![0.0, 0.0], how), Ok(vec![0.0, 0.0]));
        assert_eq!(cut(vec![1.0], how).expect_err("refused").param.as_deref(), Some("dimensions"));
        assert_eq!(encoded(&[1.0, -2.0]), "AACAPwAAAMA=");
    }
}
