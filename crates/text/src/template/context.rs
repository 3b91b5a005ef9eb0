//! The variables of a rendering.

use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::jinja::{Dict, Fault, Items, Str, Text, Value};
use crate::config::SpecialTokens;

/// Names of variables that hold texts of special tokens.
const TOKENS: [&str; 4] = ["bos_token", "eos_token", "unk_token", "pad_token"];

/// All variables, as transformers passes them: tools and documents that are not given are none, tokens that the model
/// lacks are not defined.
pub(super) fn variables(given: &Map<String, Json>, special: &SpecialTokens) -> Result<Vec<(Text, Value)>, Fault> {
    let mut pairs: Vec<(Text, Value)> = vec![
        ("messages".into(), Value::List(Items::new(Vec::new())?)),
        ("tools".into(), Value::None),
        ("documents".into(), Value::None),
        ("add_generation_prompt".into(), Value::Bool(false)),
    ];
    let tokens = TOKENS.into_iter().zip([&special.bos, &special.eos, &special.unk, &special.pad]);
    pairs.extend(tokens.filter_map(|(name, text)| Some((name.into(), Value::str(text.as_deref()?)))));
    for (name, json) in given {
        let value = match json {
            Json::Array(turns) if name == "messages" => {
                Value::List(Items::new(turns.iter().map(message).collect::<Result<_, _>>()?)?)
            }
            Json::String(text) if TOKENS.contains(&&**name) => Value::str(text.as_str()),
            other => value(other)?,
        };
        pairs.push((name.as_str().into(), value));
    }
    Ok(pairs)
}

/// Names under which a message's reasoning is given. transformers passes it under the first two.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A message as a dictionary in the order of its fields. Templates find its reasoning under the names that transformers
/// passes, also where the message has another one; among the entries it stands only where the message has it.
fn message(json: &Json) -> Result<Value, Fault> {
    let Json::Object(fields) = json else { return value(json) };
    let given = |name: &str| fields.get(name).filter(|found| !found.is_null());
    let reasoning = match REASONING.into_iter().find_map(given) {
        Some(reasoning) => Some(value(reasoning)?),
        None => None,
    };
    let mut dict = Dict::default();
    for (name, json) in fields {
        let value = match (&**name, json) {
            ("role", Json::String(role)) => Value::Str(Str::marked(role.as_str(), !is_word(role))),
            ("tool_calls", Json::Array(calls)) => {
                Value::List(Items::new(calls.iter().map(tool_call).collect::<Result<_, _>>()?)?)
            }
            // transformers puts the reasoning in place of a null.
            ("reasoning_content", Json::Null) => reasoning.clone().unwrap_or(Value::None),
            (_, json) => value(json)?,
        };
        dict.insert(key(name), value)?;
    }
    if let Some(reasoning) = reasoning {
        dict.alias(REASONING[0], reasoning.clone());
        dict.alias(REASONING[1], reasoning);
    }
    Ok(Value::Dict(Rc::new(dict)))
}

/// Whether a role is a plain word. No special token can be hidden in one; templates make tokens of them.
fn is_word(role: &str) -> bool {
    role.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// A call of a tool. Arguments that are JSON text, as OpenAI's interface has them, can also be used as the object that they
/// are, since templates expect either.
fn tool_call(json: &Json) -> Result<Value, Fault> {
    let Json::Object(fields) = json else { return value(json) };
    let mut dict = Dict::default();
    for (name, json) in fields {
        let value = match (&**name, json) {
            ("function", json) => tool_call(json)?,
            ("arguments", Json::String(text)) => match serde_json::from_str(text) {
                Ok(Json::Object(object)) => Value::Str(Str::arguments(text.as_str(), Rc::new(entries(&object)?))),
                _ => Value::Str(Str::outside(text.as_str())),
            },
            (_, json) => value(json)?,
        };
        dict.insert(key(name), value)?;
    }
    Ok(Value::Dict(Rc::new(dict)))
}

/// A name as a key.
fn key(name: &str) -> Value {
    Value::Str(Str::outside(name))
}

fn entries(fields: &Map<String, Json>) -> Result<Dict, Fault> {
    let mut dict = Dict::default();
    for (name, json) in fields {
        dict.insert(key(name), value(json)?)?;
    }
    Ok(dict)
}

/// JSON as the template sees it. Its texts come from outside.
fn value(json: &Json) -> Result<Value, Fault> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i128(), number.as_f64()) {
            (Some(value), _) => Value::Int(value),
            (None, value) => Value::Float(value.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Str(Str::outside(text.as_str())),
        Json::Array(list) => Value::List(Items::new(list.iter().map(value).collect::<Result<_, _>>()?)?),
        Json::Object(fields) => Value::Dict(Rc::new(entries(fields)?)),
    })
}
