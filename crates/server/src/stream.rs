//! Streamed responses: a job's parts, translated as they come.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use serde::Serialize;

use crate::ApiError;
use crate::gateway::HEADER;
use crate::job::{Part, Parts};

/// The interval at which a silent stream shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The translation of a job's parts into the frames of a protocol.
pub trait Translate: Send + 'static {
    /// The content type of the response.
    const CONTENT_TYPE: &'static str;
    /// A frame without meaning, which shows that the stream is alive.
    const KEEP_ALIVE: Option<&'static [u8]>;

    /// Translates a part.
    fn part(&mut self, part: Part, out: &mut Frames);

    /// Translates the end, after the last part.
    fn end(&mut self, out: &mut Frames);
}

/// Frames on their way to a client.
#[derive(Debug, Default)]
pub struct Frames(Vec<u8>);

impl Frames {
    /// Adds an unnamed event of a server-sent stream.
    pub fn data(&mut self, data: &impl Serialize) {
        self.0.extend_from_slice(b"data: ");
        self.json(data);
        self.0.extend_from_slice(b"\n\n");
    }

    /// Adds a named event of a server-sent stream.
    pub fn event(&mut self, name: &str, data: &impl Serialize) {
        self.0.extend_from_slice(b"event: ");
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.data(data);
    }

    /// Adds a line of JSON.
    pub fn line(&mut self, data: &impl Serialize) {
        self.json(data);
        self.0.push(b'\n');
    }

    /// Adds bytes.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns the bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0.into()
    }

    fn json(&mut self, data: &impl Serialize) {
        let before = self.0.len();
        if serde_json::to_writer(&mut self.0, data).is_err() {
            self.0.truncate(before);
            self.0.extend_from_slice(b"null");
        }
    }
}

struct State<T> {
    parts: Parts,
    /// Parts that were received before the response began.
    first: VecDeque<Part>,
    translate: Option<T>,
}

/// Responds with the parts of a job. Waits for the first one, so that a job that fails at once has the status of its error.
///
/// # Errors
/// The error with which the job failed before its first part.
pub async fn respond<T: Translate>(mut parts: Parts, translate: T) -> Result<Response, ApiError> {
    let first: VecDeque<Part> = match parts.next().await {
        Some(Part::Failed(error)) => return Err(error),
        first => first.into_iter().collect(),
    };
    let head = parts.head();
    let state = State { parts, first, translate: Some(translate) };
    let frames = futures_util::stream::unfold(state, |state| async { next(state).await });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(T::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Some(head) = head {
        headers.insert(HEADER, head);
    }
    Ok(response)
}

async fn next<T: Translate>(mut state: State<T>) -> Option<(Result<Bytes, Infallible>, State<T>)> {
    let mut translate = state.translate.take()?;
    let mut frames = Frames::default();
    loop {
        let next = match state.first.pop_front() {
            Some(part) => Ok(Some(part)),
            None => tokio::time::timeout(KEEP_ALIVE, state.parts.next()).await,
        };
        match next {
            Ok(Some(part)) => {
                translate.part(part, &mut frames);
                // Parts that are there already go out together.
                while let Some(part) = state.parts.try_next() {
                    translate.part(part, &mut frames);
                }
                if !frames.0.is_empty() {
                    state.translate = Some(translate);
                    break;
                }
            }
            Ok(None) => {
                translate.end(&mut frames);
                break;
            }
            Err(_) => {
                if let Some(frame) = T::KEEP_ALIVE {
                    frames.raw(frame);
                    state.translate = Some(translate);
                    break;
                }
            }
        }
    }
    Some((Ok(Bytes::from(frames.0)), state))
}
