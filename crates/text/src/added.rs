//! Added tokens, which are matched in the text as a whole before anything else.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::error::{Result, TextError};
use crate::vocabulary::Vocabulary;

/// An entry of `added_tokens` in tokenizer.json, of `added_tokens_decoder` in tokenizer_config.json, or of
/// added_tokens.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Added {
    pub id: u32,
    pub content: String,
    /// Matches only where no letter or digit is adjacent.
    #[serde(default)]
    pub single_word: bool,
    /// The match includes the white space before the token.
    #[serde(default)]
    pub lstrip: bool,
    /// The match includes the white space after the token.
    #[serde(default)]
    pub rstrip: bool,
    /// The token is matched in the normalised text.
    #[serde(default)]
    pub normalized: bool,
    /// The token controls the model.
    #[serde(default)]
    pub special: bool,
}

/// Reads the added tokens of a GGUF key, which has tokenizer.json's form.
///
/// # Errors
/// [`TextError::Malformed`] for invalid JSON and for a token that differs from the vocabulary's.
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

/// Reads `added_tokens_decoder`, which has entries by id.
///
/// # Errors
/// [`TextError::Json`] for a key that is not an id, and for an entry of the wrong form.
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

/// Reads added_tokens.json, which has ids by text. It does not say which tokens are special.
///
/// # Errors
/// [`TextError::Json`] for a value that is not an id.
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

/// Merges both lists, ordered by id. `decoder` takes precedence because its entries have more fields.
///
/// # Errors
/// [`TextError::DuplicateToken`] if the lists give a token different ids.
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
