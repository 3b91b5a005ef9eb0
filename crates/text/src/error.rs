//! What can be wrong with a tokenizer, a text or a template.

use std::path::PathBuf;

/// This crate's result.
pub type Result<T, E = TextError> = std::result::Result<T, E>;

/// An error of this crate. [`TextError::code`] names it for programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The GGUF metadata cannot be read.
    #[error(transparent)]
    Format(#[from] honelm_formats::FormatError),
    /// A JSON file is broken, or a field has the wrong form.
    #[error("{file}: {reason}")]
    Json {
        /// The file's name, for example `tokenizer.json`.
        file: &'static str,
        /// Where and how.
        reason: String,
    },
    /// A file that is not JSON is broken.
    #[error("{file}, {place}: {reason}")]
    Malformed {
        /// The file's name, for example `tokenizer.model`.
        file: &'static str,
        /// Line, byte or field.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// A file does not say how text is cut, and nothing beside it does.
    #[error("{file}: {reason}")]
    UnknownFamily {
        /// The file's name.
        file: &'static str,
        /// What was looked at, and what is known.
        reason: String,
    },
    /// A folder has no tokenizer that is read.
    #[error(
        "{}: no tokenizer (tokenizer.json, tokenizer.model, *.tiktoken, or vocab.json with merges.txt)",
        path.display()
    )]
    NoTokenizer {
        /// The folder or file.
        path: PathBuf,
    },
    /// A part of a tokenizer is of a kind that is not read or cannot be written.
    #[error("tokenizer {part}: {found} is not supported (expected {expected})")]
    Unsupported {
        /// The part, for example `decoder`.
        part: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// GGUF metadata names a pre-tokenizer that is not in the table.
    #[error("tokenizer.ggml.pre: pre-tokenizer `{name}` is unknown, and is not guessed")]
    UnknownPreTokenizer {
        /// The name found.
        name: String,
    },
    /// A tokenizer.json splits text by an expression that no pre-tokenizer of the table has.
    #[error("pre_tokenizer: no GGUF pre-tokenizer is known for {expression}")]
    UnknownSplit {
        /// The expression or expressions.
        expression: String,
    },
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// The vocabulary has no token.
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
        /// One text.
        first: String,
        /// The other.
        second: String,
    },
    /// An id lies outside the vocabulary.
    #[error("{field}: id {id} is outside the vocabulary of {len}")]
    IdOutOfRange {
        /// The field or token that names it.
        field: String,
        /// The id.
        id: u64,
        /// Number of tokens, or the largest sensible one while reading.
        len: usize,
    },
    /// A merge rule is not two tokens.
    #[error("merge {index}: {text:?} is not a pair of tokens")]
    BadMerge {
        /// Index in the list of merges.
        index: usize,
        /// Its text.
        text: String,
    },
    /// A merge rule names or makes a token that is not in the vocabulary.
    #[error("merge {index}: {token:?} is not in the vocabulary")]
    UnknownMergeToken {
        /// Index in the list of merges.
        index: usize,
        /// The unknown token.
        token: String,
    },
    /// Two lists that belong together differ in length.
    #[error("{field} has {found} entries, expected {expected}")]
    CountMismatch {
        /// The list.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The vocabulary's.
        expected: usize,
    },
    /// A token is longer than any real one.
    #[error("token {id} is {bytes} bytes long, at most {limit} are allowed")]
    TokenTooLong {
        /// The token.
        id: u32,
        /// Its length in bytes.
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
    /// Merges that no scores can express: llama.cpp would tokenize differently.
    #[error("merges cannot be written as scores: {reason}")]
    NotScoreOrdered {
        /// Which merge, and why.
        reason: String,
    },
    /// GGUF metadata that would be read back as another tokenizer.
    #[error(
        "GGUF cannot hold this tokenizer: {what} {text:?} becomes {found}, expected {expected}; --force writes it all the same"
    )]
    LossyVocab {
        /// `the text`, or `the tokens of`.
        what: &'static str,
        /// A text that shows it.
        text: String,
        /// What this tokenizer makes of it.
        expected: String,
        /// What the one that is read back does.
        found: String,
    },
    /// The vocabulary is longer than the embedding.
    #[error("the vocabulary has {found} tokens, the embedding only {rows} rows")]
    VocabularyTooLong {
        /// Number of tokens.
        found: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// The text could not be encoded.
    #[error("the text cannot be encoded: {reason}")]
    Encode {
        /// Why.
        reason: String,
    },
    /// Encoding the text would take too much work: the tokenizer's steps grow it, or search it again and again.
    #[error("the tokenizer would touch more than {limit} bytes for this text")]
    WorkLimit {
        /// Bytes that it may touch.
        limit: u64,
    },
    /// There is no chat template of that name.
    #[error("there is no chat template named {name:?} (known: {})", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    TemplateNotFound {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The chat template is not valid Jinja.
    #[error("chat template, line {line}: {message}")]
    TemplateSyntax {
        /// What is wrong.
        message: String,
        /// Line in the template, from 1; 0 when unknown.
        line: usize,
    },
    /// The chat template failed while rendering.
    #[error("chat template, line {line}: {message}")]
    TemplateRender {
        /// What is wrong.
        message: String,
        /// Line in the template, from 1; 0 when unknown.
        line: usize,
    },
    /// The chat template refused the conversation (`raise_exception`).
    #[error("the chat template refuses this conversation (line {line}): {message}")]
    TemplateRaised {
        /// The template's own words.
        message: String,
        /// Line in the template, from 1; 0 when unknown.
        line: usize,
    },
    /// The chat template used up a bound: it loops, recurses, or writes without end.
    #[error("chat template, line {line}: more than {limit} {resource}")]
    TemplateLimit {
        /// What ran out: `bytes touched`, `bytes in one value`, `bytes` of output, `bytes of source`, or `nested levels`.
        resource: &'static str,
        /// The bound.
        limit: u64,
        /// Line in the template, from 1; 0 when unknown.
        line: usize,
    },
}

impl TextError {
    /// A stable name in kebab case.
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
        }
    }

    /// A broken file that is not JSON.
    pub(crate) fn malformed(file: &'static str, place: impl ToString, reason: impl ToString) -> Self {
        Self::Malformed { file, place: place.to_string(), reason: reason.to_string() }
    }

    /// A broken JSON file.
    pub(crate) fn json(file: &'static str, reason: impl ToString) -> Self {
        Self::Json { file, reason: reason.to_string() }
    }
}
