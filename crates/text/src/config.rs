//! tokenizer_config.json and special_tokens_map.json: which tokens have a role, and the chat templates.

use serde_json::Value;

use crate::error::{Result, TextError};
use crate::tokenizer::NamedTemplate;

/// Texts of the tokens that have a role, as chat templates see them (`bos_token`, ...).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins every text.
    pub bos: Option<String>,
    /// Ends a text or a turn.
    pub eos: Option<String>,
    /// Stands for what the vocabulary cannot spell.
    pub unk: Option<String>,
    /// Fills batches.
    pub pad: Option<String>,
}

/// What the two files say.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenizerConfig {
    pub special: SpecialTokens,
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
    pub templates: Vec<NamedTemplate>,
}

/// Name of the template that is used when none is asked for.
pub(crate) const DEFAULT_TEMPLATE: &str = "default";

impl TokenizerConfig {
    /// Reads the files; roles named in neither stay open.
    ///
    /// # Errors
    /// Broken JSON, or a field of the wrong type.
    pub(crate) fn read(config: Option<&[u8]>, special_map: Option<&[u8]>) -> Result<Self> {
        let config = object("tokenizer_config.json", config)?;
        let map = object("special_tokens_map.json", special_map)?;
        let role = |name: &str| -> Result<Option<String>> {
            match token_text("tokenizer_config.json", &config, name)? {
                Some(text) => Ok(Some(text)),
                None => token_text("special_tokens_map.json", &map, name),
            }
        };
        Ok(Self {
            special: SpecialTokens {
                bos: role("bos_token")?,
                eos: role("eos_token")?,
                unk: role("unk_token")?,
                pad: role("pad_token")?,
            },
            add_bos: flag(&config, "add_bos_token")?,
            add_eos: flag(&config, "add_eos_token")?,
            templates: templates(&config["chat_template"])?,
        })
    }
}

/// A JSON file that must be an object; absent files are `null`.
fn object(file: &'static str, bytes: Option<&[u8]>) -> Result<Value> {
    let Some(bytes) = bytes else { return Ok(Value::Null) };
    match serde_json::from_slice(bytes).map_err(|e| TextError::json(file, e))? {
        value @ Value::Object(_) => Ok(value),
        _ => Err(TextError::json(file, "expected an object")),
    }
}

/// A token as a string, or as an object with `content`.
fn token_text(file: &'static str, config: &Value, field: &str) -> Result<Option<String>> {
    match &config[field] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Object(token) => match token.get("content") {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            _ => Err(TextError::json(file, format!("{field}: expected a `content` string"))),
        },
        _ => Err(TextError::json(file, format!("{field}: expected a string or an object"))),
    }
}

/// A boolean, or nothing.
fn flag(config: &Value, field: &str) -> Result<Option<bool>> {
    match &config[field] {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(*value)),
        _ => Err(TextError::json("tokenizer_config.json", format!("{field}: expected true or false"))),
    }
}

/// `chat_template`: one string, or a list of named ones.
fn templates(value: &Value) -> Result<Vec<NamedTemplate>> {
    let wrong = || TextError::json("tokenizer_config.json", "chat_template: expected a string or {name, template}s");
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(source) => Ok(vec![NamedTemplate { name: DEFAULT_TEMPLATE.to_owned(), source: source.clone() }]),
        Value::Array(list) => list
            .iter()
            .map(|entry| match (&entry["name"], &entry["template"]) {
                (Value::String(name), Value::String(source)) => {
                    Ok(NamedTemplate { name: name.clone(), source: source.clone() })
                }
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn reads_both_spellings_of_a_token_and_falls_back_to_the_map() {
        let config = br#"{"bos_token": {"content": "<s>", "lstrip": false}, "add_bos_token": true}"#;
        let map = br#"{"bos_token": "wrong", "eos_token": "</s>"}"#;
        let read = TokenizerConfig::read(Some(config), Some(map)).unwrap();
        assert_eq!(read.special.bos.as_deref(), Some("<s>"));
        assert_eq!(read.special.eos.as_deref(), Some("</s>"));
        assert_eq!((read.add_bos, read.add_eos), (Some(true), None));
    }

    #[test]
    fn reads_a_list_of_templates() {
        let config =
            br#"{"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]}"#;
        let read = TokenizerConfig::read(Some(config), None).unwrap();
        assert_eq!(read.templates.len(), 2);
    }

    #[test]
    fn refuses_fields_of_the_wrong_type() {
        for config in
            [&br#"[]"#[..], br#"{"bos_token": 3}"#, br#"{"add_bos_token": 1}"#, br#"{"chat_template": 1}"#, b"{"]
        {
            assert_eq!(TokenizerConfig::read(Some(config), None).unwrap_err().code(), "tokenizer-json");
        }
    }
}
