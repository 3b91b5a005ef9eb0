//! Anthropic's Messages API: `/v1/messages`.

mod events;
mod models;
mod request;
mod response;
mod translate;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

pub use events::Events;
pub use models::{ModelInfo, ModelInfos};
pub(crate) use models::{is_client, models};
pub use request::{
    Block, CountTokens, CreateMessage, MessageParam, OutputConfig, OutputFormat, Source, ThinkingParam,
    ToolChoiceParam, ToolParam,
};
pub use response::{
    BlockDelta, ContentBlock, ErrorObject, ErrorResponse, MessageDelta, MessageEvent, MessageObject, MessageUsage,
    TokenCount,
};

use crate::app::{Shared, with_ignored};
use crate::gateway::{Ask, with_header};
use crate::job::Part;
use crate::stream::{Frames, Translate, respond};
use crate::{Api, ApiError, ids};

/// Returns the routes.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/messages", post(|app, headers, body| async { answered(create(app, headers, body).await) }))
        .route("/v1/messages/count_tokens", post(|app, body| async { answered(count(app, body).await) }))
}

/// Returns a response, or that of an error, with the id of the request that clients report.
fn answered(outcome: Result<Response, ApiError>) -> Response {
    let mut response = outcome.unwrap_or_else(|error| Api::Anthropic.respond(&error));
    if let Ok(id) = HeaderValue::from_str(&ids::new("req_")) {
        response.headers_mut().insert("request-id", id);
    }
    response
}

/// Creates a message.
async fn create(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<CreateMessage>(body).await?;
    let request = incoming.request;
    if request.max_tokens.is_none() {
        return Err(ApiError::invalid("max_tokens", "found nothing, expected a whole number of at least 1"));
    }
    let ask = Ask::of(app.gateway.as_deref(), &headers, request.metadata.as_ref())?;
    let place = app.place(request.model.as_deref().unwrap_or_default(), None).await?;
    let (job, ignored) = request.job(place.card(), &app.config.limits)?;
    let ignored = incoming.ignored + ignored;
    let stops = request.stop_sequences.clone().unwrap_or_default();
    let mut writer = Writer { events: Events::new(&place.card().name, request.omits_thinking(), stops), ended: false };
    let mut parts = app.submit(place, job, ask)?;
    if request.stream == Some(true) {
        return Ok(with_ignored(respond(parts, writer).await?, ignored));
    }
    while let Some(part) = parts.next().await {
        if let Part::Failed(error) = part {
            return Err(error);
        }
        writer.events(part);
    }
    if !writer.ended {
        return Err(stopped());
    }
    let response = with_header(Json(writer.events.into_message()).into_response(), parts.about());
    Ok(with_ignored(response, ignored))
}

/// Counts the tokens of a prompt.
async fn count(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<CountTokens>(body).await?;
    let request = CreateMessage::from(incoming.request);
    let lease = app.registry.get(request.model.as_deref().unwrap_or_default(), None).await?;
    let (job, ignored) = request.job(lease.card(), &app.config.limits)?;
    let input_tokens = lease.count(job).await? as u64;
    Ok(with_ignored(Json(TokenCount { input_tokens }).into_response(), incoming.ignored + ignored))
}

struct Writer {
    events: Events,
    ended: bool,
}

impl Writer {
    fn events(&mut self, part: Part) -> Vec<MessageEvent> {
        self.ended |= matches!(part, Part::Done { .. } | Part::Failed(_));
        self.events.part(part)
    }
}

impl Translate for Writer {
    const CONTENT_TYPE: &'static str = "text/event-stream";
    const KEEP_ALIVE: Option<&'static [u8]> = Some(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");

    fn part(&mut self, part: Part, out: &mut Frames) {
        for event in self.events(part) {
            out.event(event.name(), &event);
        }
    }

    fn end(&mut self, out: &mut Frames) {
        if !self.ended {
            self.part(Part::Failed(stopped()), out);
        }
    }
}

fn stopped() -> ApiError {
    ApiError::internal("model-stopped", "the model stopped before the message was complete")
}
