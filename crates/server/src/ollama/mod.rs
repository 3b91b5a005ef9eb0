//! Ollama's API: `/api/…`.

mod facts;
mod lines;
mod models;
mod pull;
mod request;
mod response;
mod translate;
mod vectors;

use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;

pub(crate) use facts::FactsCache;
pub use lines::{Kind, Lines};
pub(crate) use pull::MOST as MOST_PULLS;
pub use request::{
    ChatMessage, ChatRequest, EmbedRequest, EmbeddingsRequest, FunctionCall, GenerateRequest, Options, PullRequest,
    ShowRequest, ToolCall,
};
pub use response::{
    AnswerCall, AnswerFigures, AnswerFunction, AnswerLine, AnswerMessage, Details, EmbedResponse, EmbeddingsResponse,
    ErrorResponse, Process, Processes, Progress, ShowResponse, TagModel, Tags, Version,
};
pub use translate::{KeepAlive, keep_alive};

use crate::app::{Shared, with_ignored};
use crate::gateway::{Ask, Place, with_header};
use crate::job::{Job, Part};
use crate::registry::Lease;
use crate::stream::{Frames, Translate, respond};
use crate::{Api, ApiError};

/// Returns the routes.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/api/chat", post(|app, headers, body| async { answered(chat(app, headers, body).await) }))
        .route("/api/generate", post(|app, headers, body| async { answered(generate(app, headers, body).await) }))
        .route("/api/tags", get(models::tags))
        .route("/api/show", post(|app, body| async { answered(models::show(app, body).await) }))
        .route("/api/ps", get(models::ps))
        .route("/api/version", get(version))
        .route("/api/pull", post(|app, body| async { answered(pull::pull(app, body).await) }))
        .route("/api/embed", post(|app, body| async { answered(vectors::embed(app, body).await) }))
        .route("/api/embeddings", post(|app, body| async { answered(vectors::embeddings(app, body).await) }))
}

/// Returns a response, or that of an error.
fn answered(outcome: Result<Response, ApiError>) -> Response {
    outcome.unwrap_or_else(|error| Api::Ollama.respond(&error))
}

/// Returns the name of a model that a request must have.
fn required(model: Option<&str>) -> Result<&str, ApiError> {
    match model {
        Some(name) if !name.is_empty() => Ok(name),
        _ => Err(ApiError::invalid("model", "found nothing, expected the name of a model")),
    }
}

/// A model for a request, with the time that it took to load.
struct Ready {
    lease: Lease,
    received: Instant,
    load_seconds: f64,
}

/// Reads the time for which a model stays loaded.
fn time_of(given: Option<&Value>) -> Result<Option<Duration>, ApiError> {
    let time = keep_alive(given)?;
    Ok(time.map(|time| match time {
        KeepAlive::Forever => models::FOREVER,
        KeepAlive::For(time) => time,
    }))
}

/// Returns a model, which is loaded if it is not.
async fn ready(app: &Shared, model: Option<&str>, given: Option<&Value>) -> Result<Ready, ApiError> {
    let received = Instant::now();
    let lease = app.registry.get(required(model)?, time_of(given)?).await?;
    Ok(Ready { lease, received, load_seconds: received.elapsed().as_secs_f64() })
}

/// The place of an answer, with the time that its model took to load.
struct Answering {
    place: Place,
    ask: Ask,
    received: Instant,
    load_seconds: f64,
}

impl Answering {
    async fn new(
        app: &Shared,
        headers: &HeaderMap,
        model: Option<&str>,
        given: Option<&Value>,
    ) -> Result<Self, ApiError> {
        let received = Instant::now();
        let ask = Ask::of(app.gateway.as_deref(), headers, None)?;
        let place = app.place(required(model)?, time_of(given)?).await?;
        Ok(Self { place, ask, received, load_seconds: received.elapsed().as_secs_f64() })
    }
}

async fn chat(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<ChatRequest>(body).await?;
    let request = incoming.request;
    if request.is_empty() {
        return load(&app, Kind::Chat, request.model.as_deref(), request.keep_alive.as_ref(), request.stream).await;
    }
    let answering = Answering::new(&app, &headers, request.model.as_deref(), request.keep_alive.as_ref()).await?;
    let job = request.job(answering.place.card(), &app.config.limits)?;
    Ok(with_ignored(answer(&app, Kind::Chat, answering, job, request.stream).await?, incoming.ignored))
}

async fn generate(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<GenerateRequest>(body).await?;
    let request = incoming.request;
    if request.is_empty() {
        return load(&app, Kind::Generate, request.model.as_deref(), request.keep_alive.as_ref(), request.stream).await;
    }
    let answering = Answering::new(&app, &headers, request.model.as_deref(), request.keep_alive.as_ref()).await?;
    let job = request.job(answering.place.card(), &app.config.limits)?;
    Ok(with_ignored(answer(&app, Kind::Generate, answering, job, request.stream).await?, incoming.ignored))
}

/// Answers a job, by default as a stream.
async fn answer(
    app: &Shared,
    kind: Kind,
    answering: Answering,
    job: Job,
    stream: Option<bool>,
) -> Result<Response, ApiError> {
    let Answering { place, ask, received, load_seconds } = answering;
    let mut lines = Lines::new(kind, &place.card().name, received, load_seconds);
    let mut parts = app.submit(place, job, ask)?;
    if stream != Some(false) {
        return respond(parts, Writer { lines, ended: false }).await;
    }
    let mut all = Vec::new();
    while let Some(part) = parts.next().await {
        if let Part::Failed(error) = part {
            return Err(error);
        }
        all.extend(lines.part(part));
    }
    match Lines::join(all.into_iter()).filter(|line| line.done) {
        Some(line) => Ok(with_header(Json(line).into_response(), parts.about())),
        None => Err(stopped()),
    }
}

/// Loads a model, or unloads it if `keep_alive` is 0.
async fn load(
    app: &Shared,
    kind: Kind,
    model: Option<&str>,
    given: Option<&Value>,
    stream: Option<bool>,
) -> Result<Response, ApiError> {
    let name = required(model)?;
    let unloads = keep_alive(given)? == Some(KeepAlive::For(Duration::ZERO));
    let line = if unloads {
        app.registry.stop(name).await?;
        Lines::new(kind, name, Instant::now(), 0.0).end("unload")
    } else {
        let ready = ready(app, model, given).await?;
        let lines = Lines::new(kind, &ready.lease.card().name, ready.received, ready.load_seconds);
        lines.end("load")
    };
    if stream == Some(false) {
        return Ok(Json(line).into_response());
    }
    let mut frames = Frames::default();
    frames.line(&line);
    Ok(lines_of(frames))
}

/// Returns a response of lines that are all there.
fn lines_of(frames: Frames) -> Response {
    ([(axum::http::header::CONTENT_TYPE, Writer::CONTENT_TYPE)], frames.into_bytes()).into_response()
}

struct Writer {
    lines: Lines,
    ended: bool,
}

impl Translate for Writer {
    const CONTENT_TYPE: &'static str = "application/x-ndjson";
    const KEEP_ALIVE: Option<&'static [u8]> = None;

    fn part(&mut self, part: Part, out: &mut Frames) {
        self.ended |= matches!(part, Part::Done { .. } | Part::Failed(_));
        if let Part::Failed(error) = &part {
            out.line(&Api::Ollama.error(error));
        }
        if let Some(line) = self.lines.part(part) {
            out.line(&line);
        }
    }

    fn end(&mut self, out: &mut Frames) {
        if !self.ended {
            self.part(Part::Failed(stopped()), out);
        }
    }
}

fn stopped() -> ApiError {
    ApiError::internal("model-stopped", "the model stopped before the answer was complete")
}

/// The version of Ollama whose API is served: the newest one whose fields all have their effect here.
const VERSION: &str = "0.12.11";

async fn version() -> Json<Version> {
    Json(Version { version: VERSION, honelm: env!("CARGO_PKG_VERSION") })
}
