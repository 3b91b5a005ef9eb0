//! The pages `/` and `/status`, `/health`, `/metrics`, `/props`, and loading and unloading.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::app::{App, Shared};
use crate::fields::Fields;
use crate::provenance::sampling;
use crate::{Api, ApiError, metrics, openai, web};

/// The content security policy of a page in one document: its own script and style, and this server.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(web::index))
        .route("/index.html", get(web::index))
        .route("/health", get(health))
        .route("/metrics", get(counters))
        .route("/props", get(props))
        .route("/status", get(|| async { page(include_str!("status.html")) }))
        .route("/status.json", get(|State(app): State<Shared>| async move { Json(state(&app)) }))
        .route("/models/load", post(load))
        .route("/models/unload", post(unload))
}

async fn health(State(app): State<Shared>) -> Response {
    if app.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "shutting down"}))).into_response();
    }
    Json(json!({"status": "ok"})).into_response()
}

async fn counters(State(app): State<Shared>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text(&app)).into_response()
}

/// Returns a page that may ask this server alone.
pub(crate) fn page(html: &'static str) -> Response {
    let mut response = Html(html).into_response();
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// Returns the state of the server, for the page and for `honelm ps`.
fn state(app: &App) -> Value {
    let models = app.registry.status();
    let planned: u64 = models.iter().filter_map(|model| model.need).map(|need| need.total()).sum();
    let (loads, unloads) = app.registry.loads();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.started.elapsed().as_secs_f64(),
        "draining": app.is_draining(),
        "connections": app.metrics.connections.load(Ordering::Relaxed),
        "responses": app.metrics.responses(),
        "memory": {
            "budget_bytes": app.registry.budget(),
            "planned_bytes": planned,
            "resident_bytes": honelm::bench::memory_bytes(),
            "peak_bytes": honelm::bench::peak_memory_bytes(),
        },
        "loads": loads,
        "unloads": unloads,
        "queue_limit": app.config.limits.queue,
        "parallel": app.config.parallel,
        "models": models,
    })
}

/// Returns the properties of the loaded models and the bounds of the server.
async fn props(State(app): State<Shared>) -> Response {
    let known = app.registry.known();
    let loaded: Vec<Value> = known
        .iter()
        .filter_map(|known| known.card.as_deref())
        .map(|card| {
            json!({
                "name": card.name,
                "digest": card.digest.get(),
                "template_digest": card.template_digest,
                "verify": openai::verifies(card),
                "architecture": card.architecture,
                "parameters": card.parameters,
                "context_length": card.context,
                "device": card.device,
                "chat_template": card.template,
                "bos_token": card.ends.0,
                "eos_token": card.ends.1,
                "capabilities": card.capabilities(),
                "sampling": sampling(&card.generation),
            })
        })
        .collect();
    let limits = &app.config.limits;
    let mut props = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "total_slots": app.config.parallel,
        "models": loaded,
        "limits": limits,
        "strict_fields": app.config.strict_fields,
    });
    // Clients of other servers look for the properties of the one model here.
    if let Some(card) = known.iter().find_map(|known| known.card.as_deref()) {
        props["chat_template"] = json!(card.template);
        props["model_path"] = json!(card.path);
        props["default_generation_settings"] = json!({"n_ctx": card.context, "params": sampling(&card.generation)});
    }
    Json(props).into_response()
}

/// A request that names a model.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ModelName")]
pub(crate) struct Named {
    model: String,
    #[serde(flatten)]
    #[schemars(skip)]
    unknown: Map<String, Value>,
}

impl Fields for Named {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

async fn load(State(app): State<Shared>, body: Body) -> Response {
    let outcome = async {
        let named = app.read::<Named>(body).await?.request;
        let lease = app.registry.get(&named.model, None).await?;
        Ok(json!({"model": lease.card().name, "loaded": true}))
    };
    respond(outcome.await)
}

async fn unload(State(app): State<Shared>, body: Body) -> Response {
    let outcome = async {
        let named = app.read::<Named>(body).await?.request;
        let was_loaded = app.registry.stop(&named.model).await?;
        Ok(json!({"model": named.model, "was_loaded": was_loaded}))
    };
    respond(outcome.await)
}

fn respond(outcome: Result<Value, ApiError>) -> Response {
    match outcome {
        Ok(value) => Json(value).into_response(),
        Err(error) => Api::OpenAi.respond(&error),
    }
}
