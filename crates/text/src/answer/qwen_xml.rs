//! Qwen3-Coder: a call as tags, with each argument's value as it is.
//!
//! ```text
//! <tool_call>
//! <function=NAME>
//! <parameter=KEY>
//! VALUE
//! </parameter>
//! </function>
//! </tool_call>
//! ```
//!
//! Source: the chat template of Qwen3-Coder and the parser beside it; Nemotron 3 and Qwen 3.5 use the form too. The schema
//! of a parameter decides what its text is: a string if it accepts no other type, otherwise JSON, and a string where that
//! is not valid. A value ends at the first `</parameter>`; one newline after the tag and one before the end tag do not
//! belong to it. `<tool_call>` may be missing, as some models leave it out.

use serde_json::Value;

use super::form::Form;
use super::grammar::{Body, CallGrammar, literal, schema};
use super::tool::{is_name, is_name_char};
use super::types::{self, Types};
use super::{BrokenCall, Flow, Output, Reader, Tool};
use crate::error::{Result, TextError};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const FUNCTION: &str = "<function=";
const FUNCTION_END: &str = "</function>";
const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";

/// The longest name of a parameter, in bytes.
const MAX_KEY: usize = 256;

pub(super) static FORM: Form = Form {
    name: "qwen3-coder",
    opening: &[OPEN, FUNCTION],
    marks: &[OPEN, CLOSE, FUNCTION, FUNCTION_END, PARAMETER, PARAMETER_END],
    bare: None,
    is_in: |template| [OPEN, FUNCTION, PARAMETER].iter().all(|mark| template.contains(mark)),
    reader: |mark| {
        let has_tag = mark == OPEN;
        let at = if has_tag { At::Tag { tag: String::new() } } else { At::Name(String::new()) };
        Box::new(Tags { has_tag, at, keys: Vec::new(), index: None, name: String::new(), fault: None })
    },
    grammar,
    messages: None,
};

#[derive(Debug, Clone)]
enum At {
    /// Before `<function=`.
    Tag { tag: String },
    /// In the function's name.
    Name(String),
    /// Between parameters. `tag` is the beginning of the next tag.
    Between { tag: String },
    /// In a parameter's name.
    Key(String),
    /// In a parameter's value.
    Value(ValueText),
    /// Behind `</function>`. `tag` is the beginning of the end tag.
    Behind { tag: String },
}

/// The text of a value.
#[derive(Debug, Clone)]
struct ValueText {
    types: Types,
    /// `true` before the first character.
    at_start: bool,
    /// The value as far as it is certain, unless it is passed on at once.
    text: String,
    /// Characters that may belong to the end: a newline, or a part of the end tag.
    held: String,
}

/// A reader of tags.
#[derive(Debug, Clone)]
struct Tags {
    has_tag: bool,
    at: At,
    /// The parameters so far.
    keys: Vec<String>,
    index: Option<usize>,
    name: String,
    fault: Option<BrokenCall>,
}

impl Tags {
    fn broken(&self, reason: BrokenCall) -> Flow {
        // The first fault is the reason for those that follow.
        Flow::Broken { index: self.index, reason: self.fault.clone().unwrap_or(reason) }
    }

    fn pass(&self, text: &str, out: &mut Output) {
        if let Some(index) = self.index {
            out.arguments(index, text);
        }
    }

    fn begin(&mut self, name: String, out: &mut Output) -> Flow {
        if !is_name(&name) {
            return Flow::NotACall;
        }
        if out.tool(&name).is_some() {
            self.index = Some(out.begin(None, &name));
            self.pass("{", out);
        } else {
            self.fault = Some(out.unknown(&name));
        }
        self.name = name;
        self.at = At::Between { tag: String::new() };
        Flow::More
    }

    fn begin_value(&mut self, key: String, out: &mut Output) -> Flow {
        if self.keys.contains(&key) {
            return self.broken(BrokenCall::Repeated { name: key });
        }
        let comma = if self.keys.is_empty() { "" } else { ", " };
        self.pass(&format!("{comma}{}: ", Value::from(key.as_str())), out);
        let types = out.tool(&self.name).map_or(Types::ANY, |tool| types::of_parameter(&tool.parameters, &key));
        self.keys.push(key);
        if !types.other {
            self.pass("\"", out);
        }
        self.at = At::Value(ValueText { types, at_start: true, text: String::new(), held: String::new() });
        Flow::More
    }

    fn value(&mut self, mut value: ValueText, c: char, out: &mut Output) -> Flow {
        if std::mem::take(&mut value.at_start) && c == '\n' {
            self.at = At::Value(value);
            return Flow::More;
        }
        value.held.push(c);
        let ended = value.held.ends_with(PARAMETER_END);
        let certain = if ended {
            let text = &value.held[..value.held.len() - PARAMETER_END.len()];
            text.strip_suffix('\n').unwrap_or(text).len()
        } else {
            certain(&value.held)
        };
        let rest = value.held.split_off(certain);
        let certain = std::mem::replace(&mut value.held, rest);
        if value.types.other {
            value.text.push_str(&certain);
        } else {
            self.pass(&escaped(&certain), out);
        }
        if !ended {
            self.at = At::Value(value);
            return Flow::More;
        }
        if value.types.other {
            self.pass(&json_of(&value), out);
        } else {
            self.pass("\"", out);
        }
        self.at = At::Between { tag: String::new() };
        Flow::More
    }

    fn end(&mut self, out: &mut Output) -> Flow {
        self.pass("}", out);
        match (self.index, self.fault.take()) {
            (Some(index), None) => out.end(index),
            (index, reason) => {
                let reason = reason.unwrap_or(BrokenCall::NoName);
                return Flow::Broken { index, reason };
            }
        }
        self.index = None;
        self.at = At::Behind { tag: String::new() };
        if self.has_tag { Flow::More } else { Flow::Done { unread: String::new() } }
    }
}

/// Returns the length of a value's text that does not belong to its end, whatever follows.
fn certain(held: &str) -> usize {
    let tag = (0..held.len()).filter(|at| held.is_char_boundary(*at));
    let tag = tag.into_iter().find(|&at| PARAMETER_END.starts_with(&held[at..])).unwrap_or(held.len());
    held[..tag].strip_suffix('\n').map_or(tag, str::len)
}

/// Returns a text as the inside of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Returns a value as JSON. The names of Python's literals are accepted too, as in Qwen's own parser.
fn json_of(value: &ValueText) -> String {
    let text = value.text.trim();
    let literal = match text {
        "True" => "true",
        "False" => "false",
        "None" => "null",
        other => other,
    };
    match serde_json::from_str::<Value>(literal) {
        Ok(Value::String(_)) if value.types.string => Value::from(value.text.as_str()).to_string(),
        Ok(_) => literal.to_owned(),
        Err(_) => Value::from(value.text.as_str()).to_string(),
    }
}

/// Returns what a tag's beginning is.
fn tag_state<'t>(tag: &str, tags: &[&'t str]) -> Option<Option<&'t str>> {
    if let Some(whole) = tags.iter().find(|whole| **whole == tag) {
        return Some(Some(whole));
    }
    tags.iter().any(|whole| whole.starts_with(tag)).then_some(None)
}

impl Reader for Tags {
    fn push(&mut self, c: char, out: &mut Output) -> Flow {
        let is_space = c.is_ascii_whitespace();
        match std::mem::replace(&mut self.at, At::Tag { tag: String::new() }) {
            At::Tag { tag } if tag.is_empty() && is_space => Flow::More,
            At::Tag { mut tag } => {
                tag.push(c);
                match tag_state(&tag, &[FUNCTION]) {
                    Some(Some(_)) => self.at = At::Name(String::new()),
                    Some(None) => self.at = At::Tag { tag },
                    None => return Flow::NotACall,
                }
                Flow::More
            }
            At::Name(name) if c == '>' => self.begin(name, out),
            At::Name(mut name) => {
                name.push(c);
                let is_possible = is_name(&name) && is_name_char(c);
                self.at = At::Name(name);
                if is_possible { Flow::More } else { Flow::NotACall }
            }
            At::Between { tag } if tag.is_empty() && is_space => {
                self.at = At::Between { tag };
                Flow::More
            }
            At::Between { mut tag } => {
                tag.push(c);
                match tag_state(&tag, &[PARAMETER, FUNCTION_END]) {
                    Some(Some(PARAMETER)) => {
                        self.at = At::Key(String::new());
                        Flow::More
                    }
                    Some(Some(_)) => self.end(out),
                    Some(None) => {
                        self.at = At::Between { tag };
                        Flow::More
                    }
                    None => {
                        let expected = format!("{PARAMETER:?} or {FUNCTION_END:?}");
                        self.broken(BrokenCall::Malformed { found: tag, expected })
                    }
                }
            }
            At::Key(key) if c == '>' && !key.is_empty() => self.begin_value(key, out),
            At::Key(mut key) => {
                key.push(c);
                if key.len() > MAX_KEY || matches!(c, '<' | '>' | '\n') {
                    let expected = "a parameter's name and \">\"".to_owned();
                    return self.broken(BrokenCall::Malformed { found: key, expected });
                }
                self.at = At::Key(key);
                Flow::More
            }
            At::Value(value) => self.value(value, c, out),
            At::Behind { tag } if tag.is_empty() && is_space => {
                self.at = At::Behind { tag };
                Flow::More
            }
            At::Behind { mut tag } => {
                tag.push(c);
                match tag_state(&tag, &[CLOSE, OPEN, FUNCTION]) {
                    Some(Some(CLOSE)) => Flow::Done { unread: String::new() },
                    Some(Some(FUNCTION)) => {
                        self.keys.clear();
                        self.at = At::Name(String::new());
                        Flow::More
                    }
                    Some(Some(open)) => Flow::Done { unread: open.to_owned() },
                    Some(None) => {
                        self.at = At::Behind { tag };
                        Flow::More
                    }
                    None => {
                        let reason = BrokenCall::Malformed { found: tag, expected: format!("{CLOSE:?}") };
                        Flow::Broken { index: None, reason }
                    }
                }
            }
        }
    }

    fn finish(&mut self, _: &mut Output) -> Flow {
        match self.at {
            At::Behind { .. } => Flow::Done { unread: String::new() },
            At::Tag { .. } | At::Name(_) => Flow::NotACall,
            At::Between { .. } | At::Key(_) | At::Value(_) => self.broken(BrokenCall::CutShort),
        }
    }

    fn closing(&self) -> Option<&'static str> {
        Some(if self.has_tag { CLOSE } else { FUNCTION_END })
    }

    fn copy(&self) -> Box<dyn Reader> {
        Box::new(self.clone())
    }
}

/// Writes the tags of each tool, with its parameters in the order of the schema.
fn grammar(how: &CallGrammar<'_>) -> Result<Body> {
    // A value of any text ends at its end tag.
    let mut rules = format!("value[lazy]: /(?s:.*)/ {}\n", literal("\n</parameter>\n"));
    let mut calls = Vec::new();
    for (i, tool) in how.chosen() {
        let mut parameters = String::new();
        let properties = tool.parameters["properties"].as_object().into_iter().flatten();
        let required = tool.parameters["required"].as_array();
        for (k, (key, of)) in properties.enumerate() {
            let is_required = required.is_some_and(|names| names.iter().any(|name| name == key));
            rules.push_str(&format!("parameter_{i}_{k}: {}\n", parameter(tool, key, of)?));
            parameters.push_str(&format!(" parameter_{i}_{k}{}", if is_required { "" } else { "?" }));
        }
        let begin = literal(&format!("{FUNCTION}{}>\n", tool.name));
        calls.push(format!("{begin}{parameters} {}", literal(FUNCTION_END)));
    }
    rules.push_str(&format!("function: {}\n", calls.join("\n  | ")));
    rules.push_str(&format!("call: \"\\n\" function \"\\n\" {}\n", how.mark(CLOSE)));
    Ok(Body { mark: Some(OPEN), rules, between: "\"\\n\"", repeats: true })
}

/// Writes a parameter.
fn parameter(tool: &Tool, key: &str, of: &Value) -> Result<String> {
    let fail = |reason: String| {
        let place = format!("properties.{key}");
        Err(TextError::CallGrammar { tool: tool.name.clone(), place, reason })
    };
    if key.is_empty() || key.len() > MAX_KEY || key.contains(['<', '>', '\n']) {
        return fail("this name cannot be written in a tag".to_owned());
    }
    let begin = literal(&format!("{PARAMETER}{key}>\n"));
    let end = literal("\n</parameter>\n");
    if !types::of_schema(&tool.parameters, of).string {
        let mut own = of.clone();
        for definitions in ["$defs", "definitions"] {
            if let (Value::Object(own), Some(all)) = (&mut own, tool.parameters.get(definitions)) {
                own.insert(definitions.to_owned(), all.clone());
            }
        }
        return Ok(format!("{begin} (%json {}) {end}", schema(&own)));
    }
    let strings = match (of.get("const"), of.get("enum")) {
        (Some(one), _) => Some(vec![one]),
        (None, Some(Value::Array(several))) => Some(several.iter().collect()),
        _ => None,
    };
    if let Some(strings) = strings {
        let texts = strings.into_iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let texts: Vec<String> = texts.map(|text| literal(&text)).collect();
        return Ok(format!("{begin} ({}) {end}", texts.join(" | ")));
    }
    for keyword in ["pattern", "format", "minLength", "maxLength", "anyOf", "oneOf", "allOf", "$ref"] {
        if of.get(keyword).is_some() {
            return fail(format!("{keyword} of a string cannot be forced in this form"));
        }
    }
    Ok(format!("{begin} value"))
}
