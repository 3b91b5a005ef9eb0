//! The input of a conversation: a line editor on a terminal, else the lines of stdin.

use std::env;
use std::io::{self, BufRead, ErrorKind, IsTerminal, Read};
use std::path::PathBuf;

use rustyline::config::Config;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Editor as LineEditor, Result as EditResult};

use super::completer::CommandCompleter;
use crate::failure::Failure;
use crate::input::MOST_PROMPT;
use crate::output;

const PROMPT: &str = "> ";
const CONTINUED: &str = "  ";
/// Begins and ends a message of several lines.
const QUOTES: &str = "\"\"\"";

/// An input of the user.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// A message or a command.
    Line(String),
    /// A message, whatever it begins with.
    Message(String),
    /// An input that cannot be used, and the problem with it.
    Invalid(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of stdin.
    End,
}

/// Reads the inputs of a conversation.
pub enum Editor {
    /// A line editor on a terminal, with a history.
    Terminal { lines: Box<LineEditor<CommandCompleter, FileHistory>>, history: Option<PathBuf> },
    /// A pipe or file.
    Pipe,
}

/// Returns `true` if stdin and stdout are a terminal.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Returns the path of the history file: `HONELM_HISTORY`, else `history` in the user's data folder of this program.
/// `None` if the variable is empty or there is no such folder.
pub fn history_file() -> Option<PathBuf> {
    if let Some(path) = env::var_os("HONELM_HISTORY") {
        return (!path.is_empty()).then(|| path.into());
    }
    Some(honelm::data_folder()?.join("history"))
}

impl Editor {
    /// Creates a line editor on a terminal; without one, or if it cannot be set up, a reader of plain lines.
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

    /// Reads the next input.
    pub fn read(&mut self) -> Result<Input, Failure> {
        let input = assembled(&mut |prompt| self.line(prompt))?;
        if let (Self::Terminal { lines, .. }, Input::Line(text) | Input::Message(text)) = (self, &input) {
            // A failure here only shortens the history.
            let _ = lines.add_history_entry(text);
        }
        Ok(input)
    }

    fn line(&mut self, prompt: &str) -> Result<Input, Failure> {
        let stdin = |error| Failure::Io("stdin".to_owned(), error);
        match self {
            Self::Terminal { lines, .. } => match lines.readline(prompt) {
                Ok(line) => Ok(Input::Line(line)),
                Err(ReadlineError::Interrupted) => Ok(Input::Interrupted),
                Err(ReadlineError::Eof) => Ok(Input::End),
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    Ok(Input::Invalid("the input is not UTF-8".to_owned()))
                }
                Err(ReadlineError::Io(error)) => Err(stdin(error)),
                Err(other) => Err(stdin(io::Error::other(other.to_string()))),
            },
            Self::Pipe => piped_line(&mut io::stdin().lock()),
        }
    }

    /// Appends the inputs of this conversation to the history file.
    pub fn save(&mut self) {
        let Self::Terminal { lines, history: Some(path) } = self else { return };
        if path.exists() && !path.is_file() {
            return output::note(&format!("warning: {}: not a regular file; no history is kept", path.display()));
        }
        if let Some(folder) = path.parent() {
            // If this fails, so does the next call, which reports it.
            let _ = std::fs::create_dir_all(folder);
        }
        if let Err(error) = lines.append_history(path) {
            output::note(&format!("warning: {}: {error}", path.display()));
        }
    }
}

fn terminal() -> EditResult<LineEditor<CommandCompleter, FileHistory>> {
    let config = Config::builder().max_history_size(1000)?.history_ignore_space(true).build();
    let mut lines = LineEditor::with_config(config)?;
    lines.set_helper(Some(CommandCompleter::new()));
    Ok(lines)
}

/// Reads a line of UTF-8 without its end.
fn piped_line(stdin: &mut impl BufRead) -> Result<Input, Failure> {
    let mut line = Vec::new();
    let failed = |error| Failure::Io("stdin".to_owned(), error);
    if stdin.take(MOST_PROMPT + 1).read_until(b'\n', &mut line).map_err(failed)? == 0 {
        return Ok(Input::End);
    }
    if line.len() as u64 > MOST_PROMPT {
        let problem = format!("a line is longer than {MOST_PROMPT} bytes");
        return Err(honelm::Error::Text { path: "stdin".to_owned(), problem }.into());
    }
    let end = line.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    line.truncate(end);
    Ok(String::from_utf8(line).map_or_else(
        |error| {
            let at = error.utf8_error().valid_up_to();
            Input::Invalid(format!("this line was not sent: byte {at} of it is not UTF-8"))
        },
        Input::Line,
    ))
}

/// Reads lines up to the end of a message: one line, lines that end with a backslash and the one after them, or all lines
/// between triple quotes. `line` is given the prompt to show. A message with an invalid line is read to its end and
/// invalid as a whole.
fn assembled(line: &mut dyn FnMut(&str) -> Result<Input, Failure>) -> Result<Input, Failure> {
    let mut text = match line(PROMPT)? {
        Input::Line(first) => first,
        other => return Ok(other),
    };
    let is_quoted = text.trim_start().starts_with(QUOTES);
    if is_quoted {
        text = text.trim_start()[QUOTES.len()..].to_owned();
    }
    let mut problem = None;
    let mut at_end = false;
    let input = loop {
        if is_quoted {
            if let Some(whole) = text.trim_end().strip_suffix(QUOTES) {
                break Input::Message(whole.trim_matches('\n').to_owned());
            }
        } else if let Some(part) = text.strip_suffix('\\') {
            text.truncate(part.len());
        } else {
            break Input::Line(text);
        }
        if at_end {
            break if is_quoted { Input::Message(text) } else { Input::Line(text) };
        }
        match line(CONTINUED)? {
            Input::Line(next) if text.len() as u64 + next.len() as u64 <= MOST_PROMPT => {
                text.push('\n');
                text.push_str(&next);
            }
            Input::Line(_) => problem = Some(format!("the message is longer than {MOST_PROMPT} bytes")),
            Input::Invalid(found) => problem = Some(found),
            // The end of a pipe ends the message too.
            Input::End => at_end = true,
            other => return Ok(other),
        }
    };
    Ok(problem.map_or(input, Input::Invalid))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads all inputs from lines.
    fn inputs(text: &[u8]) -> Vec<Input> {
        let mut stdin = text;
        let mut next = || assembled(&mut |_| piped_line(&mut stdin)).expect("readable");
        std::iter::from_fn(|| Some(next()).filter(|input| *input != Input::End)).collect()
    }

    fn line(text: &str) -> Input {
        Input::Line(text.to_owned())
    }

    fn message(text: &str) -> Input {
        Input::Message(text.to_owned())
    }

    #[test]
    fn messages_of_several_lines_are_assembled() {
        assert_eq!(inputs(b"a\nb \\\nc\r\nd\\"), [line("a"), line("b \nc"), line("d")]);
        assert_eq!(inputs(b"\"\"\"one\n\n  two\\\n\"\"\"\nthree\n"), [message("one\n\n  two\\"), line("three")]);
        assert_eq!(inputs(b"\"\"\"\n/quit\n\"\"\"  \n"), [message("/quit")]);
        assert_eq!(inputs(b"\"\"\"exit\"\"\"\n"), [message("exit")]);
        assert_eq!(inputs(b"\"\"\"open\nend"), [message("open\nend")]);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_skipped() {
        let found = inputs(b"caf\xe9\nnext\n");
        assert!(matches!(&found[0], Input::Invalid(problem) if problem.contains("byte 3")), "{found:?}");
        assert_eq!(found[1..], [line("next")]);
        let quoted = inputs(b"\"\"\"one\ncaf\xe9\n/quit\n\"\"\"\nnext");
        assert!(matches!(&quoted[..], [Input::Invalid(_), next] if *next == line("next")), "{quoted:?}");
    }
}
