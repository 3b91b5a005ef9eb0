//! Where turns come from: a line editor on a terminal, else the lines of stdin.

use std::env;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::PathBuf;

use rustyline::config::Config;
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, Result as EditResult};

use crate::failure::Failure;
use crate::input::MOST_PROMPT;
use crate::output;

const PROMPT: &str = "> ";
const CONTINUED: &str = "  ";

/// What the user did.
pub enum Input {
    /// Lines, joined where a backslash says so.
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of a pipe.
    End,
}

/// Reads turns.
pub enum Editor {
    /// On a terminal, with a history.
    Terminal { lines: Box<DefaultEditor>, history: Option<PathBuf> },
    /// From a pipe or file.
    Pipe,
}

/// Whether a person sits in front of it.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The history file: `HONELM_HISTORY`, else `history` in the user's data folder of this program. None where the variable
/// is empty or there is no such folder.
pub fn history_file() -> Option<PathBuf> {
    if let Some(path) = env::var_os("HONELM_HISTORY") {
        return (!path.is_empty()).then(|| path.into());
    }
    let home = |below: &str| Some(PathBuf::from(env::var_os("HOME")?).join(below));
    let data = if cfg!(windows) {
        env::var_os("APPDATA").map(PathBuf::from)
    } else if cfg!(target_os = "macos") {
        home("Library/Application Support")
    } else {
        let named = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| home(".local/share"))
    };
    Some(data?.join("honelm").join("history"))
}

impl Editor {
    /// A line editor on a terminal; without one, or where it cannot be set up, plain lines.
    pub fn new(history: Option<PathBuf>) -> Self {
        if !is_interactive() {
            return Self::Pipe;
        }
        match terminal() {
            Ok(mut lines) => {
                if let Some(path) = history.as_ref().filter(|path| path.is_file())
                    && let Err(error) = lines.load_history(path)
                {
                    output::note(&format!("warning: {}: {error}", path.display()));
                }
                Self::Terminal { lines: Box::new(lines), history }
            }
            Err(_) => Self::Pipe,
        }
    }

    /// The next turn.
    pub fn read(&mut self) -> Result<Input, Failure> {
        let mut text = String::new();
        loop {
            let prompt = if text.is_empty() { PROMPT } else { CONTINUED };
            match self.line(prompt)? {
                Input::Text(line) => match line.strip_suffix('\\') {
                    Some(part) => {
                        text.push_str(part);
                        text.push('\n');
                    }
                    None => {
                        text.push_str(&line);
                        break;
                    }
                },
                // A pipe that ends in a continued line.
                Input::End if !text.is_empty() => break,
                other => return Ok(other),
            }
        }
        if let Self::Terminal { lines, .. } = self {
            // A line that cannot be remembered can still be sent.
            let _ = lines.add_history_entry(&text);
        }
        Ok(Input::Text(text))
    }

    fn line(&mut self, prompt: &str) -> Result<Input, Failure> {
        let stdin = |error| Failure::Io("stdin".to_owned(), error);
        match self {
            Self::Terminal { lines, .. } => match lines.readline(prompt) {
                Ok(line) => Ok(Input::Text(line)),
                Err(ReadlineError::Interrupted) => Ok(Input::Interrupted),
                Err(ReadlineError::Eof) => Ok(Input::End),
                Err(ReadlineError::Io(error)) => Err(stdin(error)),
                Err(other) => Err(stdin(io::Error::other(other.to_string()))),
            },
            Self::Pipe => {
                let mut line = String::new();
                if io::stdin().lock().take(MOST_PROMPT + 1).read_line(&mut line).map_err(stdin)? == 0 {
                    return Ok(Input::End);
                }
                if line.len() as u64 > MOST_PROMPT {
                    let problem = format!("a line is longer than {MOST_PROMPT} bytes");
                    return Err(honelm::Error::Text { path: "stdin".to_owned(), problem }.into());
                }
                let end = line.trim_end_matches(['\n', '\r']).len();
                line.truncate(end);
                Ok(Input::Text(line))
            }
        }
    }

    /// Keeps the history for the next time.
    pub fn save(&mut self) {
        let Self::Terminal { lines, history: Some(path) } = self else { return };
        if path.exists() && !path.is_file() {
            return output::note(&format!("warning: {}: no regular file; no history is kept", path.display()));
        }
        if let Some(folder) = path.parent() {
            // Where this fails, so does the next call, which says so.
            let _ = std::fs::create_dir_all(folder);
        }
        if let Err(error) = lines.append_history(path) {
            output::note(&format!("warning: {}: {error}", path.display()));
        }
    }
}

fn terminal() -> EditResult<DefaultEditor> {
    let config = Config::builder().max_history_size(1000)?.history_ignore_space(true).build();
    DefaultEditor::with_config(config)
}
