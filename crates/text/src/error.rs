//! Errors.

use std::path::PathBuf;

/// The result type of this crate.
pub type Result<T, E = TextError> = std::result::Result<T, E>;

/// An error of this crate. [`TextError::code`] returns a stable name for programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The GGUF metadata cannot be read.
    #[error(transparent)]
    Format(#[from] honelm_formats::FormatError),
    /// A JSON file is invalid, or a field has the wrong form.
    #[error("{file}: {reason}")]
    Json {
        /// The file's name, for example `tokenizer.json`.
        file: &'static str,
        /// The place and the reason.
        reason: String,
    },
    /// A file of another format is invalid.
    #[error("{file}, {place}: {reason}")]
    Malformed {
        /// The file's name, for example `tokenizer.model`.
        file: &'static str,
        /// The line, byte or field.
        place: String,
        /// The reason.
        reason: String,
    },
    /// The pre-tokenizer is unknown: neither the file nor the files beside it name it.
    #[error("{file}: {reason}")]
    UnknownFamily {
        /// The file's name.
        file: &'static str,
        /// The properties that were examined, and their known values.
        reason: String,
    },
    /// A folder has no supported tokenizer.
    #[error(
        "{}: no tokenizer (tokenizer.json, tokenizer.model, *.tiktoken, or vocab.json with merges.txt)",
        path.display()
    )]
    NoTokenizer {
        /// The folder or file.
        path: PathBuf,
    },
    /// A part of a tokenizer is of a kind that cannot be read or written.
    #[error("tokenizer {part}: {found} is not supported (expected {expected})")]
    Unsupported {
        /// The part, for example `decoder`.
        part: &'static str,
        /// The kind that was found.
        found: String,
        /// The supported kinds.
        expected: &'static str,
    },
    /// GGUF metadata names an unknown pre-tokenizer.
    #[error("tokenizer.ggml.pre: unknown pre-tokenizer `{name}`")]
    UnknownPreTokenizer {
        /// The name.
        name: String,
    },
    /// No pre-tokenizer of GGUF has the split expressions of a tokenizer.json.
    #[error("pre_tokenizer: no GGUF pre-tokenizer is known for {expression}")]
    UnknownSplit {
        /// The expression or expressions.
        expression: String,
    },
    /// A required field is missing.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// The vocabulary has no tokens.
    #[error("the vocabulary is empty")]
    EmptyVocabulary,
    /// Two ids have the same text.
    #[error("token {token:?} appears twice, as ids {first} and {second}")]
    DuplicateToken {
        /// The text.
        token: String,
        /// The first id.
        first: u32,
        /// The second id.
        second: u32,
    },
    /// Two texts have the same id.
    #[error("id {id} belongs to both {first:?} and {second:?}")]
    DuplicateId {
        /// The id.
        id: u32,
        /// The first text.
        first: String,
        /// The second text.
        second: String,
    },
    /// An id lies outside the vocabulary.
    #[error("{field}: id {id} is outside the vocabulary of {len}")]
    IdOutOfRange {
        /// The field or token that has the id.
        field: String,
        /// The id.
        id: u64,
        /// The number of tokens, or the largest plausible number while reading.
        len: usize,
    },
    /// A merge rule does not have two tokens.
    #[error("merge {index}: {text:?} is not a pair of tokens")]
    BadMerge {
        /// The index in the list of merges.
        index: usize,
        /// The text of the rule.
        text: String,
    },
    /// A merge rule contains or produces a token that is not in the vocabulary.
    #[error("merge {index}: {token:?} is not in the vocabulary")]
    UnknownMergeToken {
        /// The index in the list of merges.
        index: usize,
        /// The unknown token.
        token: String,
    },
    /// Two related lists differ in length.
    #[error("{field} has {found} entries, expected {expected}")]
    CountMismatch {
        /// The list.
        field: &'static str,
        /// The length of the list.
        found: usize,
        /// The size of the vocabulary.
        expected: usize,
    },
    /// A token is too long.
    #[error("token {id} has {bytes} bytes, expected at most {limit}")]
    TokenTooLong {
        /// The token.
        id: u32,
        /// The length in bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A SentencePiece score is not a number.
    #[error("tokenizer.ggml.scores: the score of token {id} is not a number")]
    BadScore {
        /// The token.
        id: u32,
    },
    /// Scores cannot express the merge rules: llama.cpp would produce other tokens.
    #[error("merges cannot be written as scores: {reason}")]
    NotScoreOrdered {
        /// The merge rule and the reason.
        reason: String,
    },
    /// GGUF metadata cannot represent the tokenizer.
    #[error(
        "GGUF cannot represent this tokenizer: {what} {text:?} becomes {found}, expected {expected}; --force writes it anyway"
    )]
    LossyVocab {
        /// `the text`, or `the tokens of`.
        what: &'static str,
        /// An example of a text that changes.
        text: String,
        /// The result of this tokenizer.
        expected: String,
        /// The result of the tokenizer that the metadata describe.
        found: String,
    },
    /// The vocabulary has more tokens than the embedding has rows.
    #[error("the vocabulary has {found} tokens, but the embedding has only {rows} rows")]
    VocabularyTooLong {
        /// The number of tokens.
        found: usize,
        /// The number of rows.
        rows: usize,
    },
    /// The text cannot be encoded.
    #[error("the text cannot be encoded: {reason}")]
    Encode {
        /// The reason.
        reason: String,
    },
    /// Encoding the text would take too much work, because the tokenizer's steps grow it or search it repeatedly.
    #[error("the tokenizer would touch more than {limit} bytes for this text")]
    WorkLimit {
        /// The number of bytes that encoding may touch.
        limit: u64,
    },
    /// The model has no chat template of this name.
    #[error("there is no chat template named {name:?} (known: {})", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    TemplateNotFound {
        /// The requested name.
        name: String,
        /// The available names.
        known: Vec<String>,
    },
    /// The chat template is not valid Jinja.
    #[error("chat template, line {line}: {message}")]
    TemplateSyntax {
        /// The reason.
        message: String,
        /// The line in the template, from 1. It is 0 if unknown.
        line: usize,
    },
    /// The chat template failed while rendering.
    #[error("chat template, line {line}: {message}")]
    TemplateRender {
        /// The reason.
        message: String,
        /// The line in the template, from 1. It is 0 if unknown.
        line: usize,
    },
    /// The chat template refused the conversation (`raise_exception`).
    #[error("the chat template refuses this conversation (line {line}): {message}")]
    TemplateRaised {
        /// The template's message.
        message: String,
        /// The line in the template, from 1. It is 0 if unknown.
        line: usize,
    },
    /// The chat template reached a bound.
    #[error("chat template, line {line}: more than {limit} {resource}")]
    TemplateLimit {
        /// The bounded resource: `bytes touched`, `bytes in one value`, `bytes of output`, `bytes of source`, or
        /// `nested levels`.
        resource: &'static str,
        /// The bound.
        limit: u64,
        /// The line in the template, from 1. It is 0 if unknown.
        line: usize,
    },
    /// The list of tools is invalid.
    #[error("{place} is {found}, expected {expected}")]
    Tools {
        /// The place in the list, for example `tools[1].function.name`.
        place: String,
        /// The text found there.
        found: String,
        /// The text expected there.
        expected: &'static str,
    },
    /// A tool cannot be forced in the form in which the model writes calls.
    #[error("tool {tool:?}, {place}: {reason}")]
    CallGrammar {
        /// The tool's name.
        tool: String,
        /// The place in the schema of its arguments.
        place: String,
        /// The reason.
        reason: String,
    },
}

impl TextError {
    /// Returns a stable name in kebab case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "text-io",
            Self::Format(error) => error.code(),
            Self::Json { .. } => "tokenizer-json",
            Self::Malformed { .. } => "tokenizer-malformed",
            Self::UnknownFamily { .. } => "unknown-tokenizer-family",
            Self::NoTokenizer { .. } => "no-tokenizer",
            Self::Unsupported { .. } => "tokenizer-unsupported",
            Self::UnknownPreTokenizer { .. } => "unknown-pre-tokenizer",
            Self::UnknownSplit { .. } => "unknown-split-expression",
            Self::Missing { .. } => "tokenizer-field-missing",
            Self::EmptyVocabulary => "empty-vocabulary",
            Self::DuplicateToken { .. } => "duplicate-token",
            Self::DuplicateId { .. } => "duplicate-token-id",
            Self::IdOutOfRange { .. } => "token-id-out-of-range",
            Self::BadMerge { .. } => "bad-merge",
            Self::UnknownMergeToken { .. } => "unknown-merge-token",
            Self::CountMismatch { .. } => "tokenizer-count-mismatch",
            Self::TokenTooLong { .. } => "token-too-long",
            Self::BadScore { .. } => "bad-token-score",
            Self::NotScoreOrdered { .. } => "merges-not-score-ordered",
            Self::LossyVocab { .. } => "lossy-tokenizer",
            Self::VocabularyTooLong { .. } => "vocabulary-too-long",
            Self::Encode { .. } => "text-encode",
            Self::WorkLimit { .. } => "text-work-limit",
            Self::TemplateNotFound { .. } => "template-not-found",
            Self::TemplateSyntax { .. } => "template-syntax",
            Self::TemplateRender { .. } => "template-render",
            Self::TemplateRaised { .. } => "template-raised",
            Self::TemplateLimit { .. } => "template-limit",
            Self::Tools { .. } => "bad-tools",
            Self::CallGrammar { .. } => "call-grammar",
        }
    }

    /// Makes an error of an invalid file that is not JSON.
    pub(crate) fn malformed(file: &'static str, place: impl ToString, reason: impl ToString) -> Self {
        Self::Malformed { file, place: place.to_string(), reason: reason.to_string() }
    }

    /// Makes an error of an invalid JSON file.
    pub(crate) fn json(file: &'static str, reason: impl ToString) -> Self {
        Self::Json { file, reason: reason.to_string() }
    }
}
