use std::sync::Arc;

use honelm_grammar::GrammarError;
use honelm_model::ModelError;
use honelm_text::TextError;

/// The error of generating text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// An error of the model or its device.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A step failed, and with it every answer that it computed.
    #[error("{0}")]
    Step(Arc<ModelError>),
    /// An error of the tokenizer or the chat template.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A grammar cannot be compiled, or cannot go on.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// The settings rule out every token that the grammar allows.
    #[error(
        "no token can be drawn after {tokens} tokens of the answer: the settings rule out all {allowed} that the grammar allows"
    )]
    NoAllowedToken {
        /// The number of tokens in the answer.
        tokens: usize,
        /// The number of tokens that the grammar allows.
        allowed: usize,
    },
    /// The prompt has no tokens. A model needs at least one, usually its BOS.
    #[error("the prompt is empty: the model needs at least one token to start from")]
    EmptyPrompt,
    /// The prompt is longer than the context.
    #[error("the prompt is too long: found {tokens} tokens, the context holds {context}")]
    PromptTooLong {
        /// The number of tokens in the prompt.
        tokens: usize,
        /// The number of tokens in the context.
        context: usize,
    },
    /// A setting has an invalid value.
    #[error("invalid {name}: found {found}, expected {expected}")]
    InvalidSetting {
        /// The name of the setting.
        name: &'static str,
        /// The invalid value.
        found: String,
        /// The valid values.
        expected: &'static str,
    },
    /// The model computed a logit that is not a number, because its weights or files are broken.
    #[error("invalid logit for token {token} after position {position}: found {value}, expected a number")]
    NotFinite {
        /// The position of the row.
        position: usize,
        /// The token of the logit.
        token: usize,
        /// The value of the logit.
        value: f32,
    },
    /// The model computed a hidden state that is not a number, because its weights or files are broken.
    #[error("invalid hidden state: found {value}, expected a number")]
    NotFiniteState {
        /// The value.
        value: f32,
    },
    /// A step did not return a requested output.
    #[error("the model returned no {what} for the last row of a step")]
    MissingOutput {
        /// The missing output.
        what: &'static str,
    },
    /// A draft model that cannot be used.
    #[error("the draft model {name}: {problem}")]
    InvalidDraft {
        /// The name of the draft model.
        name: String,
        /// The problem.
        problem: String,
    },
    /// The model has no chat template.
    #[error("the model has no chat template; use a plain prompt instead")]
    NoChatTemplate,
}

impl EngineError {
    /// Returns the error of the model or its device, if it is one.
    #[must_use]
    pub fn model(&self) -> Option<&ModelError> {
        match self {
            Self::Model(error) => Some(error),
            Self::Step(error) => Some(error),
            _ => None,
        }
    }

    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model(error) => error.code(),
            Self::Step(error) => error.code(),
            Self::Text(error) => error.code(),
            Self::Grammar(error) => error.code(),
            Self::NoAllowedToken { .. } => "no-allowed-token",
            Self::EmptyPrompt => "empty-prompt",
            Self::PromptTooLong { .. } => "prompt-too-long",
            Self::InvalidSetting { .. } => "invalid-setting",
            Self::NotFinite { .. } => "not-finite-logits",
            Self::NotFiniteState { .. } => "not-finite-state",
            Self::MissingOutput { .. } => "missing-output",
            Self::InvalidDraft { .. } => "invalid-draft",
            Self::NoChatTemplate => "no-chat-template",
        }
    }
}

impl From<honelm_backend::BackendError> for EngineError {
    fn from(error: honelm_backend::BackendError) -> Self {
        Self::Model(error.into())
    }
}
