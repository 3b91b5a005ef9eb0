//! Errors.

/// An error of parsing or rendering a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct Error {
    /// The cause.
    pub kind: ErrorKind,
    /// The template's line, from 1. It is 0 if the error belongs to no line.
    pub line: u32,
}

/// The cause of an [`Error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The source is not valid Jinja.
    #[error("{0}")]
    Syntax(String),
    /// The template called `raise_exception` with this message.
    #[error("{0}")]
    Raised(String),
    /// A bound was reached.
    #[error("more than {limit} {resource}")]
    Limit {
        /// The bounded resource, in words: `bytes touched`, `nested levels`, ...
        resource: &'static str,
        /// The bound.
        limit: u64,
    },
    /// Python or the sandbox refuses an operation.
    #[error("{0}")]
    Failed(String),
}

/// The result of an operation of a template.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Returns the first 80 characters of a name, for an error message.
pub(crate) fn short(name: &str) -> &str {
    name.char_indices().nth(80).map_or(name, |(at, _)| &name[..at])
}

impl Error {
    /// Makes an error of an operation that Python or the sandbox refuses.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Failed(message.into()), line: 0 }
    }

    /// Makes an error of invalid source.
    pub(crate) fn syntax(message: impl Into<String>, line: u32) -> Self {
        Self { kind: ErrorKind::Syntax(message.into()), line }
    }

    /// Makes an error of a bound that was reached.
    pub(crate) fn limit(resource: &'static str, limit: u64) -> Self {
        Self { kind: ErrorKind::Limit { resource, limit }, line: 0 }
    }

    /// Adds the line, unless the error has one.
    pub(crate) fn at(mut self, line: u32) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}
