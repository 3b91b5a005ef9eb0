//! How a command ends when it does not end well.

use std::io;
use std::process::ExitCode;

use serde_json::json;

use crate::output;

/// Exit status of a command that failed.
pub const FAILED: u8 = 1;
/// Exit status of wrong usage.
pub const USAGE: u8 = 2;
/// Exit status of a broken budget.
pub const BUDGET: u8 = 3;
/// Exit status when there is not enough text for a verdict.
pub const NOT_ENOUGH_TEXT: u8 = 4;
/// Exit status after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// The library said so.
    Library(honelm::Error),
    /// The same, where it means that no verdict is possible.
    NoVerdict(honelm::Error),
    /// Options that make no sense.
    Usage(String),
    /// Stdin, stdout or a file that a command reads or writes itself.
    Io(String, io::Error),
    /// Whoever read stdout has gone; nothing is left to do.
    Closed,
    /// Ctrl-C.
    Interrupted,
}

impl From<honelm::Error> for Failure {
    fn from(error: honelm::Error) -> Self {
        match error {
            honelm::Error::Interrupted => Self::Interrupted,
            honelm::Error::Usage(problem) => Self::Usage(problem),
            other => Self::Library(other),
        }
    }
}

impl Failure {
    /// What a failed write to stdout means.
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Io("stdout".to_owned(), error) }
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Library(_) | Self::Io(..) => FAILED,
            Self::NoVerdict(_) => NOT_ENOUGH_TEXT,
            Self::Usage(_) => USAGE,
            Self::Closed => 0,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Library(error) | Self::NoVerdict(error) => error.code(),
            Self::Usage(_) => "usage",
            Self::Io(..) | Self::Closed => "io",
            Self::Interrupted => "interrupted",
        }
    }

    /// A message that a user can act on.
    pub fn message(&self) -> String {
        match self {
            Self::Library(error) | Self::NoVerdict(error) => error.to_string(),
            Self::Usage(problem) => problem.clone(),
            Self::Io(what, error) => format!("{what}: {error}"),
            Self::Closed => "stdout is closed".to_owned(),
            Self::Interrupted => "interrupted".to_owned(),
        }
    }

    /// The error as JSON has it.
    pub fn json(&self) -> serde_json::Value {
        json!({ "code": self.code(), "message": self.message() })
    }

    /// Tells the user; with `json` as the one document on stdout.
    pub fn report(&self, json: bool) -> ExitCode {
        match self {
            Self::Closed => {}
            // Nobody is left to tell when this fails too.
            _ if json => drop(output::json(&json!({ "error": self.json() }))),
            _ => output::note(&format!("error: {}", self.message())),
        }
        ExitCode::from(self.status())
    }
}
