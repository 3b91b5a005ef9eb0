//! Errors.

/// The result type of this crate.
pub type Result<T, E = GrammarError> = std::result::Result<T, E>;

/// An error of this crate. [`GrammarError::code`] returns a stable name for programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// A JSON schema is invalid, or has a keyword that cannot be enforced.
    #[error("{place}: found {found}, expected {expected}")]
    Schema {
        /// The place, as a JSON pointer behind the name of the schema: `schema#/properties/a/type`.
        place: String,
        /// The text found there.
        found: String,
        /// The text expected there.
        expected: String,
    },
    /// A JSON schema is valid, but cannot be compiled.
    #[error("{place}: {reason}")]
    SchemaNotCompiled {
        /// The place of the smallest part that cannot be compiled.
        place: String,
        /// The reason.
        reason: String,
    },
    /// A grammar or a regular expression is invalid.
    #[error("{what}: {reason}")]
    Invalid {
        /// The kind of the grammar: `regex`, `lark`, `gbnf`, `choice`.
        what: &'static str,
        /// The place and the reason.
        reason: String,
    },
    /// A grammar exceeds a limit.
    #[error("{what}: found {found}, expected at most {limit}")]
    TooLarge {
        /// The thing that is too large, with its place.
        what: String,
        /// Its size.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The tools or the choice of a tool are invalid.
    #[error(transparent)]
    Text(#[from] honelm_text::TextError),
    /// The vocabulary cannot be used.
    #[error("the vocabulary cannot be used for grammars: {reason}")]
    Vocabulary {
        /// The reason.
        reason: String,
    },
    /// A token may not come next.
    #[error("token {token} ({text:?}) may not follow the {position} tokens before it")]
    TokenNotAllowed {
        /// The id.
        token: u32,
        /// Its text.
        text: String,
        /// The number of tokens before it.
        position: usize,
    },
    /// More tokens were taken back than there are.
    #[error("cannot take back {wanted} of {taken} tokens")]
    Rollback {
        /// The number of tokens to take back.
        wanted: usize,
        /// The number of tokens so far.
        taken: usize,
    },
    /// The grammar became too complex for this text, or failed.
    #[error("the grammar cannot continue after {position} tokens: {reason}")]
    Stopped {
        /// The number of tokens so far.
        position: usize,
        /// The reason.
        reason: String,
    },
}

impl GrammarError {
    /// Returns a stable name in kebab case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Schema { .. } => "bad-schema",
            Self::SchemaNotCompiled { .. } => "schema-not-compiled",
            Self::Invalid { .. } => "bad-grammar",
            Self::TooLarge { .. } => "grammar-too-large",
            Self::Text(error) => error.code(),
            Self::Vocabulary { .. } => "vocabulary-without-grammars",
            Self::TokenNotAllowed { .. } => "token-not-allowed",
            Self::Rollback { .. } => "grammar-rollback",
            Self::Stopped { .. } => "grammar-stopped",
        }
    }
}

/// The longest text of another error, in characters.
const SHOWN: usize = 400;

/// Shortens a message that may contain text from outside.
pub(crate) fn shortened(message: impl ToString) -> String {
    let mut message = message.to_string();
    if let Some((at, _)) = message.char_indices().nth(SHOWN) {
        message.truncate(at);
        message.push('…');
    }
    message
}
