//! tokenizer_config.json, special_tokens_map.json and added_tokens.json: which tokens have a role, which were added,
//! and the chat templates.

use serde_json::Value;

use crate::added::{self, Added};
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

/// What the three files say.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenizerConfig {
    /// `tokenizer_class`, without the `Fast` of its quicker twin.
    pub class: Option<String>,
    pub special: SpecialTokens,
    /// Added tokens, by id.
    pub added: Vec<Added>,
    pub add_prefix_space: Option<bool>,
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
    pub(crate) fn read(config: Option<&[u8]>, special_map: Option<&[u8]>, added_tokens: Option<&[u8]>) -> Result<Self> {
        let config = object("tokenizer_config.json", config)?;
        let map = object("special_tokens_map.json", special_map)?;
        let list = object("added_tokens.json", added_tokens)?;
        let role = |name: &str| -> Result<Option<String>> {
            match token_text("tokenizer_config.json", &config, name)? {
                Some(text) => Ok(Some(text)),
                None => token_text("special_tokens_map.json", &map, name),
            }
        };
        let special = SpecialTokens {
            bos: role("bos_token")?,
            eos: role("eos_token")?,
            unk: role("unk_token")?,
            pad: role("pad_token")?,
        };
        let mut steering = token_texts("tokenizer_config.json", &config, "additional_special_tokens")?;
        steering.extend(token_texts("special_tokens_map.json", &map, "additional_special_tokens")?);
        steering.extend([&special.bos, &special.eos, &special.unk, &special.pad].into_iter().flatten().cloned());
        let decoder = added::from_decoder(&config["added_tokens_decoder"])?;
        let list = list.as_object().map(added::from_list).transpose()?.unwrap_or_default();
        let mut added = added::merged(decoder, list)?;
        added.iter_mut().for_each(|token| token.special |= steering.contains(&token.content));
        Ok(Self {
            class: config["tokenizer_class"].as_str().map(|class| class.trim_end_matches("Fast").to_owned()),
            special,
            added,
            add_prefix_space: flag(&config, "add_prefix_space")?,
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

/// A list of tokens, or nothing.
fn token_texts(file: &'static str, config: &Value, field: &str) -> Result<Vec<String>> {
    let wrong = || TextError::json(file, format!("{field}: expected a list of tokens"));
    match &config[field] {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list
            .iter()
            .map(|token| token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned).ok_or_else(wrong))
            .collect(),
        // Some files name them by role.
        Value::Object(roles) => Ok(roles.values().filter_map(Value::as_str).map(str::to_owned).collect()),
        _ => Err(wrong()),
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
        let read = TokenizerConfig::read(Some(config), Some(map), None).unwrap();
        assert_eq!(read.special.bos.as_deref(), Some("<s>"));
        assert_eq!(read.special.eos.as_deref(), Some("</s>"));
        assert_eq!((read.add_bos, read.add_eos), (Some(true), None));
    }

    #[test]
    fn reads_a_list_of_templates() {
        let config =
            br#"{"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]}"#;
        let read = TokenizerConfig::read(Some(config), None, None).unwrap();
        assert_eq!(read.templates.len(), 2);
    }

    #[test]
    fn added_tokens_of_both_files_join_by_id() {
        let config = br#"{"added_tokens_decoder": {"7": {"content": "<x>", "rstrip": true}}, "eos_token": "<e>"}"#;
        let read = TokenizerConfig::read(Some(config), None, Some(br#"{"<x>": 7, "<e>": 5}"#)).unwrap();
        let found: Vec<_> = read.added.iter().map(|t| (t.id, t.content.as_str(), t.rstrip, t.special)).collect();
        assert_eq!(found, [(5, "<e>", false, true), (7, "<x>", true, false)]);
        let error = TokenizerConfig::read(Some(config), None, Some(br#"{"<x>": 8}"#)).unwrap_err();
        assert_eq!(error.code(), "duplicate-token");
    }

    #[test]
    fn refuses_added_tokens_without_ids() {
        for list in [&br#"[]"#[..], br#"{"<x>": -1}"#, br#"{"<x>": "1"}"#, br#"{"<x>": 4294967296}"#] {
            assert_eq!(TokenizerConfig::read(None, None, Some(list)).unwrap_err().code(), "tokenizer-json");
        }
        for config in [
            &br#"{"added_tokens_decoder": {"x": {"content": "<x>"}}}"#[..],
            br#"{"added_tokens_decoder": {"1": {}}}"#,
            br#"{"added_tokens_decoder": {"1": "<x>"}}"#,
            br#"{"added_tokens_decoder": []}"#,
            br#"{"additional_special_tokens": 3}"#,
        ] {
            assert_eq!(TokenizerConfig::read(Some(config), None, None).unwrap_err().code(), "tokenizer-json");
        }
    }

    #[test]
    fn refuses_fields_of_the_wrong_type() {
        for config in
            [&br#"[]"#[..], br#"{"bos_token": 3}"#, br#"{"add_bos_token": 1}"#, br#"{"chat_template": 1}"#, b"{"]
        {
            assert_eq!(TokenizerConfig::read(Some(config), None, None).unwrap_err().code(), "tokenizer-json");
        }
    }
}
