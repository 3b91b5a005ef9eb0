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
/// Exit status of an encoding that cannot be had, where no other is allowed.
pub const FALLBACK: u8 = 5;
/// Exit status after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// How a command ends when a mapped model file is cut short: the system allows no more than a fixed text with the path
/// in it.
pub fn lost_page(json: bool) -> honelm::LostPage {
    // As serde_json lays a document out; the path comes escaped.
    let (before, after) = if json {
        ("{\n  \"error\": {\n    \"code\": \"file-changed\",\n    \"message\": \"", "\"\n  }\n}\n")
    } else {
        ("\nerror: ", "\n")
    };
    honelm::LostPage { to_stdout: json, before, problem: LOST_PAGE, after, status: FAILED }
}

/// What is said of that file.
const LOST_PAGE: &str = " was cut short, or its disk failed, while it was in use; run again when the file is whole";

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
            Self::Library(honelm::Error::Fallback { .. }) => FALLBACK,
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
            _ if json => {
                match output::json(&json!({ "error": self.json() })) {
                    Ok(()) | Err(Self::Closed) => {}
                    // What cannot be told on stdout is told on stderr.
                    Err(unwritten) => {
                        output::note(&format!("error: {}", self.message()));
                        if unwritten.message() != self.message() {
                            output::note(&format!("error: {}", unwritten.message()));
                        }
                    }
                }
            }
            _ => output::note(&format!("error: {}", self.message())),
        }
        ExitCode::from(self.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_page_is_told_as_every_other_error() {
        let text = |page: honelm::LostPage| [page.before, "a\\u001bb.gguf", page.problem, page.after].concat();
        let document: serde_json::Value = serde_json::from_str(&text(lost_page(true))).expect("a document");
        assert_eq!(document["error"]["code"], "file-changed");
        assert!(document["error"]["message"].as_str().is_some_and(|m| m.starts_with("a\u{1b}b.gguf was cut short")));
        let said = text(lost_page(false));
        assert!(said.starts_with("\nerror: a\\u001bb.gguf was cut short") && said.ends_with('\n'), "{said}");
        assert_eq!((lost_page(true).status, lost_page(true).to_stdout, lost_page(false).to_stdout), (1, true, false));
    }
}
