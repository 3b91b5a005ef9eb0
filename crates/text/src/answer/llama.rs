//! Llama 3.1 to 3.3: `{"name": …, "parameters": {…}}` as the beginning of an answer, or behind `<|python_tag|>`.
//!
//! Source: Meta's Llama 3.1 prompt format, and its chat templates. Several objects follow each other, with `;` or white space
//! between them. An object without the tag is a call only if it names a tool, or if it has a name and parameters and nothing
//! else; any other object is text, because it may be the answer. Code behind the tag, for Meta's built-in interpreter, is
//! text.

use super::form::Form;
use super::grammar::{Body, CallGrammar};
use super::object::ObjectCall;
use super::{BrokenCall, Flow, Output, Reader};
use crate::error::Result;

const TAG: &str = "<|python_tag|>";

pub(super) static FORM: Form = Form {
    name: "llama3",
    opening: &[TAG],
    marks: &[TAG],
    bare: Some('{'),
    is_in: |template| {
        template.contains("<|start_header_id|>")
            && template.contains("ipython")
            && template.contains("{\"name\": function name, \"parameters\"")
    },
    reader: |mark| Box::new(Objects { has_tag: !mark.is_empty(), at: At::Start { brace: false } }),
    grammar,
    messages: None,
};

#[derive(Debug, Clone)]
enum At {
    /// Before the object, or behind its opening brace.
    Start { brace: bool },
    /// In the object.
    Object(Box<ObjectCall>),
    /// Behind an object; the text since.
    Behind(String),
}

/// A reader of objects that follow each other.
#[derive(Debug, Clone)]
struct Objects {
    has_tag: bool,
    at: At,
}

impl Objects {
    fn broken(&self, object: &ObjectCall, reason: BrokenCall, out: &Output) -> Flow {
        let complete = matches!(
            reason,
            BrokenCall::UnknownTool { .. } | BrokenCall::ArgumentsNotAnObject { .. } | BrokenCall::Repeated { .. }
        );
        let is_call = self.has_tag || object.names_tool(out) || (complete && object.resembles_call());
        if is_call { Flow::Broken { index: object.index(), reason } } else { Flow::NotACall }
    }
}

impl Reader for Objects {
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
                if read.is_ok() { Flow::More } else { Flow::NotACall }
            }
            At::Start { .. } => Flow::NotACall,
            At::Object(object) => match object.push(c, out) {
                Ok(None) => Flow::More,
                Ok(Some(index)) => {
                    out.end(index);
                    self.at = At::Behind(String::new());
                    Flow::More
                }
                Err(reason) => {
                    let object = object.clone();
                    self.broken(&object, reason, out)
                }
            },
            At::Behind(tail) => {
                let separates = c == ';' && !tail.contains(';');
                if c.is_ascii_whitespace() || separates {
                    tail.push(c);
                    return Flow::More;
                }
                // The next object is read as the beginning of an answer.
                let unread = if c == '{' { String::new() } else { std::mem::take(tail) };
                Flow::Done { unread: unread + c.encode_utf8(&mut [0; 4]) }
            }
        }
    }

    fn finish(&mut self, out: &mut Output) -> Flow {
        match &self.at {
            At::Start { .. } => Flow::NotACall,
            At::Object(object) => self.broken(object, BrokenCall::CutShort, out),
            At::Behind(tail) => {
                let unread = if tail.trim() == ";" { "" } else { tail };
                Flow::Done { unread: unread.to_owned() }
            }
        }
    }

    fn copy(&self) -> Box<dyn Reader> {
        Box::new(self.clone())
    }
}

/// Writes one object, or several with `; ` between them. The tag is not written: models write it for Meta's own tools only.
fn grammar(how: &CallGrammar<'_>) -> Result<Body> {
    let mut rules = how.objects("parameters");
    rules.push_str("call: object\n");
    Ok(Body { mark: None, rules, between: "\"; \"", repeats: true })
}
