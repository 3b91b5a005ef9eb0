//! The lines of an answer, from its parts.

use std::time::{Instant, SystemTime};

use serde_json::json;

use super::response::{AnswerCall, AnswerFigures, AnswerFunction, AnswerLine, AnswerMessage};
use crate::gateway::About;
use crate::ids::rfc3339;
use crate::job::{Finish, Part, Usage};
use crate::openai::logprobs::listed;

/// The endpoint that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/api/chat`
    Chat,
    /// `/api/generate`
    Generate,
}

/// The writer of an answer's lines.
pub struct Lines {
    kind: Kind,
    model: String,
    received: Instant,
    load_seconds: f64,
    /// The call that is being written: its number, id, name and arguments.
    call: Option<(usize, String, String, String)>,
    /// The route, until the last line.
    about: Option<Box<About>>,
}

impl Lines {
    /// Creates the writer. `load_seconds` is the time that the model took to load for this request.
    #[must_use]
    pub fn new(kind: Kind, model: &str, received: Instant, load_seconds: f64) -> Self {
        Self { kind, model: model.to_owned(), received, load_seconds, call: None, about: None }
    }

    /// Returns the line of a part, if it has one. An error has none.
    pub fn part(&mut self, part: Part) -> Option<AnswerLine> {
        match part {
            Part::Begun { .. }
            | Part::Embedding { .. }
            | Part::Likelihoods { .. }
            | Part::Tokens { .. }
            | Part::Confidence { .. }
            | Part::Failed(_) => None,
            Part::About(about) => {
                self.about = Some(about);
                None
            }
            Part::Text { text, logprobs, .. } if text.is_empty() && logprobs.is_empty() => None,
            Part::Text { text, logprobs, .. } => {
                let line = self.line(AnswerMessage { content: text, ..AnswerMessage::default() });
                Some(AnswerLine { logprobs: listed(&logprobs), ..line })
            }
            Part::Reasoning { text, .. } => {
                Some(self.line(AnswerMessage { thinking: Some(text), ..AnswerMessage::default() }))
            }
            Part::CallBegins { index, id, name, .. } => {
                self.call = Some((index, id, name, String::new()));
                None
            }
            Part::CallArguments { fragment, .. } => {
                if let Some((.., arguments)) = &mut self.call {
                    arguments.push_str(&fragment);
                }
                None
            }
            Part::CallEnds { .. } => {
                let (index, id, name, arguments) = self.call.take()?;
                let arguments = serde_json::from_str(&arguments).unwrap_or_else(|_| json!({}));
                let call = AnswerCall { id, function: AnswerFunction { index, name, arguments } };
                Some(self.line(AnswerMessage { tool_calls: vec![call], ..AnswerMessage::default() }))
            }
            Part::Done { finish, usage, .. } => {
                let reason = if finish == Finish::Length { "length" } else { "stop" };
                let honelm = self.about.take();
                Some(AnswerLine { figures: Some(self.figures(&usage)), honelm, ..self.end(reason) })
            }
        }
    }

    /// Returns the line that ends an answer without a text.
    #[must_use]
    pub fn end(&self, reason: &'static str) -> AnswerLine {
        AnswerLine { done: true, done_reason: Some(reason), ..self.line(AnswerMessage::default()) }
    }

    /// Joins the lines of an answer to one.
    pub fn join(lines: impl Iterator<Item = AnswerLine>) -> Option<AnswerLine> {
        lines.reduce(|before, mut line| {
            if let (Some(before), Some(message)) = (before.message, &mut line.message) {
                message.content.insert_str(0, &before.content);
                message.thinking = joined(before.thinking, message.thinking.take());
                message.tool_calls.splice(0..0, before.tool_calls);
            }
            line.response = joined(before.response, line.response);
            line.thinking = joined(before.thinking, line.thinking);
            line.logprobs.splice(0..0, before.logprobs);
            line
        })
    }

    fn line(&self, message: AnswerMessage) -> AnswerLine {
        let mut line = AnswerLine {
            model: self.model.clone(),
            created_at: rfc3339(SystemTime::now()),
            message: None,
            response: None,
            thinking: None,
            logprobs: Vec::new(),
            done: false,
            done_reason: None,
            figures: None,
            honelm: None,
        };
        match self.kind {
            Kind::Chat => line.message = Some(AnswerMessage { role: "assistant", ..message }),
            Kind::Generate => (line.response, line.thinking) = (Some(message.content), message.thinking),
        }
        line
    }

    fn figures(&self, usage: &Usage) -> AnswerFigures {
        AnswerFigures {
            total_duration: nanoseconds(self.received.elapsed().as_secs_f64()),
            load_duration: nanoseconds(self.load_seconds),
            prompt_eval_count: usage.prompt_tokens as u64,
            prompt_eval_duration: nanoseconds(usage.first_token_seconds),
            eval_count: usage.completion_tokens as u64,
            eval_duration: nanoseconds(usage.decode_seconds),
        }
    }
}

/// Returns a time in nanoseconds.
pub(super) fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn joined(before: Option<String>, after: Option<String>) -> Option<String> {
    match (before, after) {
        (Some(before), Some(after)) => Some(before + &after),
        (before, after) => before.or(after),
    }
}
