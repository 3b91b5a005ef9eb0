//! The positions of the requests of three APIs: everything is text that may hold private data, but for the names of the
//! protocol.

use serde_json::{Map, Value};

use crate::{GatewayError, Result};

/// The API that a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

/// The place of a string in a request.
#[derive(Debug)]
pub(super) enum Position<'a> {
    /// Text that may hold private data; the label is the key of its field.
    Text { label: &'a str },
    /// A name of the protocol at a JSON pointer, which must stay.
    Protocol { place: &'a str },
}

/// Paths of the names of the protocol. `*` is one step of the path, `**` any number of steps.
const COMMON: &[&str] = &[
    "model",
    "service_tier",
    "reasoning_effort",
    "reasoning/effort",
    "reasoning/summary",
    "verbosity",
    "stream_options/**",
    "tool_choice/**",
    "tool_choice",
    "truncation",
    "include/*",
    "modalities/*",
    "prompt_cache_retention",
];
const CHAT: &[&str] = &[
    "messages/*/role",
    "messages/*/tool_call_id",
    "messages/*/content/*/type",
    "messages/*/content/*/image_url/detail",
    "messages/*/content/*/input_audio/format",
    "messages/*/tool_calls/*/id",
    "messages/*/tool_calls/*/type",
    "messages/*/tool_calls/*/function/name",
    "messages/*/function_call/name",
    "tools/*/type",
    "tools/*/function/name",
    "functions/*/name",
    "function_call/name",
    "response_format/type",
    "response_format/json_schema/name",
    "audio/**",
];
const RESPONSES: &[&str] = &[
    "previous_response_id",
    "conversation",
    "conversation/id",
    "input/*/type",
    "input/*/role",
    "input/*/id",
    "input/*/call_id",
    "input/*/status",
    "input/*/name",
    "input/*/content/*/type",
    "input/*/content/*/detail",
    "input/*/summary/*/type",
    "input/*/encrypted_content",
    "input/*/output/*/type",
    "tools/*/type",
    "tools/*/name",
    "text/format/type",
    "text/format/name",
    "text/verbosity",
];
const MESSAGES: &[&str] = &[
    "anthropic_version",
    "messages/*/role",
    "messages/*/content/*/type",
    "messages/*/content/*/id",
    "messages/*/content/*/name",
    "messages/*/content/*/tool_use_id",
    "messages/*/content/*/signature",
    "messages/*/content/*/data",
    "messages/*/content/*/content/*/type",
    "messages/*/content/*/source/type",
    "messages/*/content/*/source/media_type",
    "system/*/type",
    "tools/*/type",
    "tools/*/name",
    "thinking/type",
    "**/cache_control/type",
    "**/cache_control/ttl",
    "anthropic_beta/*",
];
/// Paths of JSON schemas, in which names of types and of fields stay.
const SCHEMAS: &[&str] = &[
    "tools/*/function/parameters",
    "functions/*/parameters",
    "tools/*/parameters",
    "tools/*/input_schema",
    "response_format/json_schema/schema",
    "text/format/schema",
];
/// Keys of a schema whose strings are names of the schema.
const SCHEMA_NAMES: &[&str] = &["type", "$ref", "$id", "$schema", "format", "required", "pattern", "$anchor"];
/// Paths of values that a client or a tool chose freely, with their keys.
const FREE: &[&str] = &[
    "metadata",
    "messages/*/content/*/input",
    "messages/*/tool_calls/*/function/arguments",
    "input/*/arguments",
    "messages/*/function_call/arguments",
    "input/*/output",
    "messages/*/content/*/content",
    "logit_bias",
];
/// Paths of contents that are not text. They cannot be inspected.
const BINARY: &[&str] = &[
    "messages/*/content/*/input_audio/data",
    "messages/*/content/*/file/file_data",
    "input/*/content/*/file_data",
    "messages/*/content/*/source/data",
    "messages/*/content/*/content/*/source/data",
    "input/*/result",
    "input/*/content/*/image_url",
    "messages/*/content/*/image_url/url",
];

/// Calls a function with each string of a request: with texts, with the keys and numbers of free values, and with names of
/// the protocol. Free strings that hold JSON are visited as JSON and written again.
///
/// # Errors
///
/// [`GatewayError::Request`] for a body that is no object and for contents that cannot be inspected, and the errors of `f`.
pub(super) fn visit(
    api: Api,
    body: &mut Value,
    f: &mut dyn FnMut(Position<'_>, &mut String) -> Result<()>,
) -> Result<()> {
    if !body.is_object() {
        return Err(unreadable("", "no object", "an object"));
    }
    let own = match api {
        Api::Chat => CHAT,
        Api::Responses => RESPONSES,
        Api::Messages => MESSAGES,
    };
    Visitor { own, path: Vec::new(), f, depth: 0 }.value(body, Area::Request)
}

/// The part of a request in which a value is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Area {
    Request,
    Schema,
    Free,
}

struct Visitor<'a> {
    own: &'static [&'static str],
    path: Vec<String>,
    f: &'a mut dyn FnMut(Position<'_>, &mut String) -> Result<()>,
    depth: usize,
}

/// The deepest nesting of values and of JSON in strings.
const DEEPEST: usize = 128;

impl Visitor<'_> {
    fn value(&mut self, value: &mut Value, area: Area) -> Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(unreadable(&self.place(), "deeper nesting", "at most 128 levels"));
        }
        let area = if area != Area::Request {
            area
        } else if self.is(FREE) {
            Area::Free
        } else if self.is(SCHEMAS) {
            Area::Schema
        } else {
            area
        };
        match value {
            Value::Object(fields) => self.fields(fields, area)?,
            Value::Array(values) => {
                for (i, value) in values.iter_mut().enumerate() {
                    self.path.push(i.to_string());
                    self.value(value, area)?;
                    self.path.pop();
                }
            }
            Value::String(text) => self.string(text, area)?,
            Value::Number(_) if area == Area::Free => self.number(value)?,
            _ => {}
        }
        self.depth -= 1;
        Ok(())
    }

    fn fields(&mut self, fields: &mut Map<String, Value>, area: Area) -> Result<()> {
        let own = std::mem::take(fields);
        for (mut key, mut value) in own {
            self.path.push(key.clone());
            self.value(&mut value, area)?;
            self.path.pop();
            if area == Area::Free {
                (self.f)(Position::Text { label: "" }, &mut key)?;
            } else if area == Area::Schema {
                let place = self.place();
                (self.f)(Position::Protocol { place: &place }, &mut key)?;
            }
            fields.insert(key, value);
        }
        Ok(())
    }

    fn string(&mut self, text: &mut String, area: Area) -> Result<()> {
        let place = self.place();
        if area == Area::Request && self.is(BINARY) && !text.starts_with("http") {
            return Err(unreadable(
                &place,
                "contents that are not text",
                "text, as only text can be searched for private data",
            ));
        }
        let label =
            self.path.iter().rev().find(|step| step.parse::<usize>().is_err()).map_or("", String::as_str).to_owned();
        let named = match area {
            Area::Request => self.is(self.own) || self.is(COMMON),
            Area::Schema => SCHEMA_NAMES.contains(&label.as_str()),
            Area::Free => false,
        };
        if named {
            return (self.f)(Position::Protocol { place: &place }, text);
        }
        if text.trim_start().starts_with(['{', '['])
            && let Ok(mut inner) = serde_json::from_str::<Value>(text)
        {
            self.value(&mut inner, Area::Free)?;
            let written = inner.to_string();
            // An unchanged value keeps its own spelling.
            if serde_json::from_str::<Value>(text).ok().as_ref() != Some(&inner) {
                *text = written;
            }
            return Ok(());
        }
        (self.f)(Position::Text { label: &label }, text)
    }

    /// Visits a number as text; what replaces it is a number again if it can be one.
    fn number(&mut self, value: &mut Value) -> Result<()> {
        let before = value.to_string();
        let label = self.path.last().cloned().unwrap_or_default();
        let mut text = before.clone();
        (self.f)(Position::Text { label: &label }, &mut text)?;
        if text != before {
            let number = serde_json::from_str::<Value>(&text).ok().filter(Value::is_number);
            *value = number.unwrap_or(Value::String(text));
        }
        Ok(())
    }

    fn is(&self, patterns: &[&str]) -> bool {
        patterns.iter().any(|pattern| matches(&pattern.split('/').collect::<Vec<_>>(), &self.path))
    }

    fn place(&self) -> String {
        self.path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
    }
}

fn matches(pattern: &[&str], path: &[String]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => (0..=path.len()).any(|skipped| matches(rest, &path[skipped..])),
        (Some((step, rest)), Some((own, path))) => (*step == "*" || step == own) && matches(rest, path),
        _ => false,
    }
}

fn unreadable(place: &str, found: &str, expected: &'static str) -> GatewayError {
    let place = if place.is_empty() { "request".to_owned() } else { place.to_owned() };
    GatewayError::Request { place, found: found.to_owned(), expected }
}
