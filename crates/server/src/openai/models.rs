//! `/v1/models`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answered;
use crate::app::Shared;
use crate::registry::Known;
use crate::{ApiError, anthropic};

/// The age from which the list of models is read again.
const FRESH: Duration = Duration::from_secs(10);

pub async fn list(State(app): State<Shared>, headers: HeaderMap) -> Response {
    app.registry.refresh(FRESH).await;
    if anthropic::is_client(&headers) {
        return anthropic::models(&app.registry.known());
    }
    let data: Vec<Value> = app.registry.known().iter().map(entry).collect();
    Json(json!({"object": "list", "data": data})).into_response()
}

pub async fn one(State(app): State<Shared>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    answered(find(&app, &name, &headers).await)
}

async fn find(app: &Shared, name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let found = app.registry.name_of(name).await?;
    let known = app.registry.known().into_iter().find(|known| known.name == found);
    let known = known.ok_or_else(|| ApiError::no_model(name))?;
    if anthropic::is_client(headers) {
        return Ok(Json(anthropic::ModelInfo::from(&known)).into_response());
    }
    Ok(Json(entry(&known)).into_response())
}

fn entry(known: &Known) -> Value {
    let created = known.path.as_ref().and_then(|path| path.metadata().ok()?.modified().ok());
    let created = created.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let card = known.card.as_deref();
    json!({
        "id": known.name,
        "object": "model",
        "created": created.map_or(0, |time| time.as_secs()),
        "owned_by": "honelm",
        "loaded": card.is_some(),
        "size_bytes": known.size_bytes,
        "context_length": card.map(|card| card.context),
        "max_model_len": card.map(|card| card.context),
        "architecture": card.map(|card| &card.architecture),
        "capabilities": card.map(|card| card.capabilities()),
    })
}
