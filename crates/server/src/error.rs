//! The error of a request, and the object in which each protocol's clients expect it.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use honelm_engine::EngineError;
use honelm_text::TextError;
use serde_json::{Value, json};

/// The longest message that is passed on, in characters. Messages can quote what a client sent.
const LONGEST: usize = 2000;

/// The error of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable name for programs.
    pub code: &'static str,
    /// The message for people, with what was found and what was expected.
    pub message: String,
    /// The field of the request that is wrong.
    pub param: Option<String>,
    /// The number of seconds after which the request may be sent again.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// Creates an error.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((at, _)) = message.char_indices().nth(LONGEST) {
            message.truncate(at);
            message.push('…');
        }
        Self { status, code, message, param: None, retry_after: None }
    }

    /// Creates the error of a request that cannot be understood.
    #[must_use]
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Creates the error of a field with a wrong value.
    #[must_use]
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!("{param}: {}", message.into());
        Self { param: Some(param), ..Self::bad_request("invalid_value", message) }
    }

    /// Creates the error of a field with a feature that the server does not have.
    #[must_use]
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: "unsupported_value", ..Self::invalid(param, message) }
    }

    /// Creates the error of a request that can be sent again in `seconds`.
    #[must_use]
    pub fn later(status: StatusCode, code: &'static str, message: impl Into<String>, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(status, code, message) }
    }

    /// Creates the error of a failure inside the server.
    #[must_use]
    pub fn internal(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
    }

    /// Creates the error of a model that the server does not have.
    #[must_use]
    pub fn no_model(name: &str) -> Self {
        let message = format!("the model {name:?} does not exist here; GET /v1/models lists the models");
        let error = Self::new(StatusCode::NOT_FOUND, "model_not_found", message);
        Self { param: Some("model".to_owned()), ..error }
    }

    /// Converts the error of loading the model `name`.
    #[must_use]
    pub fn of_loading(name: &str, error: &honelm::Error) -> Self {
        Self::internal(error.code(), format!("the model {name:?} cannot be loaded: {error}"))
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match &error {
            EngineError::PromptTooLong { .. } => Self::bad_request("context_length_exceeded", message),
            EngineError::InvalidSetting { name, .. } => {
                Self { param: Some((*name).to_owned()), ..Self::bad_request("invalid_value", message) }
            }
            EngineError::EmptyPrompt
            | EngineError::NoChatTemplate
            | EngineError::Text(_)
            | EngineError::Grammar(_)
            | EngineError::NoAllowedToken { .. } => Self::bad_request(error.code(), message),
            EngineError::Model(source) if source.code() == "unknown-token" => {
                Self::bad_request("invalid_value", message)
            }
            EngineError::Model(source) if source.code() == "model-is-encoder" => {
                Self::bad_request(source.code(), message)
            }
            _ => Self::internal(error.code(), message),
        }
    }
}

impl From<TextError> for ApiError {
    fn from(error: TextError) -> Self {
        Self::bad_request(error.code(), error.to_string())
    }
}

impl From<honelm::Error> for ApiError {
    fn from(error: honelm::Error) -> Self {
        match error {
            honelm::Error::Engine(error) => error.into(),
            honelm::Error::Tokenizer(error) => error.into(),
            other => Self::internal(other.code(), other.to_string()),
        }
    }
}

/// A protocol, which decides the form of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's, and what has no form of its own.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// Ollama's.
    Ollama,
}

impl Api {
    /// Returns the protocol of a path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if path.starts_with("/v1/messages") {
            Self::Anthropic
        } else if path.starts_with("/api/") {
            Self::Ollama
        } else {
            Self::OpenAi
        }
    }

    /// Returns the error object.
    #[must_use]
    pub fn error(self, error: &ApiError) -> Value {
        let ApiError { message, code, param, .. } = error;
        let kind = match self {
            Self::OpenAi => openai_type(error.status),
            Self::Anthropic => anthropic_type(error.status),
            Self::Ollama => return json!({ "error": message }),
        };
        match self {
            Self::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
            _ => json!({"error": {"message": message, "type": kind, "param": param, "code": code}}),
        }
    }

    /// Returns the response.
    #[must_use]
    pub fn respond(self, error: &ApiError) -> Response {
        let mut response = (error.status, Json(self.error(error))).into_response();
        if let Some(seconds) = error.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn openai_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

pub(crate) fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}
