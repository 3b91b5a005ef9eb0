//! The errors in calls.

/// The error in a call. [`BrokenCall::code`] returns a stable name for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokenCall {
    /// The text is not JSON.
    #[error("character {at} of the call is {found:?}, expected {expected}")]
    NotJson {
        /// The number of the character in the JSON text, from 1.
        at: usize,
        /// The character.
        found: char,
        /// The text expected there.
        expected: &'static str,
    },
    /// The form's tags are not as they must be.
    #[error("the call has {found:?}, expected {expected}")]
    Malformed {
        /// The text.
        found: String,
        /// The text expected there.
        expected: String,
    },
    /// There is no tool of this name.
    #[error("there is no tool {name:?}; known are {known:?}")]
    UnknownTool {
        /// The name in the call.
        name: String,
        /// The names of the tools.
        known: Vec<String>,
    },
    /// The call has no name.
    #[error("the call has no \"name\" with a string")]
    NoName,
    /// The arguments are not an object.
    #[error("the arguments begin with {found:?}, expected an object")]
    ArgumentsNotAnObject {
        /// The beginning of the arguments.
        found: String,
    },
    /// A member or a parameter is given twice.
    #[error("{name:?} is given twice")]
    Repeated {
        /// The name.
        name: String,
    },
    /// The answer ended inside the call.
    #[error("the answer ended inside the call")]
    CutShort,
    /// The call is too long.
    #[error("the call has more than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The arguments are nested too deeply.
    #[error("the call is nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
}

impl BrokenCall {
    /// Returns a stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "call-not-json",
            Self::Malformed { .. } => "call-malformed",
            Self::UnknownTool { .. } => "call-unknown-tool",
            Self::NoName => "call-without-name",
            Self::ArgumentsNotAnObject { .. } => "call-arguments-not-an-object",
            Self::Repeated { .. } => "call-repeats-a-name",
            Self::CutShort => "call-cut-short",
            Self::TooLong { .. } => "call-too-long",
            Self::TooDeep { .. } => "call-too-deep",
        }
    }
}
