use honelm_model::ModelError;
use honelm_text::TextError;

/// Why a text cannot be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The model or its device refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer or the chat template refused.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A prompt without tokens: a model needs one at least, usually its BOS.
    #[error("the prompt is empty: the model needs at least one token to start from")]
    EmptyPrompt,
    /// A prompt that does not fit.
    #[error("the prompt has {tokens} tokens, the context holds {context}")]
    PromptTooLong {
        /// Its tokens.
        tokens: usize,
        /// Most tokens that fit.
        context: usize,
    },
    /// A setting that has no meaning.
    #[error("{name} is {found}; expected {expected}")]
    InvalidSetting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The model computed something that is no number: its weights or its files are broken.
    #[error("the model's logits for token {token} after position {position} are {value}, not a number")]
    NotFinite {
        /// Position of the row.
        position: usize,
        /// Token whose logit it is.
        token: usize,
        /// The value.
        value: f32,
    },
    /// A step that did not return what was asked of it.
    #[error("the model returned no {what} for the last row of a step")]
    MissingOutput {
        /// What is missing.
        what: &'static str,
    },
    /// A model without a chat template.
    #[error("the model has no chat template; give it a plain prompt instead")]
    NoChatTemplate,
}

impl EngineError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model(error) => error.code(),
            Self::Text(error) => error.code(),
            Self::EmptyPrompt => "empty-prompt",
            Self::PromptTooLong { .. } => "prompt-too-long",
            Self::InvalidSetting { .. } => "invalid-setting",
            Self::NotFinite { .. } => "not-finite-logits",
            Self::MissingOutput { .. } => "missing-output",
            Self::NoChatTemplate => "no-chat-template",
        }
    }
}

impl From<honelm_backend::BackendError> for EngineError {
    fn from(error: honelm_backend::BackendError) -> Self {
        Self::Model(error.into())
    }
}
