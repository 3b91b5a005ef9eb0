//! The events of a response, from the parts of its answer.

use serde_json::Value;

use super::response::{
    IncompleteDetails, InputTokensDetails, Numbered, OutputItem, OutputPart, OutputTokensDetails, ResponseError,
    ResponseEvent, ResponseObject, Status, Usage,
};
use crate::app::unix_seconds;
use crate::job::{Finish, Part};
use crate::openai::logprobs::listed;
use crate::{ApiError, ids};

/// The writer of a response's events. Without a stream, the last event has the whole response.
pub struct Events {
    response: ResponseObject,
    open: Option<Open>,
    /// The log-probabilities of tokens whose text has not come yet. Those of reasoning and calls are left out.
    waiting: Vec<Value>,
    next: u64,
}

/// The item that is being written.
enum Open {
    Text { id: String, text: String, logprobs: Vec<Value> },
    Reasoning { id: String, text: String },
    Call { id: String, call_id: String, name: String, arguments: String },
}

impl Open {
    /// Returns the item in a state.
    fn item(&self, status: Status) -> OutputItem {
        let is_new = status == Status::InProgress;
        match self {
            Self::Text { id, text, logprobs } => {
                let part =
                    OutputPart::OutputText { text: text.clone(), annotations: Vec::new(), logprobs: logprobs.clone() };
                let content = if is_new { Vec::new() } else { vec![part] };
                OutputItem::Message { id: id.clone(), status, role: "assistant", content }
            }
            Self::Reasoning { id, text } => {
                let part = OutputPart::ReasoningText { text: text.clone() };
                let content = if is_new { Vec::new() } else { vec![part] };
                OutputItem::Reasoning { id: id.clone(), status, summary: Vec::new(), content }
            }
            Self::Call { id, call_id, name, arguments } => OutputItem::FunctionCall {
                id: id.clone(),
                status,
                call_id: call_id.clone(),
                name: name.clone(),
                arguments: arguments.clone(),
            },
        }
    }
}

impl Events {
    /// Creates the writer of a response that is in progress.
    #[must_use]
    pub fn new(response: ResponseObject) -> Self {
        Self { response, open: None, waiting: Vec::new(), next: 0 }
    }

    /// Returns the response as it is.
    #[must_use]
    pub fn response(&self) -> &ResponseObject {
        &self.response
    }

    /// Returns the first events.
    pub fn begin(&mut self) -> Vec<Numbered> {
        let mut out = Vec::new();
        let response = Box::new(self.response.clone());
        self.send(ResponseEvent::Created { response: response.clone() }, &mut out);
        self.send(ResponseEvent::InProgress { response }, &mut out);
        out
    }

    /// Returns the events of a part.
    pub fn part(&mut self, part: Part) -> Vec<Numbered> {
        let mut out = Vec::new();
        match part {
            Part::Begun { .. }
            | Part::Embedding { .. }
            | Part::Likelihoods { .. }
            | Part::Tokens { .. }
            | Part::Confidence { .. } => {}
            Part::About(about) => self.response.honelm = Some(about),
            Part::Text { text, logprobs, .. } => self.text(&text, listed(&logprobs), &mut out),
            Part::Reasoning { text, .. } => self.reasoning(&text, &mut out),
            Part::CallBegins { id, name, .. } => {
                let open = Open::Call { id: ids::new("fc_"), call_id: id, name, arguments: String::new() };
                self.begin_item(open, &mut out);
            }
            Part::CallArguments { fragment, .. } => self.arguments(&fragment, &mut out),
            Part::CallEnds { .. } => self.end_item(Status::Completed, &mut out),
            Part::Done { finish, usage, .. } => self.end(&finish, &usage, &mut out),
            Part::Failed(error) => self.fail(&error, &mut out),
        }
        out
    }

    fn send(&mut self, event: ResponseEvent, out: &mut Vec<Numbered>) {
        out.push(Numbered { event, sequence_number: self.next });
        self.next += 1;
    }

    /// Returns the index of the item that is being written.
    fn index(&self) -> usize {
        self.response.output.len()
    }

    /// Begins an item; the one before it is complete.
    fn begin_item(&mut self, open: Open, out: &mut Vec<Numbered>) {
        self.end_item(Status::Completed, out);
        let output_index = self.index();
        self.send(ResponseEvent::ItemAdded { output_index, item: open.item(Status::InProgress) }, out);
        let begun = match &open {
            Open::Text { id, .. } => {
                let part =
                    OutputPart::OutputText { text: String::new(), annotations: Vec::new(), logprobs: Vec::new() };
                Some((id.clone(), part))
            }
            Open::Reasoning { id, .. } => Some((id.clone(), OutputPart::ReasoningText { text: String::new() })),
            Open::Call { .. } => None,
        };
        if let Some((item_id, part)) = begun {
            self.send(ResponseEvent::PartAdded { item_id, output_index, content_index: 0, part }, out);
        }
        self.open = Some(open);
    }

    fn text(&mut self, delta: &str, new: Vec<Value>, out: &mut Vec<Numbered>) {
        self.waiting.extend(new);
        if delta.is_empty() {
            return;
        }
        let new = std::mem::take(&mut self.waiting);
        if !matches!(self.open, Some(Open::Text { .. })) {
            let open = Open::Text { id: ids::new("msg_"), text: String::new(), logprobs: Vec::new() };
            self.begin_item(open, out);
        }
        let output_index = self.index();
        if let Some(Open::Text { id, text, logprobs }) = &mut self.open {
            text.push_str(delta);
            logprobs.extend(new.iter().cloned());
            let (item_id, delta) = (id.clone(), delta.to_owned());
            self.send(ResponseEvent::TextDelta { item_id, output_index, content_index: 0, delta, logprobs: new }, out);
        }
    }

    fn reasoning(&mut self, delta: &str, out: &mut Vec<Numbered>) {
        self.waiting.clear();
        if delta.is_empty() {
            return;
        }
        if !matches!(self.open, Some(Open::Reasoning { .. })) {
            self.begin_item(Open::Reasoning { id: ids::new("rs_"), text: String::new() }, out);
        }
        let output_index = self.index();
        if let Some(Open::Reasoning { id, text }) = &mut self.open {
            text.push_str(delta);
            let (item_id, delta) = (id.clone(), delta.to_owned());
            self.send(ResponseEvent::ReasoningDelta { item_id, output_index, content_index: 0, delta }, out);
        }
    }

    fn arguments(&mut self, delta: &str, out: &mut Vec<Numbered>) {
        self.waiting.clear();
        let output_index = self.index();
        if let Some(Open::Call { id, arguments, .. }) = &mut self.open {
            arguments.push_str(delta);
            let (item_id, delta) = (id.clone(), delta.to_owned());
            self.send(ResponseEvent::ArgumentsDelta { item_id, output_index, delta }, out);
        }
    }

    /// Ends the item that is being written, if there is one.
    fn end_item(&mut self, status: Status, out: &mut Vec<Numbered>) {
        let Some(mut open) = self.open.take() else { return };
        if let Open::Text { logprobs, .. } = &mut open {
            logprobs.append(&mut self.waiting);
        }
        let (output_index, content_index) = (self.index(), 0);
        let item = open.item(status);
        match open {
            Open::Text { id: item_id, text, logprobs } => {
                let part =
                    OutputPart::OutputText { text: text.clone(), annotations: Vec::new(), logprobs: logprobs.clone() };
                let done =
                    ResponseEvent::TextDone { item_id: item_id.clone(), output_index, content_index, text, logprobs };
                self.send(done, out);
                self.send(ResponseEvent::PartDone { item_id, output_index, content_index, part }, out);
            }
            Open::Reasoning { id: item_id, text } => {
                let part = OutputPart::ReasoningText { text: text.clone() };
                let done = ResponseEvent::ReasoningDone { item_id: item_id.clone(), output_index, content_index, text };
                self.send(done, out);
                self.send(ResponseEvent::PartDone { item_id, output_index, content_index, part }, out);
            }
            Open::Call { id: item_id, name, arguments, .. } => {
                self.send(ResponseEvent::ArgumentsDone { item_id, output_index, name, arguments }, out);
            }
        }
        self.send(ResponseEvent::ItemDone { output_index, item: item.clone() }, out);
        self.response.output.push(item);
    }

    fn end(&mut self, finish: &Finish, usage: &crate::job::Usage, out: &mut Vec<Numbered>) {
        let counted = Usage {
            input_tokens: usage.prompt_tokens as u64,
            output_tokens: usage.completion_tokens as u64,
            total_tokens: (usage.prompt_tokens + usage.completion_tokens) as u64,
            input_tokens_details: InputTokensDetails { cached_tokens: usage.cached_tokens as u64 },
            output_tokens_details: OutputTokensDetails { reasoning_tokens: usage.reasoning_tokens as u64 },
        };
        self.response.usage = Some(counted);
        let is_whole = matches!(finish, Finish::Stop | Finish::StopText(_) | Finish::ToolCalls);
        let status = if is_whole { Status::Completed } else { Status::Incomplete };
        self.end_item(status, out);
        self.response.status = status;
        let response = &mut self.response;
        if is_whole {
            response.completed_at = Some(unix_seconds());
            let response = Box::new(response.clone());
            self.send(ResponseEvent::Completed { response }, out);
        } else {
            response.incomplete_details = Some(IncompleteDetails { reason: "max_output_tokens" });
            let response = Box::new(response.clone());
            self.send(ResponseEvent::Incomplete { response }, out);
        }
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<Numbered>) {
        self.end_item(Status::Incomplete, out);
        self.response.status = Status::Failed;
        let code = if error.status.is_client_error() { "invalid_prompt" } else { "server_error" };
        self.response.error = Some(ResponseError { code: code.to_owned(), message: error.message.clone() });
        let response = Box::new(self.response.clone());
        self.send(ResponseEvent::Failed { response }, out);
    }
}
