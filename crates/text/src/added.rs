//! Tokens that are found in text as wholes, as the files beside a vocabulary list them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::error::{Result, TextError};
use crate::vocabulary::Vocabulary;

/// An entry of tokenizer.json's `added_tokens`, of tokenizer_config.json's `added_tokens_decoder`, or of
/// added_tokens.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Added {
    pub id: u32,
    pub content: String,
    /// Only where no letter or digit is beside it.
    #[serde(default)]
    pub single_word: bool,
    /// Takes the white space before it along.
    #[serde(default)]
    pub lstrip: bool,
    /// Takes the white space after it along.
    #[serde(default)]
    pub rstrip: bool,
    /// Looked for in the normalised text.
    #[serde(default)]
    pub normalized: bool,
    /// Steers the model.
    #[serde(default)]
    pub special: bool,
}

/// Added tokens of a GGUF key, in tokenizer.json's form.
///
/// # Errors
/// [`TextError::Malformed`] for broken JSON, or a token that the vocabulary has otherwise.
pub(crate) fn from_key(key: &str, text: &str, vocabulary: &Vocabulary) -> Result<Vec<Added>> {
    let wrong = |reason: String| TextError::malformed("GGUF metadata", key, reason);
    let tokens: Vec<Added> = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    match tokens.iter().find(|token| vocabulary.id_of(&token.content) != Some(token.id)) {
        Some(token) => Err(wrong(format!("{:?} is not token {}", token.content, token.id))),
        None => Ok(tokens),
    }
}

impl From<Added> for AddedToken {
    fn from(token: Added) -> Self {
        Self {
            content: token.content,
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            normalized: token.normalized,
            special: token.special,
        }
    }
}

/// `added_tokens_decoder`: entries by id.
///
/// # Errors
/// A key that is no id, an entry of the wrong form.
pub(crate) fn from_decoder(value: &Value) -> Result<Vec<Added>> {
    const FILE: &str = "tokenizer_config.json";
    let wrong = |id: &str, reason: &dyn std::fmt::Display| {
        TextError::json(FILE, format!("added_tokens_decoder[{id:?}]: {reason}"))
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, entry)| {
                let id: u32 = key.parse().map_err(|_| wrong(key, &"expected an id"))?;
                let mut entry = entry.clone();
                if let Value::Object(fields) = &mut entry {
                    fields.insert("id".to_owned(), id.into());
                }
                serde_json::from_value(entry).map_err(|e| wrong(key, &e))
            })
            .collect(),
        _ => Err(TextError::json(FILE, "added_tokens_decoder: expected an object")),
    }
}

/// added_tokens.json: ids by text. Which of them are special, it does not say.
///
/// # Errors
/// A value that is no id.
pub(crate) fn from_list(list: &Map<String, Value>) -> Result<Vec<Added>> {
    list.iter()
        .map(|(content, value)| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
                TextError::json("added_tokens.json", format!("{content:?}: expected an id, found {value}"))
            })?;
            Ok(Added { id, content: content.clone(), ..Added::default() })
        })
        .collect()
}

/// One list of both, by id. Where both files name a token, the first, which says more, counts.
///
/// # Errors
/// [`TextError::DuplicateToken`] where they give it different ids.
pub(crate) fn merged(decoder: Vec<Added>, list: Vec<Added>) -> Result<Vec<Added>> {
    let mut all: std::collections::HashMap<String, Added> = std::collections::HashMap::new();
    for token in decoder.into_iter().chain(list) {
        match all.get(&token.content) {
            Some(first) if first.id != token.id => {
                return Err(TextError::DuplicateToken { token: token.content, first: first.id, second: token.id });
            }
            Some(_) => {}
            None => drop(all.insert(token.content.clone(), token)),
        }
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|token| token.id);
    Ok(all)
}
