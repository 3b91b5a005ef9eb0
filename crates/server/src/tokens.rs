//! `/tokenize`, `/detokenize` and `/apply-template`.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use honelm_engine::{LoadedModel, PLAIN_TEMPLATE};
use honelm_text::{ChatTemplate, EncodeOptions, Message, RenderOptions, TextError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::app::{Shared, with_ignored};
use crate::fields::{Fields, Int};
use crate::{Api, ApiError, messages};

pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/apply-template", post(apply_template))
}

/// A text to divide into tokens.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct TokenizeRequest {
    model: Option<String>,
    #[serde(alias = "prompt")]
    content: String,
    #[serde(default)]
    add_special: bool,
    parse_special: Option<bool>,
    #[serde(default)]
    with_pieces: bool,
    #[serde(flatten)]
    #[schemars(skip)]
    unknown: Map<String, Value>,
}

/// Tokens to join.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct DetokenizeRequest {
    model: Option<String>,
    tokens: Vec<Int<0, 4_294_967_295>>,
    #[serde(flatten)]
    #[schemars(skip)]
    unknown: Map<String, Value>,
}

/// A conversation to render.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct TemplateRequest {
    model: Option<String>,
    #[schemars(with = "Vec<Map<String, Value>>")]
    messages: Vec<Message>,
    tools: Option<Value>,
    add_generation_prompt: Option<bool>,
    chat_template_kwargs: Option<Map<String, Value>>,
    #[serde(flatten)]
    #[schemars(skip)]
    unknown: Map<String, Value>,
}

macro_rules! fields {
    ($($name:ident),*) => {
        $(impl Fields for $name {
            fn unknown(&self) -> &Map<String, Value> {
                &self.unknown
            }
        })*
    };
}
fields!(TokenizeRequest, DetokenizeRequest, TemplateRequest);

/// Reads a request, and runs `work` on it with the model that it names.
async fn with<T: Fields + Send + 'static>(
    app: Shared,
    body: Body,
    model: fn(&T) -> Option<&str>,
    work: fn(T, &mut LoadedModel) -> Result<Value, ApiError>,
) -> Response {
    let outcome = async {
        let incoming = app.read::<T>(body).await?;
        let lease = app.registry.get(model(&incoming.request).unwrap_or_default(), None).await?;
        let (request, ignored) = (incoming.request, incoming.ignored);
        let value = lease.with(move |model| work(request, model)).await??;
        Ok(with_ignored(Json(value).into_response(), ignored))
    };
    outcome.await.unwrap_or_else(|error: ApiError| Api::OpenAi.respond(&error))
}

async fn tokenize(State(app): State<Shared>, body: Body) -> Response {
    let work = |request: TokenizeRequest, model: &mut LoadedModel| {
        let parse_special = request.parse_special.unwrap_or(true);
        let options = EncodeOptions { add_special: request.add_special, parse_special };
        let tokenizer = model.tokenizer();
        let ids = tokenizer.encode(&request.content, options)?;
        if !request.with_pieces {
            return Ok(json!({"tokens": ids}));
        }
        let piece = |&id: &u32| {
            let bytes = tokenizer.token_bytes(id).unwrap_or_default();
            let piece = String::from_utf8(bytes).map_or_else(|error| json!(error.into_bytes()), Value::from);
            json!({"id": id, "piece": piece})
        };
        Ok(json!({"tokens": ids.iter().map(piece).collect::<Vec<_>>()}))
    };
    with(app, body, |request: &TokenizeRequest| request.model.as_deref(), work).await
}

async fn detokenize(State(app): State<Shared>, body: Body) -> Response {
    let work = |request: DetokenizeRequest, model: &mut LoadedModel| {
        let tokenizer = model.tokenizer();
        let vocabulary = tokenizer.vocab_size();
        let mut ids = Vec::with_capacity(request.tokens.len());
        for (i, id) in request.tokens.iter().enumerate() {
            let id = u32::try_from(id.get()).ok().filter(|&id| (id as usize) < vocabulary);
            let Some(id) = id else {
                let message = format!("expected a token of the vocabulary, below {vocabulary}");
                return Err(ApiError::invalid(format!("tokens[{i}]"), message));
            };
            ids.push(id);
        }
        Ok(json!({"content": tokenizer.decode(&ids, false)}))
    };
    with(app, body, |request: &DetokenizeRequest| request.model.as_deref(), work).await
}

async fn apply_template(State(app): State<Shared>, body: Body) -> Response {
    let work = |request: TemplateRequest, model: &mut LoadedModel| {
        let messages = messages::checked(request.messages, false)?;
        let source = model.chat_template().unwrap_or(PLAIN_TEMPLATE);
        let template = ChatTemplate::new(source, model.tokenizer().special_tokens())?;
        let options = RenderOptions {
            add_generation_prompt: request.add_generation_prompt.unwrap_or(true),
            tools: request.tools,
            extra: request.chat_template_kwargs.unwrap_or_default(),
            clock: Some(honelm::now()),
        };
        let rendered = template.render(&messages, &options).map_err(|error: TextError| ApiError::from(error))?;
        Ok(json!({"prompt": rendered.text}))
    };
    with(app, body, |request: &TemplateRequest| request.model.as_deref(), work).await
}
