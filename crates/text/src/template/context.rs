//! The variables of a rendering.

use minijinja::Value;

use super::{Message, RenderOptions};
use crate::config::SpecialTokens;

/// All variables, as transformers passes them: absent tools are none, absent tokens are not defined.
pub(super) fn variables(messages: &[Message], options: &RenderOptions, special: &SpecialTokens) -> Value {
    let none = Value::from(());
    let mut pairs: Vec<(String, Value)> = vec![
        ("messages".to_owned(), messages.iter().map(message).collect()),
        ("tools".to_owned(), options.tools.as_ref().map_or(none.clone(), value)),
        ("documents".to_owned(), none),
        ("add_generation_prompt".to_owned(), Value::from(options.add_generation_prompt)),
    ];
    let tokens = [
        ("bos_token", &special.bos),
        ("eos_token", &special.eos),
        ("unk_token", &special.unk),
        ("pad_token", &special.pad),
    ];
    for (name, text) in tokens {
        if let Some(text) = text {
            pairs.push((name.to_owned(), Value::from(text.as_str())));
        }
    }
    if let Some(clock) = options.clock {
        let strftime_now = move |format: String| clock.strftime(&format);
        pairs.push(("strftime_now".to_owned(), Value::from_function(strftime_now)));
    }
    pairs.extend(options.extra.iter().map(|(name, v)| (name.clone(), value(v))));
    Value::from_pairs(pairs)
}

/// A message as a dictionary: role, content, and the rest in its order.
fn message(message: &Message) -> Value {
    let head = [("role", Value::from(message.role.as_str())), ("content", value(&message.content))];
    Value::from_pairs(head.into_iter().chain(message.extra.iter().map(|(name, v)| (name.as_str(), value(v)))))
}

/// JSON as the template sees it.
fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(v) => Value::from(*v),
        Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(v), _, _) => Value::from(v),
            (_, Some(v), _) => Value::from(v),
            (_, _, v) => Value::from(v.unwrap_or(f64::NAN)),
        },
        Json::String(v) => Value::from(v.as_str()),
        Json::Array(list) => Value::from(list.iter().map(value).collect::<Vec<_>>()),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(name, v)| (name.as_str(), value(v)))),
    }
}
