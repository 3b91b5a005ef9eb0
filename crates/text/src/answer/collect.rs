//! A whole answer, collected from its events.

use serde::Serialize;
use serde_json::{Value, json};

use super::{BrokenCall, Event};

/// An answer in its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The reasoning; empty if there is none.
    pub reasoning: String,
    /// The complete calls, in the order of the answer.
    pub calls: Vec<Call>,
    /// The broken calls: the reason and the text.
    pub broken: Vec<(BrokenCall, String)>,
    /// The calls that have begun, with their numbers.
    open: Vec<(usize, Call)>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The id.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments: the JSON text of an object.
    pub arguments: String,
}

impl Call {
    /// Returns the call in OpenAI's form, as messages have it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}})
    }
}

impl Answer {
    /// Adds an event.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::Text(text) => self.text.push_str(text),
            Event::Reasoning(text) => self.reasoning.push_str(text),
            Event::CallBegins { index, id, name } => {
                let call = Call { id: id.clone(), name: name.clone(), arguments: String::new() };
                self.open.push((*index, call));
            }
            Event::CallArguments { index, fragment } => {
                if let Some((_, call)) = self.open.iter_mut().find(|open| open.0 == *index) {
                    call.arguments.push_str(fragment);
                }
            }
            Event::CallEnds { index } => {
                let at = self.open.iter().position(|open| open.0 == *index);
                self.calls.extend(at.map(|at| self.open.remove(at).1));
            }
            Event::CallBroken { index, reason, text } => {
                self.open.retain(|open| Some(open.0) != *index);
                self.broken.push((reason.clone(), text.clone()));
            }
        }
    }

    /// Adds several events.
    pub fn extend(&mut self, events: &[Event]) {
        events.iter().for_each(|event| self.add(event));
    }
}
