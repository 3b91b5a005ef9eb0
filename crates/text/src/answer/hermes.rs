//! Hermes and Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
//!
//! Source: Nous Research's Hermes function calling, and the chat templates of Qwen 2.5 and Qwen 3. An object behind the end
//! of another one, inside the same tags, is another call. A missing end tag is accepted at the end of an answer.

use super::form::Form;
use super::grammar::{Body, CallGrammar};
use super::object::ObjectCall;
use super::{BrokenCall, Flow, Output, Reader};
use crate::error::Result;

pub(super) const OPEN: &str = "<tool_call>";
pub(super) const CLOSE: &str = "</tool_call>";

pub(super) static FORM: Form = Form {
    name: "hermes",
    opening: &[OPEN],
    marks: &[OPEN, CLOSE],
    bare: None,
    is_in: |template| {
        let has_objects = template.contains("{\"name\"") || template.contains("{\\\"name\\\"");
        template.contains(OPEN) && template.contains(CLOSE) && has_objects && !template.contains("<tool_calls>")
    },
    reader: |_| Box::new(Tagged::new()),
    grammar,
    messages: None,
};

/// The place of the reader.
#[derive(Debug, Clone)]
enum At {
    /// Before the object, or behind its opening brace, where it may still be text.
    Start { brace: bool },
    /// In the object.
    Object(Box<ObjectCall>),
    /// Behind an object; the text that may be the end mark.
    Behind(String),
}

/// A reader of objects behind a tag.
#[derive(Debug, Clone)]
pub(super) struct Tagged {
    at: At,
}

impl Tagged {
    pub(super) fn new() -> Self {
        Self { at: At::Start { brace: false } }
    }
}

impl Reader for Tagged {
    fn push(&mut self, c: char, out: &mut Output) -> Flow {
        match &mut self.at {
            At::Start { .. } if c.is_ascii_whitespace() => Flow::More,
            At::Start { brace: false } if c == '{' => {
                self.at = At::Start { brace: true };
                Flow::More
            }
            At::Start { brace: true } if c == '"' => {
                let mut object = ObjectCall::new();
                let read = object.push('{', out).and_then(|_| object.push('"', out));
                self.at = At::Object(Box::new(object));
                read.map_or_else(|reason| Flow::Broken { index: None, reason }, |_| Flow::More)
            }
            At::Start { .. } => Flow::NotACall,
            At::Object(object) => match object.push(c, out) {
                Ok(None) => Flow::More,
                Ok(Some(index)) => {
                    out.end(index);
                    self.at = At::Behind(String::new());
                    Flow::More
                }
                Err(reason) => Flow::Broken { index: object.index(), reason },
            },
            At::Behind(tail) if tail.is_empty() && c.is_ascii_whitespace() => Flow::More,
            At::Behind(tail) if tail.is_empty() && c == '{' => {
                let mut object = ObjectCall::new();
                let read = object.push(c, out);
                self.at = At::Object(Box::new(object));
                read.map_or_else(|reason| Flow::Broken { index: None, reason }, |_| Flow::More)
            }
            At::Behind(tail) => {
                tail.push(c);
                match &**tail {
                    CLOSE => Flow::Done { unread: String::new() },
                    OPEN => Flow::Done { unread: OPEN.to_owned() },
                    tail if CLOSE.starts_with(tail) || OPEN.starts_with(tail) => Flow::More,
                    found => {
                        let (found, expected) = (found.to_owned(), format!("{CLOSE:?}"));
                        Flow::Broken { index: None, reason: BrokenCall::Malformed { found, expected } }
                    }
                }
            }
        }
    }

    fn finish(&mut self, _: &mut Output) -> Flow {
        match &self.at {
            At::Start { .. } => Flow::NotACall,
            At::Object(object) => Flow::Broken { index: object.index(), reason: BrokenCall::CutShort },
            At::Behind(_) => Flow::Done { unread: String::new() },
        }
    }

    fn closing(&self) -> Option<&'static str> {
        Some(CLOSE)
    }

    fn copy(&self) -> Box<dyn Reader> {
        Box::new(self.clone())
    }
}

/// Writes `<tool_call>`, a newline, an object, a newline, `</tool_call>`.
pub(super) fn grammar(how: &CallGrammar<'_>) -> Result<Body> {
    let mut rules = how.objects("arguments");
    rules.push_str(&format!("call: \"\\n\" object \"\\n\" {}\n", how.mark(CLOSE)));
    Ok(Body { mark: Some(OPEN), rules, between: "\"\\n\"", repeats: true })
}
