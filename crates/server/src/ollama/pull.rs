//! Models from the Hugging Face Hub: `/api/pull`.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use honelm::{Event, ModelSpec, PullOptions};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::request::PullRequest;
use super::response::Progress;
use super::{required, stopped};
use crate::app::{Shared, with_ignored};
use crate::stream::Frames;
use crate::{Api, ApiError};

/// The most transfers at the same time.
pub(crate) const MOST: usize = 2;

/// The interval between two lines about the same file.
const INTERVAL: Duration = Duration::from_millis(200);

/// The lowest rate of a connection that is not given up, in bytes per second.
const SLOWEST: u64 = 1024;

/// A line of the response.
enum Line {
    Progress(Progress),
    Failed(ApiError),
}

/// Fetches a model into the cache that all tools of the Hub share.
pub(super) async fn pull(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<PullRequest>(body).await?;
    let request = incoming.request;
    let name = required(request.model.as_deref().or(request.name.as_deref()))?.to_owned();
    if request.insecure == Some(true) {
        return Err(ApiError::unsupported("insecure", "found true, expected false: connections are always encrypted"));
    }
    let (sender, receiver) = channel(16);
    if app.registry.name_of(&name).await.is_ok() {
        // It is here already.
        send(&sender, "success").await;
        drop(sender);
    } else {
        let model: ModelSpec = name.parse().map_err(|error| {
            let hint = "models come from the Hugging Face Hub, as ORG/REPO or ORG/REPO:QUANT";
            ApiError::invalid("model", format!("{error}; {hint}"))
        })?;
        let Ok(place) = app.pulls.clone().try_acquire_owned() else {
            let message = format!("{MOST} models are being fetched already");
            return Err(ApiError::later(StatusCode::TOO_MANY_REQUESTS, "too_many_pulls", message, 10));
        };
        let app = Shared::clone(&app);
        tokio::spawn(async move {
            let _place = place;
            fetch(&app, model, &sender).await;
        });
    }
    let response = if request.stream == Some(false) { last(receiver).await? } else { stream(receiver) };
    Ok(with_ignored(response, incoming.ignored))
}

async fn send(sender: &Sender<Line>, status: &str) {
    // Fails only if the client has gone.
    drop(sender.send(Line::Progress(Progress { status: status.to_owned(), ..Progress::default() })).await);
}

/// Fetches a model and reports the progress. Ends when the client has gone.
async fn fetch(app: &Shared, model: ModelSpec, sender: &Sender<Line>) {
    send(sender, "pulling manifest").await;
    let progress = sender.clone();
    let work = move || {
        let options = PullOptions { model, include: Vec::new(), slowest: SLOWEST };
        let mut last = None;
        honelm::pull(&options, &mut |event| {
            if let Event::Transfer { detail, done, total, .. } = event
                && !detail.is_empty()
            {
                let is_new = last
                    .as_ref()
                    .is_none_or(|(file, at): &(String, std::time::Instant)| file != detail || at.elapsed() >= INTERVAL);
                if is_new {
                    last = Some(((*detail).to_owned(), std::time::Instant::now()));
                    let line = Progress {
                        status: format!("pulling {detail}"),
                        digest: Some((*detail).to_owned()),
                        total: Some(*total),
                        completed: Some(*done),
                    };
                    // A client that reads slowly misses some lines, not the transfer.
                    drop(progress.try_send(Line::Progress(line)));
                }
            }
            !progress.is_closed()
        })
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(_)) => {
            app.registry.refresh(Duration::ZERO).await;
            send(sender, "success").await;
        }
        Ok(Err(error)) => drop(sender.send(Line::Failed(of_pull(&error))).await),
        Err(_) => drop(sender.send(Line::Failed(ApiError::internal("pull-failed", "the transfer stopped"))).await),
    }
}

/// Converts the error of a transfer, which is that of another server.
fn of_pull(error: &honelm::Error) -> ApiError {
    ApiError::new(StatusCode::BAD_GATEWAY, error.code(), error.to_string())
}

/// Waits for the end of a transfer.
async fn last(mut lines: Receiver<Line>) -> Result<Response, ApiError> {
    let mut last = None;
    while let Some(line) = lines.recv().await {
        match line {
            Line::Progress(progress) => last = Some(progress),
            Line::Failed(error) => return Err(error),
        }
    }
    let done = last.filter(|progress| progress.status == "success").ok_or_else(stopped)?;
    Ok(Json(done).into_response())
}

/// Responds with the lines as they come.
fn stream(lines: Receiver<Line>) -> Response {
    let lines = futures_util::stream::unfold(lines, |mut lines| async move {
        let mut frames = Frames::default();
        match lines.recv().await? {
            Line::Progress(progress) => frames.line(&progress),
            Line::Failed(error) => frames.line(&Api::Ollama.error(&error)),
        }
        Some((Ok::<Bytes, std::convert::Infallible>(frames.into_bytes()), lines))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
