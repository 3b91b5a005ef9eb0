//! The variables of a rendering.

use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::jinja::{Dict, Fault, Items, Text, Value};
use crate::config::SpecialTokens;

/// All variables, as transformers passes them: tools and documents that are not given are none, tokens that the model
/// lacks are not defined.
pub(super) fn variables(given: &Map<String, Json>, special: &SpecialTokens) -> Result<Vec<(Text, Value)>, Fault> {
    let mut pairs: Vec<(Text, Value)> = vec![
        ("messages".into(), Value::List(Items::new(Vec::new())?)),
        ("tools".into(), Value::None),
        ("documents".into(), Value::None),
        ("add_generation_prompt".into(), Value::Bool(false)),
    ];
    let tokens = [
        ("bos_token", &special.bos),
        ("eos_token", &special.eos),
        ("unk_token", &special.unk),
        ("pad_token", &special.pad),
    ];
    pairs.extend(tokens.iter().filter_map(|(name, text)| Some(((*name).into(), Value::str(text.as_deref()?)))));
    for (name, json) in given {
        let value = match json {
            Json::Array(turns) if name == "messages" => {
                Value::List(Items::new(turns.iter().map(message).collect::<Result<_, _>>()?)?)
            }
            other => value(other)?,
        };
        pairs.push((name.as_str().into(), value));
    }
    Ok(pairs)
}

/// Names under which a message's reasoning is found. transformers copies it to the first and the second.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A message as a dictionary in the order of its fields.
fn message(json: &Json) -> Result<Value, Fault> {
    let Json::Object(fields) = json else { return value(json) };
    let Some(reasoning) = REASONING.into_iter().find_map(|name| fields.get(name).filter(|found| !found.is_null()))
    else {
        return value(json);
    };
    let reasoning = value(reasoning)?;
    let mut dict = Dict::default();
    dict.insert(Value::str("thinking"), reasoning.clone())?;
    for (name, json) in fields {
        dict.insert(Value::str(name.as_str()), value(json)?)?;
    }
    dict.insert(Value::str(REASONING[0]), reasoning)?;
    Ok(Value::Dict(Rc::new(dict)))
}

/// JSON as the template sees it.
fn value(json: &Json) -> Result<Value, Fault> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i128(), number.as_f64()) {
            (Some(value), _) => Value::Int(value),
            (None, value) => Value::Float(value.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::str(text.as_str()),
        Json::Array(list) => Value::List(Items::new(list.iter().map(value).collect::<Result<_, _>>()?)?),
        Json::Object(map) => {
            let mut dict = Dict::default();
            for (name, json) in map {
                dict.insert(Value::str(name.as_str()), value(json)?)?;
            }
            Value::Dict(Rc::new(dict))
        }
    })
}
