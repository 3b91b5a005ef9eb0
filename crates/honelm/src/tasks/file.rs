//! Task files: JSON lines with a question each, as `docs/tasks.md` describes them.

use std::path::Path;

use honelm_store::Digest;
use honelm_text::Message;
use serde::Deserialize;

use super::exact::{ExactMatch, Take};
use crate::Error;
use crate::texts::read;

/// The default limit of an answer in tokens, as in lm-evaluation-harness.
const MAX_TOKENS: usize = 256;
/// The text between a plain context and a choice or a target.
const DELIMITER: &str = " ";

/// The items of a task file.
#[derive(Debug, Clone)]
pub struct Tasks {
    /// The path of the file.
    pub name: String,
    /// The SHA-256 digest of its bytes.
    pub digest: String,
    /// The items, in the order of the file.
    pub items: Vec<Item>,
}

/// A question with its right answer.
#[derive(Debug, Clone)]
pub struct Item {
    /// The line in the file, from 1.
    pub line: usize,
    /// The name of the group.
    pub task: String,
    /// The text before the answer.
    pub context: Context,
    /// The answer and how it is judged.
    pub kind: Kind,
}

/// The text before an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Context {
    /// A plain text.
    Text(String),
    /// A conversation, which the model's chat template formats.
    Messages(Vec<Message>),
}

/// The kind of an item.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Multiple choice: the most likely choice should be the right one.
    Choice {
        /// The choices.
        choices: Vec<String>,
        /// The index of the right one.
        answer: usize,
        /// The text before each choice; `None` is the usual one.
        delimiter: Option<String>,
        /// `true` if the accuracy counts the choice with the largest log-likelihood per byte.
        per_byte: bool,
    },
    /// Cloze: greedy generation should write the target.
    Cloze {
        /// The target.
        target: String,
        /// The text before the target; `None` is the usual one.
        delimiter: Option<String>,
    },
    /// A generated answer: it should be one of the right ones, exactly.
    Generate {
        /// The texts that end the answer.
        stop: Vec<String>,
        /// The largest number of tokens.
        max_tokens: usize,
        /// The right answers, and what is ignored in the comparison.
        exact: ExactMatch,
    },
}

impl Kind {
    /// Returns the name in task files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Choice { .. } => "choice",
            Self::Cloze { .. } => "cloze",
            Self::Generate { .. } => "generate",
        }
    }

    /// Returns the text between a context and a choice or a target.
    pub(super) fn delimiter(given: &Option<String>, is_chat: bool) -> &str {
        given.as_deref().unwrap_or(if is_chat { "" } else { DELIMITER })
    }
}

/// A line as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: Name,
    task: Option<String>,
    context: Option<String>,
    messages: Option<Vec<Turn>>,
    choices: Option<Vec<String>>,
    answer: Option<usize>,
    delimiter: Option<String>,
    metric: Option<Metric>,
    target: Option<String>,
    answers: Option<Vec<String>>,
    stop: Option<Vec<String>>,
    max_tokens: Option<usize>,
    regex: Option<String>,
    take: Option<Take>,
    remove: Option<Vec<String>>,
    ignore_case: Option<bool>,
    ignore_punctuation: Option<bool>,
    ignore_numbers: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    Choice,
    Cloze,
    Generate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Metric {
    #[serde(rename = "acc")]
    Accuracy,
    #[serde(rename = "acc_norm")]
    PerByte,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    role: String,
    content: String,
}

impl Tasks {
    /// Reads a task file.
    ///
    /// # Errors
    /// A file that cannot be read; [`Error::Task`] for an invalid line; [`Error::Text`] for a file without items.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let contents = read(path)?;
        let name = path.to_string_lossy().into_owned();
        let group = path.file_stem().map_or_else(|| name.clone(), |stem| stem.to_string_lossy().into_owned());
        let bad = |line: usize, problem: String| Error::Task { path: name.clone(), line, problem };
        let mut items = Vec::new();
        for (at, text) in contents.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
            let line = serde_json::from_str::<Line>(text).map_err(|error| bad(at + 1, in_one_line(&error)))?;
            items.push(item(line, at + 1, &group).map_err(|problem| bad(at + 1, problem))?);
        }
        if items.is_empty() {
            return Err(Error::Text { path: name, problem: "found no items, expected at least one line".to_owned() });
        }
        Ok(Self { digest: Digest::default().with(&contents).hex(), name, items })
    }
}

/// Returns a JSON error without serde's own line, which is always the first.
fn in_one_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(problem) if error.column() > 0 => format!("{problem} (column {})", error.column()),
        _ => text,
    }
}

/// Checks a line. An error says what is wrong with it.
fn item(mut line: Line, number: usize, group: &str) -> Result<Item, String> {
    let context = match (line.context.take(), line.messages.take()) {
        (Some(text), None) => Context::Text(text),
        (None, Some(turns)) if turns.is_empty() => return Err("messages: found none, expected at least one".to_owned()),
        (None, Some(turns)) => {
            Context::Messages(turns.into_iter().map(|turn| Message::new(turn.role, turn.content)).collect())
        }
        _ => return Err("expected either 'context' or 'messages'".to_owned()),
    };
    let kind = match line.kind {
        Name::Choice => choice(&mut line)?,
        Name::Cloze => cloze(&mut line)?,
        Name::Generate => generate(&mut line)?,
    };
    if let Some(field) = rest(&line) {
        return Err(format!("{field}: not a field of the kind '{}'", kind.name()));
    }
    let task = line.task.take().unwrap_or_else(|| group.to_owned());
    if task.is_empty() {
        return Err("task: found an empty name, expected text".to_owned());
    }
    Ok(Item { line: number, task, context, kind })
}

fn required<T>(value: Option<T>, field: &str, kind: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("{field}: missing, the kind '{kind}' needs it"))
}

fn choice(line: &mut Line) -> Result<Kind, String> {
    let choices = required(line.choices.take(), "choices", "choice")?;
    if choices.len() < 2 || choices.iter().any(String::is_empty) {
        return Err("choices: expected at least two texts, none of them empty".to_owned());
    }
    let answer = required(line.answer.take(), "answer", "choice")?;
    if answer >= choices.len() {
        let last = choices.len() - 1;
        return Err(format!("answer: found {answer}, expected the index of the right choice, 0 to {last}"));
    }
    let per_byte = line.metric.take() == Some(Metric::PerByte);
    Ok(Kind::Choice { choices, answer, delimiter: line.delimiter.take(), per_byte })
}

fn cloze(line: &mut Line) -> Result<Kind, String> {
    let target = required(line.target.take(), "target", "cloze")?;
    if target.is_empty() {
        return Err("target: found an empty text, expected at least one character".to_owned());
    }
    Ok(Kind::Cloze { target, delimiter: line.delimiter.take() })
}

fn generate(line: &mut Line) -> Result<Kind, String> {
    let answers = required(line.answers.take(), "answers", "generate")?;
    if answers.is_empty() {
        return Err("answers: found none, expected at least one right answer".to_owned());
    }
    let stop = line.stop.take().unwrap_or_default();
    if stop.iter().any(String::is_empty) {
        return Err("stop: found an empty text, expected at least one character".to_owned());
    }
    let max_tokens = line.max_tokens.take().unwrap_or(MAX_TOKENS);
    if max_tokens == 0 {
        return Err("max_tokens: found 0, expected at least 1".to_owned());
    }
    let (regex, take) = (line.regex.take(), line.take.take());
    if regex.is_none() && take.is_some() {
        return Err("take: needs 'regex'".to_owned());
    }
    let exact =
        ExactMatch::new(answers, regex.as_deref(), take.unwrap_or_default(), &line.remove.take().unwrap_or_default())?
            .ignoring(
                line.ignore_case.take().unwrap_or(false),
                line.ignore_punctuation.take().unwrap_or(false),
                line.ignore_numbers.take().unwrap_or(false),
            );
    Ok(Kind::Generate { stop, max_tokens, exact })
}

/// Returns the name of a field that has not been taken.
fn rest(line: &Line) -> Option<&'static str> {
    let fields = [
        (line.choices.is_some(), "choices"),
        (line.answer.is_some(), "answer"),
        (line.delimiter.is_some(), "delimiter"),
        (line.metric.is_some(), "metric"),
        (line.target.is_some(), "target"),
        (line.answers.is_some(), "answers"),
        (line.stop.is_some(), "stop"),
        (line.max_tokens.is_some(), "max_tokens"),
        (line.regex.is_some(), "regex"),
        (line.take.is_some(), "take"),
        (line.remove.is_some(), "remove"),
        (line.ignore_case.is_some(), "ignore_case"),
        (line.ignore_punctuation.is_some(), "ignore_punctuation"),
        (line.ignore_numbers.is_some(), "ignore_numbers"),
    ];
    fields.into_iter().find(|(is_left, _)| *is_left).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_lines(lines: &str) -> Result<Tasks, Error> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("quiz.jsonl");
        std::fs::write(&path, lines).expect("written");
        Tasks::read(&path)
    }

    #[test]
    fn every_kind_is_read_with_its_defaults() {
        let tasks = read_lines(concat!(
            r#"{"kind": "choice", "context": "The sky is", "choices": ["blue", "wet"], "answer": 0}"#,
            "\n\n",
            r#"{"kind": "cloze", "task": "last word", "context": "Once upon a", "target": "time", "delimiter": " "}"#,
            "\n",
            r#"{"kind": "generate", "messages": [{"role": "user", "content": "2 + 2?"}], "answers": ["4"]}"#,
        ))
        .expect("tasks");
        let lines: Vec<_> = tasks.items.iter().map(|item| (item.line, item.task.as_str(), item.kind.name())).collect();
        assert_eq!(lines, [(1, "quiz", "choice"), (3, "last word", "cloze"), (4, "quiz", "generate")]);
        assert!(matches!(&tasks.items[2].kind, Kind::Generate { max_tokens: 256, stop, .. } if stop.is_empty()));
        assert!(matches!(&tasks.items[0].kind, Kind::Choice { answer: 0, per_byte: false, delimiter: None, .. }));
    }

    #[test]
    fn invalid_lines_are_named_with_their_number_and_field() {
        let good = r#"{"kind": "cloze", "context": "a", "target": "b"}"#;
        for (bad, said) in [
            ("nonsense", "column"),
            (r#"{"kind": "cloze", "context": "a", "target": "b", "goal": 1}"#, "unknown field `goal`"),
            (r#"{"kind": "essay", "context": "a"}"#, "unknown variant `essay`"),
            (r#"{"context": "a"}"#, "missing field `kind`"),
            (r#"{"kind": "cloze", "target": "b"}"#, "either 'context' or 'messages'"),
            (r#"{"kind": "cloze", "context": "a", "messages": [], "target": "b"}"#, "either 'context' or 'messages'"),
            (r#"{"kind": "cloze", "messages": [], "target": "b"}"#, "messages: found none"),
            (r#"{"kind": "cloze", "context": "a"}"#, "target: missing"),
            (r#"{"kind": "cloze", "context": "a", "target": ""}"#, "target: found an empty text"),
            (
                r#"{"kind": "cloze", "context": "a", "target": "b", "stop": ["c"]}"#,
                "stop: not a field of the kind 'cloze'",
            ),
            (r#"{"kind": "choice", "context": "a", "choices": ["b"], "answer": 0}"#, "at least two"),
            (
                r#"{"kind": "choice", "context": "a", "choices": ["b", "c"], "answer": 2}"#,
                "found 2, expected the index",
            ),
            (r#"{"kind": "choice", "context": "a", "choices": ["b", "c"], "answer": -1}"#, "invalid value"),
            (
                r#"{"kind": "choice", "context": "a", "choices": ["b", "c"], "answer": 0, "metric": "f1"}"#,
                "unknown variant `f1`",
            ),
            (r#"{"kind": "generate", "context": "a", "answers": []}"#, "answers: found none"),
            (r#"{"kind": "generate", "context": "a", "answers": ["b"], "max_tokens": 0}"#, "max_tokens: found 0"),
            (r#"{"kind": "generate", "context": "a", "answers": ["b"], "regex": "("}"#, "regex: "),
            (r#"{"kind": "generate", "context": "a", "answers": ["b"], "remove": ["["]}"#, "remove: "),
            (r#"{"kind": "generate", "context": "a", "answers": ["b"], "take": "last"}"#, "take: needs 'regex'"),
            (r#"{"kind": "generate", "context": "a", "answers": ["b"], "stop": [""]}"#, "stop: found an empty text"),
        ] {
            let error = read_lines(&format!("{good}\n{bad}\n")).expect_err(bad);
            let text = error.to_string();
            assert_eq!(error.code(), "invalid-task", "{text}");
            assert!(text.contains("quiz.jsonl: line 2: ") && text.contains(said), "{text}");
        }
        assert_eq!(read_lines("\n \n").expect_err("nothing").code(), "invalid-text");
    }
}
