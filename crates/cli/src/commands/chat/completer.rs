//! Completion by Tab: commands, their values, and file names.

use clap::ValueEnum;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper, Result};

use super::command::{COMMANDS, SETTINGS};
use crate::commands::thoughts::Shown;

/// Completes lines that begin with a slash.
pub struct CommandCompleter {
    files: FilenameCompleter,
}

impl CommandCompleter {
    pub fn new() -> Self {
        Self { files: FilenameCompleter::new() }
    }
}

impl Completer for CommandCompleter {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, context: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let typed = line.get(..position).unwrap_or(line);
        match words(typed) {
            Some((start, words)) => Ok((start, words.into_iter().map(pair).collect())),
            None if typed.starts_with("/save ") || typed.starts_with("/load ") => {
                self.files.complete(line, position, context)
            }
            None => Ok((position, Vec::new())),
        }
    }
}

/// Returns the words that complete `typed`, and the position where they begin; `None` where it is not a word of a
/// command.
fn words(typed: &str) -> Option<(usize, Vec<String>)> {
    let rest = typed.strip_prefix('/')?;
    let start = typed.rfind(' ').map_or(0, |space| space + 1);
    let beginning = &typed[start..];
    let values: Vec<String> = match rest.split_once(' ') {
        None => COMMANDS.iter().map(|(name, ..)| format!("/{name}")).collect(),
        Some(("set", argument)) if !argument.contains(' ') => SETTINGS.map(str::to_owned).to_vec(),
        Some(("think", _)) => ["on", "off"].map(str::to_owned).to_vec(),
        Some(("thinking", _)) => {
            Shown::value_variants().iter().filter_map(|v| Some(v.to_possible_value()?.get_name().to_owned())).collect()
        }
        Some(_) => return None,
    };
    Some((start, values.into_iter().filter(|value| value.starts_with(beginning)).collect()))
}

fn pair(word: String) -> Pair {
    Pair { display: word.clone(), replacement: word }
}

impl Helper for CommandCompleter {}
impl Highlighter for CommandCompleter {}
impl Hinter for CommandCompleter {
    type Hint = String;
}
impl Validator for CommandCompleter {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_their_values_are_completed() {
        let complete = |typed: &str| words(typed).map(|(start, words)| (start, words.join(" ")));
        assert_eq!(complete("/re"), Some((0, "/retry /reset /result".to_owned())));
        assert_eq!(complete("/set temp"), Some((5, "temperature".to_owned())));
        assert_eq!(complete("/thinking h"), Some((10, "hide".to_owned())));
        assert_eq!(complete("/think "), Some((7, "on off".to_owned())));
        for other in ["hello", "/save a", "/set top_k 4"] {
            assert_eq!(complete(other), None, "{other}");
        }
    }
}
