//! The variables of a rendering.

use honelm_jinja::{Dict, Result, Str, Text, Value};
use serde_json::{Map, Value as Json};

use crate::config::SpecialTokens;

/// The variables that contain the texts of special tokens.
const TOKENS: [&str; 4] = ["bos_token", "eos_token", "unk_token", "pad_token"];

/// Returns all variables, as transformers passes them. Absent tools and documents are `None`, absent tokens are
/// undefined.
pub(super) fn variables(given: &Map<String, Json>, special: &SpecialTokens) -> Result<Vec<(Text, Value)>> {
    let mut pairs: Vec<(Text, Value)> = vec![
        ("messages".into(), Value::list(Vec::new())?),
        ("tools".into(), Value::None),
        ("documents".into(), Value::None),
        ("add_generation_prompt".into(), Value::Bool(false)),
    ];
    let tokens = TOKENS.into_iter().zip([&special.bos, &special.eos, &special.unk, &special.pad]);
    pairs.extend(tokens.filter_map(|(name, text)| Some((name.into(), Value::str(text.as_deref()?)))));
    for (name, json) in given {
        let value = match json {
            Json::Array(turns) if name == "messages" => Value::list(turns.iter().map(message).collect::<Result<_>>()?)?,
            Json::String(text) if TOKENS.contains(&&**name) => Value::str(text.as_str()),
            other => Value::from_json(other)?,
        };
        pairs.push((name.as_str().into(), value));
    }
    Ok(pairs)
}

/// The names of a message's reasoning. transformers passes it under the first two.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Converts a message to a dictionary in the order of its fields. Templates find its reasoning under the names that
/// transformers passes, even if the message has another name. These aliases are not among the entries.
fn message(json: &Json) -> Result<Value> {
    let Json::Object(fields) = json else { return Value::from_json(json) };
    let given = |name: &str| fields.get(name).filter(|found| !found.is_null());
    let reasoning = match REASONING.into_iter().find_map(given) {
        Some(reasoning) => Some(Value::from_json(reasoning)?),
        None => None,
    };
    let mut dict = Dict::default();
    for (name, json) in fields {
        let value = match (&**name, json) {
            ("role", Json::String(role)) => {
                if is_word(role) {
                    Value::str(role.as_str())
                } else {
                    Value::outside(role.as_str())
                }
            }
            ("tool_calls", Json::Array(calls)) => Value::list(calls.iter().map(tool_call).collect::<Result<_>>()?)?,
            // transformers replaces a null with the reasoning.
            ("reasoning_content", Json::Null) => reasoning.clone().unwrap_or(Value::None),
            (_, json) => Value::from_json(json)?,
        };
        dict.insert(Value::outside(name.as_str()), value)?;
    }
    if let Some(reasoning) = reasoning {
        dict.alias(REASONING[0], reasoning.clone());
        dict.alias(REASONING[1], reasoning);
    }
    Ok(dict.into())
}

/// Returns `true` if a role is a plain word. It cannot contain a special token, and templates make tokens of roles.
fn is_word(role: &str) -> bool {
    role.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Converts a tool call. Arguments in OpenAI's form, which is JSON text, can also be used as an object, because
/// templates expect either.
fn tool_call(json: &Json) -> Result<Value> {
    let Json::Object(fields) = json else { return Value::from_json(json) };
    let mut dict = Dict::default();
    for (name, json) in fields {
        let value = match (&**name, json) {
            ("function", json) => tool_call(json)?,
            ("arguments", Json::String(text)) => match serde_json::from_str(text) {
                Ok(Json::Object(object)) => Value::Str(Str::json(text.as_str(), Dict::from_json(&object)?)),
                _ => Value::outside(text.as_str()),
            },
            (_, json) => Value::from_json(json)?,
        };
        dict.insert(Value::outside(name.as_str()), value)?;
    }
    Ok(dict.into())
}
