//! The models in the form of Anthropic's API, for its clients.

use std::time::SystemTime;

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::ids::rfc3339;
use crate::registry::Known;

/// The list of models.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ModelInfos {
    /// The models.
    pub data: Vec<ModelInfo>,
    /// The id of the first model.
    pub first_id: Option<String>,
    /// The id of the last model.
    pub last_id: Option<String>,
    /// `false`: all models are returned.
    pub has_more: bool,
}

/// A model.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ModelInfo {
    /// The name.
    pub id: String,
    /// `model`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The name.
    pub display_name: String,
    /// The time of the model's file in RFC 3339.
    pub created_at: String,
    /// `active`.
    pub lifecycle: &'static str,
    /// The most tokens of prompt and answer together, once the model is loaded.
    pub max_input_tokens: Option<usize>,
}

impl From<&Known> for ModelInfo {
    fn from(known: &Known) -> Self {
        let modified = known.path.as_ref().and_then(|path| path.metadata().ok()?.modified().ok());
        Self {
            id: known.name.clone(),
            kind: "model",
            display_name: known.name.clone(),
            created_at: rfc3339(modified.unwrap_or(SystemTime::UNIX_EPOCH)),
            lifecycle: "active",
            max_input_tokens: known.card.as_ref().map(|card| card.context),
        }
    }
}

/// Returns `true` for a request of Anthropic's clients, which shares its path with OpenAI's.
pub(crate) fn is_client(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// Returns the list of models.
pub(crate) fn models(known: &[Known]) -> Response {
    let data: Vec<ModelInfo> = known.iter().map(ModelInfo::from).collect();
    let id = |model: Option<&ModelInfo>| model.map(|model| model.id.clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Json(ModelInfos { data, first_id, last_id, has_more: false }).into_response()
}
