//! OpenAI's Responses API: `/v1/responses`.
//!
//! Responses are kept in memory, so that later requests can follow them ([`Store`]); `store: false` keeps none.

mod events;
mod request;
mod response;
mod store;
mod translate;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{self, post};
use axum::{Json, Router};

use serde_json::Value;

pub use events::Events;
pub use request::{
    ContentPart, CountInputTokens, CreateResponse, Item, ReasoningSettings, TextFormat, TextSettings, ToolChoiceObject,
    ToolDefinition,
};
pub use response::{
    DeletedResponse, IncompleteDetails, InputItems, InputTokens, InputTokensDetails, Numbered, OutputItem, OutputPart,
    OutputTokensDetails, ResponseError, ResponseEvent, ResponseObject, Status, Usage,
};
pub use store::{Store, Stored};

use crate::app::{Shared, with_ignored};
use crate::gateway::{Ask, with_header};
use crate::job::Part;
use crate::stream::{Frames, Translate, respond};
use crate::{Api, ApiError};

/// Returns the routes.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/responses", post(|app, headers, body| async { answered(create(app, headers, body).await) }))
        .route("/v1/responses/input_tokens", post(|app, body| async { answered(count(app, body).await) }))
        .route(
            "/v1/responses/{id}",
            routing::get(|app, id| async { answered(get(app, id).await) })
                .delete(|app, id| async { answered(delete(app, id).await) }),
        )
        .route("/v1/responses/{id}/input_items", routing::get(|app, id| async { answered(input_items(app, id).await) }))
}

/// Returns a response, or that of an error.
fn answered(outcome: Result<Response, ApiError>) -> Response {
    outcome.unwrap_or_else(|error| Api::OpenAi.respond(&error))
}

/// A request with everything that came before it.
struct Asked {
    request: CreateResponse,
    /// The items of the request's own input.
    input: Vec<Arc<Item>>,
    /// The whole conversation, which ends with them.
    conversation: Vec<Arc<Item>>,
}

impl Asked {
    /// Checks a request and finds the response that it follows.
    fn new(app: &Shared, mut request: CreateResponse) -> Result<Self, ApiError> {
        request.check()?;
        let mut conversation = match &request.previous_response_id {
            None => Vec::new(),
            Some(id) => match app.responses.get(id) {
                Some(stored) => stored.conversation.clone(),
                None => {
                    let message = format!("the response {id:?} is not stored: expected the id of a stored response");
                    let error = ApiError::bad_request("previous_response_not_found", message);
                    return Err(ApiError { param: Some("previous_response_id".to_owned()), ..error });
                }
            },
        };
        let input: Vec<Arc<Item>> = request.take_input(&app.config.limits)?.into_iter().map(Arc::new).collect();
        conversation.extend(input.iter().cloned());
        Ok(Self { request, input, conversation })
    }
}

/// Creates a response.
async fn create(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<CreateResponse>(body).await?;
    let asked = Asked::new(&app, incoming.request)?;
    let metadata = asked.request.metadata.clone().map(Value::Object);
    let ask = Ask::of(app.gateway.as_deref(), &headers, metadata.as_ref())?;
    let place = app.place(asked.request.model.as_deref().unwrap_or_default(), None).await?;
    let items = asked.conversation.iter().map(AsRef::as_ref);
    let (job, ignored) = asked.request.job(items, place.card(), &app.config.limits)?;
    let streams = asked.request.stream == Some(true);
    let events = Events::new(asked.request.response(&place.card().name, &job));
    let mut parts = app.submit(place, job, ask)?;
    let mut writer = Writer { events, asked, app, ended: false };
    let ignored = incoming.ignored + ignored;
    if streams {
        return Ok(with_ignored(respond(parts, writer).await?, ignored));
    }
    while let Some(part) = parts.next().await {
        if let Part::Failed(error) = part {
            return Err(error);
        }
        writer.events(part);
    }
    if !writer.ended {
        return Err(ApiError::internal("model-stopped", "the model stopped before the response was complete"));
    }
    let response = with_header(Json(writer.events.response()).into_response(), parts.about());
    Ok(with_ignored(response, ignored))
}

/// The writer of a response, which is stored when it is complete.
struct Writer {
    events: Events,
    asked: Asked,
    app: Shared,
    ended: bool,
}

impl Writer {
    fn events(&mut self, part: Part) -> Vec<Numbered> {
        let mut events = Vec::new();
        if matches!(part, Part::Begun { .. }) {
            events = self.events.begin();
        }
        let is_end = matches!(part, Part::Done { .. });
        self.ended |= is_end || matches!(part, Part::Failed(_));
        events.extend(self.events.part(part));
        if is_end && self.asked.request.stores() {
            let (input, conversation) =
                (std::mem::take(&mut self.asked.input), std::mem::take(&mut self.asked.conversation));
            self.app.responses.insert(Stored::new(self.events.response().clone(), input, conversation));
        }
        events
    }
}

impl Translate for Writer {
    const CONTENT_TYPE: &'static str = "text/event-stream";
    const KEEP_ALIVE: Option<&'static [u8]> = Some(b": alive\n\n");

    fn part(&mut self, part: Part, out: &mut Frames) {
        for event in self.events(part) {
            out.event(event.event.name(), &event);
        }
    }

    fn end(&mut self, out: &mut Frames) {
        if !self.ended {
            let error = ApiError::internal("model-stopped", "the model stopped before the response was complete");
            self.part(Part::Failed(error), out);
        }
    }
}

/// Counts the tokens of an input.
async fn count(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<CountInputTokens>(body).await?;
    let asked = Asked::new(&app, incoming.request.into())?;
    let lease = app.registry.get(asked.request.model.as_deref().unwrap_or_default(), None).await?;
    let items = asked.conversation.iter().map(AsRef::as_ref);
    let (job, ignored) = asked.request.job(items, lease.card(), &app.config.limits)?;
    let input_tokens = lease.count(job).await? as u64;
    let counted = InputTokens { object: "response.input_tokens", input_tokens };
    Ok(with_ignored(Json(counted).into_response(), incoming.ignored + ignored))
}

/// Returns a stored response.
async fn get(State(app): State<Shared>, Path(id): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(&stored(&app, &id)?.response).into_response())
}

/// Returns the items of a stored response's input.
async fn input_items(State(app): State<Shared>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let data: Vec<Item> = stored(&app, &id)?.input.iter().rev().map(|item| Item::clone(item)).collect();
    let id = |item: Option<&Item>| item.and_then(|item| item.id.clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Ok(Json(InputItems { object: "list", data, first_id, last_id, has_more: false }).into_response())
}

/// Deletes a stored response.
async fn delete(State(app): State<Shared>, Path(id): Path<String>) -> Result<Response, ApiError> {
    if !app.responses.delete(&id) {
        return Err(missing(&id));
    }
    Ok(Json(DeletedResponse { id, object: "response", deleted: true }).into_response())
}

fn stored(app: &Shared, id: &str) -> Result<Arc<Stored>, ApiError> {
    app.responses.get(id).ok_or_else(|| missing(id))
}

fn missing(id: &str) -> ApiError {
    let message = format!("the response {id:?} is not stored: expected the id of a stored response");
    ApiError::new(StatusCode::NOT_FOUND, "response_not_found", message)
}
