//! The events of a message, from the parts of its answer.

use serde_json::json;

use super::response::{BlockDelta, ContentBlock, ErrorObject, MessageDelta, MessageEvent, MessageObject, MessageUsage};
use crate::error::anthropic_type;
use crate::job::{Finish, Part, Usage};
use crate::{ApiError, ids};

/// The writer of a message's events, which also collects the message.
pub struct Events {
    message: MessageObject,
    /// Leaves out the reasoning.
    omits_thinking: bool,
    /// The stop texts of the request. Those of the model itself end a turn.
    stops: Vec<String>,
    /// The part that is being written.
    open: Option<Open>,
    calls: usize,
}

enum Open {
    Text(String),
    Thinking(String),
    Call { id: String, name: String, arguments: String },
}

impl Open {
    /// Returns the part as it begins.
    fn empty(&self) -> ContentBlock {
        match self {
            Self::Text(_) => ContentBlock::Text { text: String::new() },
            Self::Thinking(_) => ContentBlock::Thinking { thinking: String::new(), signature: String::new() },
            Self::Call { id, name, .. } => {
                ContentBlock::ToolUse { id: id.clone(), name: name.clone(), input: json!({}) }
            }
        }
    }

    /// Returns the part as it is.
    fn whole(self) -> ContentBlock {
        match self {
            Self::Text(text) => ContentBlock::Text { text },
            Self::Thinking(thinking) => ContentBlock::Thinking { thinking, signature: String::new() },
            Self::Call { id, name, arguments } => {
                // Arguments that were cut off by the limit of tokens are no object.
                let input = serde_json::from_str(&arguments).unwrap_or_else(|_| json!({}));
                ContentBlock::ToolUse { id, name, input }
            }
        }
    }
}

impl Events {
    /// Creates the writer of a message by `model`.
    #[must_use]
    pub fn new(model: &str, omits_thinking: bool, stops: Vec<String>) -> Self {
        let message = MessageObject {
            id: ids::new("msg_"),
            kind: "message",
            role: "assistant",
            model: model.to_owned(),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: MessageUsage::default(),
            honelm: None,
        };
        Self { message, omits_thinking, stops, open: None, calls: 0 }
    }

    /// Returns the message as it is.
    #[must_use]
    pub fn into_message(self) -> MessageObject {
        self.message
    }

    /// Returns the events of a part.
    pub fn part(&mut self, part: Part) -> Vec<MessageEvent> {
        let mut out = Vec::new();
        match part {
            Part::Begun { prompt_tokens, cached_tokens, .. } => {
                self.message.usage = counted(prompt_tokens, cached_tokens, 0);
                out.push(MessageEvent::MessageStart { message: self.message.clone() });
                out.push(MessageEvent::Ping);
            }
            Part::Embedding { .. } | Part::Likelihoods { .. } | Part::Tokens { .. } | Part::Confidence { .. } => {}
            Part::About(about) => self.message.honelm = Some(about),
            Part::Text { text, .. } if text.is_empty() => {}
            Part::Text { text, .. } => {
                if !matches!(self.open, Some(Open::Text(_))) {
                    self.begin(Open::Text(String::new()), &mut out);
                }
                if let Some(Open::Text(whole)) = &mut self.open {
                    whole.push_str(&text);
                }
                self.delta(BlockDelta::TextDelta { text }, &mut out);
            }
            Part::Reasoning { text, .. } if text.is_empty() => {}
            Part::Reasoning { text, .. } => {
                if !matches!(self.open, Some(Open::Thinking(_))) {
                    self.begin(Open::Thinking(String::new()), &mut out);
                }
                if !self.omits_thinking {
                    if let Some(Open::Thinking(whole)) = &mut self.open {
                        whole.push_str(&text);
                    }
                    self.delta(BlockDelta::ThinkingDelta { thinking: text }, &mut out);
                }
            }
            Part::CallBegins { id, name, .. } => {
                self.calls += 1;
                self.begin(Open::Call { id, name, arguments: String::new() }, &mut out);
            }
            Part::CallArguments { fragment, .. } => {
                if let Some(Open::Call { arguments, .. }) = &mut self.open {
                    arguments.push_str(&fragment);
                    self.delta(BlockDelta::InputJsonDelta { partial_json: fragment }, &mut out);
                }
            }
            Part::CallEnds { .. } => self.end_block(&mut out),
            Part::Done { finish, usage, .. } => self.end(finish, &usage, &mut out),
            Part::Failed(error) => out.push(failed(&error)),
        }
        out
    }

    fn begin(&mut self, open: Open, out: &mut Vec<MessageEvent>) {
        self.end_block(out);
        let (index, content_block) = (self.message.content.len(), open.empty());
        out.push(MessageEvent::ContentBlockStart { index, content_block });
        self.open = Some(open);
    }

    fn delta(&self, delta: BlockDelta, out: &mut Vec<MessageEvent>) {
        out.push(MessageEvent::ContentBlockDelta { index: self.message.content.len(), delta });
    }

    fn end_block(&mut self, out: &mut Vec<MessageEvent>) {
        if let Some(open) = self.open.take() {
            out.push(MessageEvent::ContentBlockStop { index: self.message.content.len() });
            self.message.content.push(open.whole());
        }
    }

    fn end(&mut self, finish: Finish, usage: &Usage, out: &mut Vec<MessageEvent>) {
        self.end_block(out);
        let (stop_reason, stop_sequence) = match finish {
            Finish::StopText(text) if self.stops.contains(&text) => ("stop_sequence", Some(text)),
            Finish::ToolCalls => ("tool_use", None),
            Finish::Stop | Finish::StopText(_) if self.calls > 0 => ("tool_use", None),
            Finish::Stop | Finish::StopText(_) => ("end_turn", None),
            Finish::Length | Finish::Cancelled | Finish::Paused => ("max_tokens", None),
        };
        self.message.usage = counted(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens);
        (self.message.stop_reason, self.message.stop_sequence) = (Some(stop_reason), stop_sequence.clone());
        let delta = MessageDelta { stop_reason, stop_sequence };
        out.push(MessageEvent::MessageDelta { delta, usage: self.message.usage.clone() });
        out.push(MessageEvent::MessageStop { honelm: self.message.honelm.clone() });
    }
}

fn counted(prompt: usize, cached: usize, answer: usize) -> MessageUsage {
    MessageUsage {
        input_tokens: prompt.saturating_sub(cached) as u64,
        cache_read_input_tokens: cached as u64,
        cache_creation_input_tokens: 0,
        output_tokens: answer as u64,
    }
}

/// Returns the event of an error.
pub(super) fn failed(error: &ApiError) -> MessageEvent {
    MessageEvent::Error { error: ErrorObject { kind: anthropic_type(error.status), message: error.message.clone() } }
}
