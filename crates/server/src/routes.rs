//! The routes of all protocols, and what every request passes.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONNECTION, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::Shared;
use crate::security::{add_cors, add_preflight};
use crate::{
    Api, ApiError, anthropic, embeddings, gateway, log, ollama, openai, openapi, responses, status, tokens,
    understanding,
};

/// The path of requests that no route takes, in the log and the metrics.
const OTHER: &str = "other";

/// Returns the service of all routes.
pub(crate) fn router(app: &Shared) -> Router {
    let other = match &app.web {
        Some(page) => page.routes(),
        None => Router::new().fallback(unknown),
    };
    Router::new()
        .merge(status::routes())
        .merge(tokens::routes())
        .merge(openai::routes())
        .merge(responses::routes())
        .merge(anthropic::routes())
        .merge(ollama::routes())
        .merge(embeddings::routes())
        .merge(understanding::routes())
        .merge(gateway::routes())
        .route("/openapi.json", get(openapi::serve))
        .merge(other)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Shared::clone(app), guarded))
        .with_state(Shared::clone(app))
}

/// Checks a request, answers it, counts it and logs it.
async fn guarded(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    // The files of the page are the same for everybody.
    let is_page = app.web.is_some() && route.is_none() && (method == Method::GET || method == Method::HEAD);
    let path = route.unwrap_or_else(|| OTHER.to_owned());
    let mut response = answer(&app, request, is_page, next).await;
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let (status, time) = (response.status().as_u16(), begin.elapsed());
    app.metrics.count(&path, status, time);
    let line = log::Line { method: method.as_str(), path: &path, status, time };
    log::request(app.config.log_format, &line);
    response
}

async fn answer(app: &Shared, request: Request, is_page: bool, next: Next) -> Response {
    let api = Api::of(request.uri().path());
    let (parts, body) = request.into_parts();
    let cors = match app.security.check(&parts, is_page) {
        Ok(cors) => cors,
        Err(error) => return api.respond(&error),
    };
    let mut response = if app.is_draining() && parts.uri.path() != "/health" {
        let message = "the server is shutting down";
        let mut response = api.respond(&ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", message, 5));
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    } else if parts.method == Method::OPTIONS {
        let mut response = StatusCode::NO_CONTENT.into_response();
        if cors.is_some() {
            add_preflight(response.headers_mut(), &parts.headers);
        }
        response
    } else {
        next.run(Request::from_parts(parts, body)).await
    };
    if let Some(origin) = cors {
        add_cors(response.headers_mut(), &origin);
    }
    response
}

pub(crate) async fn unknown(method: Method, uri: Uri) -> Response {
    let message = format!("{method} {}: no such address", uri.path());
    Api::of(uri.path()).respond(&ApiError::new(StatusCode::NOT_FOUND, "not_found", message))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("{method} {}: this address has other methods", uri.path());
    Api::of(uri.path()).respond(&ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message))
}
