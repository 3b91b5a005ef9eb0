//! The ways in which a command fails, and the exit statuses.

use std::io;

use serde_json::json;

/// The exit statuses, as `--help` lists them.
pub const STATUSES: [(&str, &str); 7] = [
    ("0", "success"),
    ("1", "failure"),
    ("2", "wrong command line"),
    (
        "3",
        "`optimize`: no candidate is within the budget, and nothing is published; `distil`: the student exceeds a limit",
    ),
    ("4", "`optimize`, `distil`: the text is too short for a verdict"),
    ("5", "`--strict`: a matrix cannot have the encoding that was asked for"),
    ("130", "interrupted by Ctrl-C"),
];

/// The exit status of a command that failed.
pub const FAILED: u8 = 1;
/// The exit status of a wrong command line.
pub const USAGE: u8 = 2;
/// The exit status where no candidate is within the budget.
pub const BUDGET: u8 = 3;
/// The exit status where the text is too short for a verdict.
pub const NOT_ENOUGH_TEXT: u8 = 4;
/// The exit status where `--strict` forbids the encoding that would be written.
pub const FALLBACK: u8 = 5;
/// The exit status after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Returns the message for a mapped model file that is cut short while it is read. The system allows only a fixed text
/// with the path in it at that point.
pub fn lost_page(json: bool) -> honelm::LostPage {
    // Laid out as serde_json does; the path comes escaped.
    let (before, after) = if json {
        ("{\n  \"error\": {\n    \"code\": \"file-changed\",\n    \"message\": \"", "\"\n  }\n}\n")
    } else {
        ("\nerror: ", "\n")
    };
    honelm::LostPage { to_stdout: json, before, problem: LOST_PAGE, after, status: FAILED }
}

/// The message about that file, after its path.
const LOST_PAGE: &str = " was cut short, or its disk failed, while it was in use; run again when the file is whole";

/// A reason why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// An error of the library.
    Library(honelm::Error),
    /// An error of the library because of which no verdict is possible.
    NoVerdict(honelm::Error),
    /// A model that was not found, and the names that are close to what was typed.
    NoModel(Box<honelm::Error>, Vec<String>),
    /// An error of the records of a gateway.
    Records(honelm_server::gateway::store::StoreError),
    /// Options that are wrong or contradict each other.
    Usage(String),
    /// An error of stdin, stdout or a file that a command reads or writes itself.
    Io(String, io::Error),
    /// The reader of stdout has closed it: there is nothing left to do.
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
    /// Converts the error of a failed write to stdout.
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Io("stdout".to_owned(), error) }
    }

    /// Returns the exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Library(honelm::Error::Fallback { .. }) => FALLBACK,
            Self::Library(_) | Self::NoModel(..) | Self::Records(_) | Self::Io(..) => FAILED,
            Self::NoVerdict(_) => NOT_ENOUGH_TEXT,
            Self::Usage(_) => USAGE,
            Self::Closed => 0,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// Returns a stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Library(error) | Self::NoVerdict(error) => error.code(),
            Self::NoModel(error, _) => error.code(),
            Self::Records(error) => error.code(),
            Self::Usage(_) => "usage",
            Self::Io(..) | Self::Closed => "io",
            Self::Interrupted => "interrupted",
        }
    }

    /// Returns the message for the user.
    pub fn message(&self) -> String {
        match self {
            Self::Library(error) | Self::NoVerdict(error) => error.to_string(),
            Self::NoModel(error, near) if near.is_empty() => error.to_string(),
            Self::NoModel(error, near) => format!("{error}\nSimilar names: {}", near.join(", ")),
            Self::Records(error) => error.to_string(),
            Self::Usage(problem) => problem.clone(),
            Self::Io(name, error) => format!("{name}: {error}"),
            Self::Closed => "stdout is closed".to_owned(),
            Self::Interrupted => "interrupted".to_owned(),
        }
    }

    /// Returns the error as `--json` prints it.
    pub fn json(&self) -> serde_json::Value {
        json!({ "code": self.code(), "message": self.message() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_page_is_reported_as_every_other_error() {
        let text = |page: honelm::LostPage| [page.before, "a\\u001bb.gguf", page.problem, page.after].concat();
        let document: serde_json::Value = serde_json::from_str(&text(lost_page(true))).expect("a document");
        assert_eq!(document["error"]["code"], "file-changed");
        assert!(document["error"]["message"].as_str().is_some_and(|m| m.starts_with("a\u{1b}b.gguf was cut short")));
        let said = text(lost_page(false));
        assert!(said.starts_with("\nerror: a\\u001bb.gguf was cut short") && said.ends_with('\n'), "{said}");
        assert_eq!((lost_page(true).status, lost_page(true).to_stdout, lost_page(false).to_stdout), (1, true, false));
    }
}
