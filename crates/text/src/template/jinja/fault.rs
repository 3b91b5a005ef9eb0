//! What stops a template.

/// Why and where a template stopped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub kind: FaultKind,
    /// From 1; 0 while it is not known yet.
    pub line: u32,
}

/// Why a template stopped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FaultKind {
    /// It is not valid Jinja.
    Syntax(String),
    /// It called `raise_exception`.
    Raised(String),
    /// It used up a bound.
    Limit { resource: &'static str, limit: u64 },
    /// It did what Python or the sandbox refuses.
    Failed(String),
}

/// This engine's result.
pub(super) type Result<T, E = Fault> = std::result::Result<T, E>;

/// The beginning of a name that a template made, for a message.
pub(super) fn short(name: &str) -> &str {
    name.char_indices().nth(80).map_or(name, |(at, _)| &name[..at])
}

impl Fault {
    /// Something that Python or the sandbox refuses.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Failed(message.into()), line: 0 }
    }

    /// Broken source.
    pub fn syntax(message: impl Into<String>, line: u32) -> Self {
        Self { kind: FaultKind::Syntax(message.into()), line }
    }

    /// The same in this line, where none is known yet.
    pub fn at(mut self, line: u32) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}
