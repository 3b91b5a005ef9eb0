//! Mistral: `[TOOL_CALLS]` with an array of objects (tokenizer v3), or with a name and arguments for each call (v11, v13).
//!
//! Source: mistral-common's instruct tokenizers, and the chat templates of Mistral Nemo, Mistral Small 3.2, Devstral and
//! Ministral 3:
//!
//! | version | call |
//! |---|---|
//! | v3, v7 | `[TOOL_CALLS][{"name": "f", "arguments": {…}, "id": "…"}, …]` |
//! | v11 | `[TOOL_CALLS]f[CALL_ID]…[ARGS]{…}` |
//! | v13 | `[TOOL_CALLS]f[ARGS]{…}`; the tags are left out by some models: `[TOOL_CALLS]f{…}` |

use super::form::Form;
use super::grammar::{Body, CallGrammar, literal};
use super::object::ObjectCall;
use super::scan::{Part, Scan};
use super::tool::{is_name, is_name_char};
use super::{BrokenCall, Flow, Output, Reader};
use crate::error::Result;

const OPEN: &str = "[TOOL_CALLS]";
const ID: &str = "[CALL_ID]";
const ARGUMENTS: &str = "[ARGS]";

/// The form of tokenizer v3.
pub(super) static FORM: Form = Form {
    name: "mistral",
    opening: &[OPEN],
    marks: &[OPEN],
    bare: None,
    is_in: |template| template.contains(OPEN) && !template.contains(ARGUMENTS),
    reader: |_| Box::new(Calls { at: At::Start }),
    grammar: array,
    messages: None,
};

/// The form of the tokenizers v11 and v13.
pub(super) static NAMED_FORM: Form = Form {
    name: "mistral-v11",
    opening: &[OPEN],
    marks: &[OPEN, ID, ARGUMENTS],
    is_in: |template| template.contains(OPEN) && template.contains(ARGUMENTS),
    grammar: named,
    ..FORM
};

#[derive(Debug, Clone)]
enum At {
    /// Behind the mark.
    Start,
    /// In an object of an array, or in a single object.
    Object { object: Box<ObjectCall>, array: bool },
    /// Between the objects of an array. `first` before the first one.
    Between { first: bool, comma: bool },
    /// In a name, in the tags and the id behind it.
    Head(String),
    /// In the arguments behind a name.
    Arguments { index: Option<usize>, scan: Scan, fault: Option<BrokenCall> },
}

/// A reader of both forms. The character behind the mark tells them apart.
#[derive(Debug, Clone)]
struct Calls {
    at: At,
}

impl Calls {
    fn object(&mut self, array: bool, out: &mut Output) -> Flow {
        let mut object = Box::new(ObjectCall::new());
        let read = object.push('{', out);
        self.at = At::Object { object, array };
        read.map_or_else(|reason| Flow::Broken { index: None, reason }, |_| Flow::More)
    }

    /// Reads a character of the name, the tags or the id.
    fn head(mut head: String, c: char, out: &mut Output) -> (At, Flow) {
        let (name, tags) = head.split_at(head.find('[').unwrap_or(head.len()));
        let begins_arguments = c == '{' && (tags.is_empty() || tags.ends_with(ARGUMENTS));
        if begins_arguments && is_name(name) {
            let id = tags.strip_suffix(ARGUMENTS).and_then(|tags| tags.strip_prefix(ID)).map(str::to_owned);
            let mut scan = Scan::new();
            let read = scan.push(c);
            let known = out.tool(name).is_some();
            let fault = (!known).then(|| out.unknown(name));
            let index = known.then(|| out.begin(id, name));
            if let Some(index) = index {
                out.arguments(index, "{");
            }
            let flow = read.map_or_else(|reason| Flow::Broken { index, reason }, |_| Flow::More);
            return (At::Arguments { index, scan, fault }, flow);
        }
        head.push(c);
        let (name, tags) = head.split_at(head.find('[').unwrap_or(head.len()));
        let flow = if tags.is_empty() {
            if is_name(name) { Flow::More } else { Flow::NotACall }
        } else if is_name(name) && is_head(tags) {
            Flow::More
        } else if is_name(name) && (tags.starts_with(ID) || tags.starts_with(ARGUMENTS)) {
            let reason =
                BrokenCall::Malformed { found: tags.to_owned(), expected: format!("{ARGUMENTS:?} and an object") };
            Flow::Broken { index: None, reason }
        } else {
            Flow::NotACall
        };
        (At::Head(head), flow)
    }
}

/// Returns `true` if a text is the beginning of `[CALL_ID]…[ARGS]` or of `[ARGS]`, with white space behind it.
fn is_head(tags: &str) -> bool {
    if ID.starts_with(tags) || ARGUMENTS.starts_with(tags) || tags.trim_end() == ARGUMENTS {
        return true;
    }
    let Some(behind) = tags.strip_prefix(ID) else { return false };
    let (id, tag) = behind.split_at(behind.find('[').unwrap_or(behind.len()));
    let is_id = id.len() <= 64 && id.chars().all(is_name_char);
    is_id && (ARGUMENTS.starts_with(tag) || tag.trim_end() == ARGUMENTS)
}

impl Reader for Calls {
    fn push(&mut self, c: char, out: &mut Output) -> Flow {
        let is_space = c.is_ascii_whitespace();
        match &mut self.at {
            At::Start if is_space => Flow::More,
            At::Start if c == '[' => {
                self.at = At::Between { first: true, comma: true };
                Flow::More
            }
            At::Start if c == '{' => self.object(false, out),
            At::Start => {
                let (at, flow) = Self::head(String::new(), c, out);
                self.at = at;
                flow
            }
            At::Object { object, array } => match object.push(c, out) {
                Ok(None) => Flow::More,
                Ok(Some(index)) => {
                    out.end(index);
                    if !*array {
                        return Flow::Done { unread: String::new() };
                    }
                    self.at = At::Between { first: false, comma: false };
                    Flow::More
                }
                Err(reason) => Flow::Broken { index: object.index(), reason },
            },
            At::Between { .. } if is_space => Flow::More,
            At::Between { comma: true, .. } if c == '{' => self.object(true, out),
            At::Between { comma, first: false } if c == ',' && !*comma => {
                *comma = true;
                Flow::More
            }
            At::Between { comma: false, .. } if c == ']' => Flow::Done { unread: String::new() },
            At::Between { first: true, .. } => Flow::NotACall,
            At::Between { .. } => {
                let (found, expected) = (c.to_string(), "\",\" or \"]\"".to_owned());
                Flow::Broken { index: None, reason: BrokenCall::Malformed { found, expected } }
            }
            At::Head(head) => {
                let head = std::mem::take(head);
                let (at, flow) = Self::head(head, c, out);
                self.at = at;
                flow
            }
            At::Arguments { index, scan, fault } => match scan.push(c) {
                Ok(part) => {
                    if let Some(index) = *index {
                        out.arguments(index, c.encode_utf8(&mut [0; 4]));
                    }
                    match (part, *index, fault.take()) {
                        (Part::Close, Some(index), _) => {
                            out.end(index);
                            Flow::Done { unread: String::new() }
                        }
                        (Part::Close, None, Some(reason)) => Flow::Broken { index: None, reason },
                        (_, _, rest) => {
                            *fault = rest;
                            Flow::More
                        }
                    }
                }
                Err(reason) => Flow::Broken { index: *index, reason },
            },
        }
    }

    fn finish(&mut self, _: &mut Output) -> Flow {
        match &self.at {
            At::Start | At::Between { first: true, .. } => Flow::NotACall,
            At::Object { object, .. } => Flow::Broken { index: object.index(), reason: BrokenCall::CutShort },
            // A missing bracket at the end takes nothing from the calls.
            At::Between { comma: false, .. } => Flow::Done { unread: String::new() },
            At::Between { comma: true, .. } => Flow::Broken { index: None, reason: BrokenCall::CutShort },
            At::Head(head) => {
                let is_call = head.contains(ID) || head.contains(ARGUMENTS);
                if is_call { Flow::Broken { index: None, reason: BrokenCall::CutShort } } else { Flow::NotACall }
            }
            At::Arguments { index, .. } => Flow::Broken { index: *index, reason: BrokenCall::CutShort },
        }
    }

    fn copy(&self) -> Box<dyn Reader> {
        Box::new(self.clone())
    }
}

/// Writes `[TOOL_CALLS][{…}, {…}]`.
fn array(how: &CallGrammar<'_>) -> Result<Body> {
    let mut rules = how.objects("arguments");
    let more = if how.parallel { "(\", \" object)*" } else { "" };
    rules.push_str(&format!("call: \"[\" object {more} \"]\"\n"));
    Ok(Body { mark: Some(OPEN), rules, between: "", repeats: false })
}

/// Writes `[TOOL_CALLS]name[ARGS]{…}`, with `[CALL_ID]` and an id for models that write it.
fn named(how: &CallGrammar<'_>) -> Result<Body> {
    let mut rules = how.arguments();
    let (id, arguments) = (how.mark(ID), how.mark(ARGUMENTS));
    let calls = how
        .chosen()
        .map(|(i, tool)| format!("{} ({id} /[a-zA-Z0-9]{{9}}/)? {arguments} arguments_{i}", literal(&tool.name)));
    rules.push_str(&format!("call: {}\n", calls.collect::<Vec<_>>().join("\n  | ")));
    Ok(Body { mark: Some(OPEN), rules, between: "", repeats: true })
}
