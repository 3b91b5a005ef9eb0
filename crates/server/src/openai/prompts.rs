//! The texts or tokens that completions and embeddings take.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::{Value, json};

use crate::Prompt;

/// The prompts of a request: a text, several texts, tokens, or several lists of tokens.
#[derive(Debug)]
pub struct Prompts(pub(crate) Vec<Prompt>);

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tokens = |list: &[Value]| {
            let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
            let ids: Option<Vec<u32>> = list.iter().map(id).collect();
            ids.ok_or_else(|| D::Error::custom("expected tokens, whole numbers from 0 to 4294967295"))
        };
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(vec![Prompt::Text(text)])),
            Value::Array(list) if list.first().is_some_and(Value::is_number) => {
                Ok(Self(vec![Prompt::Tokens(tokens(&list)?)]))
            }
            Value::Array(list) if !list.is_empty() => {
                let one = |value: &Value| match value {
                    Value::String(text) => Ok(Prompt::Text(text.clone())),
                    Value::Array(ids) => Ok(Prompt::Tokens(tokens(ids)?)),
                    _ => Err(D::Error::custom("expected texts or lists of tokens")),
                };
                Ok(Self(list.iter().map(one).collect::<Result<_, _>>()?))
            }
            _ => Err(D::Error::custom("expected a text, a list of texts, tokens, or a list of lists of tokens")),
        }
    }
}

impl JsonSchema for Prompts {
    fn schema_name() -> Cow<'static, str> {
        "Prompts".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let token = || json!({"type": "integer", "minimum": 0, "maximum": u32::MAX});
        json_schema!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}},
            {"type": "array", "items": token()},
            {"type": "array", "items": {"type": "array", "items": token()}},
        ]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_tokens_are_told_apart() {
        let text = |text: &str| Prompt::Text(text.to_owned());
        let tokens = |tokens: &[u32]| Prompt::Tokens(tokens.to_vec());
        let cases = [
            (r#""a""#, vec![text("a")]),
            (r#"["a", "b"]"#, vec![text("a"), text("b")]),
            ("[1, 2]", vec![tokens(&[1, 2])]),
            ("[[1], [2, 3]]", vec![tokens(&[1]), tokens(&[2, 3])]),
        ];
        for (json, expected) in cases {
            let read: Prompts = serde_json::from_str(json).expect(json);
            assert_eq!(format!("{:?}", read.0), format!("{expected:?}"));
        }
        for json in
            ["1", "null", "[]", "[-1]", "[4294967296]", r#"[1, "a"]"#, "[[1], 2]", "[[-1]]", "[1.5]", "{}", "[null]"]
        {
            assert!(serde_json::from_str::<Prompts>(json).is_err(), "{json}");
        }
    }
}
