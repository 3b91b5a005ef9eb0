//! The roles of tokens, the added tokens and the chat templates in tokenizer_config.json, special_tokens_map.json and
//! added_tokens.json.

use serde_json::Value;

use crate::added::{self, Added};
use crate::error::{Result, TextError};

/// The texts of the tokens with a role, as chat templates see them (`bos_token`, ...).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// The token at the beginning of a text.
    pub bos: Option<String>,
    /// The token at the end of a text or of a turn.
    pub eos: Option<String>,
    /// The token for text that the vocabulary cannot represent.
    pub unk: Option<String>,
    /// The token that pads batches.
    pub pad: Option<String>,
}

impl SpecialTokens {
    /// Returns the roles and their texts. The names are those of the files and the templates.
    pub(crate) fn named(&self) -> [(&'static str, Option<&str>); 4] {
        let names = ["bos_token", "eos_token", "unk_token", "pad_token"];
        let texts = [&self.bos, &self.eos, &self.unk, &self.pad];
        std::array::from_fn(|i| (names[i], texts[i].as_deref()))
    }
}

/// The roles that chat templates see no token for, although the model may have one. tokenizer_config.json expresses
/// this with `null`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unnamed {
    pub bos: bool,
    pub eos: bool,
    pub unk: bool,
    pub pad: bool,
}

impl Unnamed {
    /// Returns the names of the roles.
    pub(crate) fn names(self) -> Vec<String> {
        let named =
            [("bos_token", self.bos), ("eos_token", self.eos), ("unk_token", self.unk), ("pad_token", self.pad)];
        named.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect()
    }

    /// Makes the set of roles with these names.
    pub(crate) fn of_names(names: &[String]) -> Self {
        let has = |name: &str| names.iter().any(|known| known == name);
        Self { bos: has("bos_token"), eos: has("eos_token"), unk: has("unk_token"), pad: has("pad_token") }
    }
}

/// A chat template and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTemplate {
    /// The name: `default`, `tool_use`, ...
    pub name: String,
    /// The Jinja source.
    pub source: String,
}

/// The contents of the three files.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenizerConfig {
    /// `tokenizer_class`, without the suffix `Fast`.
    pub class: Option<String>,
    pub special: SpecialTokens,
    /// The roles that templates see no token for.
    pub unnamed: Unnamed,
    /// The added tokens, ordered by id.
    pub added: Vec<Added>,
    pub add_prefix_space: Option<bool>,
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
    /// `do_lower_case` of BERT.
    pub lowercase: Option<bool>,
    /// `tokenize_chinese_chars` of BERT.
    pub chinese: Option<bool>,
    /// `strip_accents` of BERT.
    pub strip_accents: Option<bool>,
    pub templates: Vec<NamedTemplate>,
}

/// The name of the default template.
pub(crate) const DEFAULT_TEMPLATE: &str = "default";

impl TokenizerConfig {
    /// Reads the files. Roles that no file names are `None`.
    ///
    /// # Errors
    /// [`TextError::Json`] for invalid JSON and for a field of the wrong type.
    pub(crate) fn read(config: Option<&[u8]>, special_map: Option<&[u8]>, added_tokens: Option<&[u8]>) -> Result<Self> {
        let config = object("tokenizer_config.json", config)?;
        let map = object("special_tokens_map.json", special_map)?;
        let list = object("added_tokens.json", added_tokens)?;
        // As in transformers, the older file counts if the newer one names no token and has no added tokens.
        let role = |name: &str| -> Result<Option<String>> {
            let is_null = config.get(name).is_some_and(Value::is_null);
            match token_text("tokenizer_config.json", &config, name)? {
                Some(text) => Ok(Some(text)),
                None if is_null && !config["added_tokens_decoder"].is_null() => Ok(None),
                None => token_text("special_tokens_map.json", &map, name),
            }
        };
        let class = config["tokenizer_class"].as_str().map(|class| class.trim_end_matches("Fast").to_owned());
        // transformers' general class has no tokens of its own.
        let general = class.as_deref() == Some("PreTrainedTokenizer");
        let unnamed =
            |name: &str, text: &Option<String>| text.is_none() && config.get(name).map_or(general, Value::is_null);
        let special = SpecialTokens {
            bos: role("bos_token")?,
            eos: role("eos_token")?,
            unk: role("unk_token")?,
            pad: role("pad_token")?,
        };
        let unnamed = Unnamed {
            bos: unnamed("bos_token", &special.bos),
            eos: unnamed("eos_token", &special.eos),
            unk: unnamed("unk_token", &special.unk),
            pad: unnamed("pad_token", &special.pad),
        };
        let mut steering = token_texts("tokenizer_config.json", &config, "additional_special_tokens")?;
        steering.extend(token_texts("special_tokens_map.json", &map, "additional_special_tokens")?);
        steering.extend([&special.bos, &special.eos, &special.unk, &special.pad].into_iter().flatten().cloned());
        let decoder = added::from_decoder(&config["added_tokens_decoder"])?;
        let list = list.as_object().map(added::from_list).transpose()?.unwrap_or_default();
        let mut added = added::merged(decoder, list)?;
        added.iter_mut().for_each(|token| token.special |= steering.contains(&token.content));
        Ok(Self {
            class,
            special,
            unnamed,
            added,
            add_prefix_space: flag(&config, "add_prefix_space")?,
            add_bos: flag(&config, "add_bos_token")?,
            add_eos: flag(&config, "add_eos_token")?,
            lowercase: flag(&config, "do_lower_case")?,
            chinese: flag(&config, "tokenize_chinese_chars")?,
            strip_accents: flag(&config, "strip_accents")?,
            templates: templates(&config["chat_template"])?,
        })
    }
}

/// Parses a JSON file that must be an object. An absent file is `null`.
fn object(file: &'static str, bytes: Option<&[u8]>) -> Result<Value> {
    let Some(bytes) = bytes else { return Ok(Value::Null) };
    match serde_json::from_slice(bytes).map_err(|e| TextError::json(file, e))? {
        value @ Value::Object(_) => Ok(value),
        _ => Err(TextError::json(file, "expected an object")),
    }
}

/// Reads a token: a string, or an object with `content`.
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

/// Reads an optional list of tokens.
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

/// Reads an optional boolean.
fn flag(config: &Value, field: &str) -> Result<Option<bool>> {
    match &config[field] {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(*value)),
        _ => Err(TextError::json("tokenizer_config.json", format!("{field}: expected true or false"))),
    }
}

/// Reads `chat_template`: one string, or a list of named templates.
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

/// Reads token ids: a number, a list of numbers, or `null`.
pub(crate) fn id_list(file: &'static str, value: &Value) -> Result<Vec<u32>> {
    let id = |v: &Value| {
        v.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| {
            TextError::json(file, format!("token id: expected a number or a list of numbers, found {v}"))
        })
    };
    match value {
        Value::Null => Ok(Vec::new()),
        // Some files write -1 for no token.
        Value::Number(n) if n.as_i64() == Some(-1) => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(id).collect(),
        value => Ok(vec![id(value)?]),
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
    fn null_names_no_token_unless_the_map_of_an_older_folder_does() {
        let map = br#"{"bos_token": "<s>", "eos_token": "</s>"}"#;
        let read = |config: &str| TokenizerConfig::read(Some(config.as_bytes()), Some(map), None).unwrap();
        let new = read(r#"{"bos_token": null, "added_tokens_decoder": {"1": {"content": "<s>"}}}"#);
        assert_eq!((new.special.bos, new.special.eos.as_deref()), (None, Some("</s>")));
        assert_eq!(new.unnamed, Unnamed { bos: true, ..Unnamed::default() });
        let old = read(r#"{"bos_token": null}"#);
        assert_eq!((old.special.bos.as_deref(), old.unnamed), (Some("<s>"), Unnamed::default()));
        // If a class has its own tokens, an absent field is not `null`.
        for (class, expected) in [("PreTrainedTokenizerFast", true), ("LlamaTokenizerFast", false)] {
            let read = read(&format!(r#"{{"tokenizer_class": "{class}"}}"#));
            assert_eq!((read.unnamed.pad, read.unnamed.bos), (expected, false), "{class}");
            assert_eq!(Unnamed::of_names(&read.unnamed.names()), read.unnamed);
        }
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
