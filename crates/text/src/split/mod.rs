//! The pre-tokenizers of byte-level BPE, in one table for tokenizer.json and GGUF.
//!
//! tokenizer.json contains the split expressions; GGUF contains only a name (`tokenizer.ggml.pre`). Each row of the
//! table connects the two, as llama.cpp does (`llm_tokenizer_bpe`). The expressions are in the form of tokenizer.json,
//! which llama.cpp quotes beside its own. A name or expression that is not in the table is refused.

mod table;

use serde_json::{Value, json};

use crate::error::{Result, TextError};
use crate::scores;
pub(crate) use table::{GPT2, PreTokenizer};
use table::{PRE_TOKENIZERS, Step};

/// Returns the row of a GGUF name.
///
/// # Errors
/// [`TextError::UnknownPreTokenizer`].
pub(crate) fn by_name(name: &str) -> Result<&'static PreTokenizer> {
    PRE_TOKENIZERS
        .iter()
        .find(|row| row.names.contains(&name))
        .ok_or_else(|| TextError::UnknownPreTokenizer { name: name.to_owned() })
}

/// Returns the rows that split text as tokenizer.json's `pre_tokenizer` and `normalizer` do. There is at least one.
///
/// # Errors
/// [`TextError::UnknownSplit`] with the expressions.
pub(crate) fn by_json(pre_tokenizer: &Value, normalizer: &Value) -> Result<Vec<&'static PreTokenizer>> {
    let unknown = || TextError::UnknownSplit { expression: describe(pre_tokenizer, normalizer) };
    let own = |row: &&PreTokenizer| row.visible_spaces && row.to_json() == *pre_tokenizer;
    if *normalizer == scores::normalizer(false)
        && let Some(row) = PRE_TOKENIZERS.iter().find(own)
    {
        return Ok(vec![row]);
    }
    let nfc = is_nfc(normalizer).ok_or_else(unknown)?;
    let steps = flatten(pre_tokenizer).ok_or_else(unknown)?;
    let rows: Vec<_> =
        PRE_TOKENIZERS.iter().filter(|row| !row.visible_spaces && row.nfc == nfc && same(row.steps, &steps)).collect();
    if rows.is_empty() { Err(unknown()) } else { Ok(rows) }
}

/// Returns all expressions of the table.
#[cfg(test)]
pub(crate) fn expressions() -> impl Iterator<Item = &'static str> {
    let steps = PRE_TOKENIZERS.iter().flat_map(|row| row.steps);
    steps.filter_map(|step| match step {
        Step::Expression(expression) => Some(*expression),
        Step::Digits | Step::Gpt2 => None,
    })
}

impl PreTokenizer {
    /// Converts the row to tokenizer.json's `pre_tokenizer`.
    pub(crate) fn to_json(&self) -> Value {
        let mut list: Vec<Value> = self.steps.iter().filter_map(|step| step.to_json()).collect();
        if self.visible_spaces {
            return match list.len() {
                1 => list.remove(0),
                _ => json!({"type": "Sequence", "pretokenizers": list}),
            };
        }
        let use_regex = self.steps.last() == Some(&Step::Gpt2);
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex,
        });
        if list.is_empty() {
            return byte_level;
        }
        list.push(byte_level);
        json!({"type": "Sequence", "pretokenizers": list})
    }

    /// Converts the row to tokenizer.json's `normalizer`.
    pub(crate) fn normalizer(&self) -> Value {
        match (self.visible_spaces, self.nfc) {
            (true, _) => scores::normalizer(false),
            (false, true) => json!({"type": "NFC"}),
            (false, false) => Value::Null,
        }
    }
}

impl Step {
    /// Converts the step to a part of tokenizer.json's `pre_tokenizer`. GPT-2's expression is part of the byte-level
    /// step.
    fn to_json(self) -> Option<Value> {
        match self {
            Self::Expression(regex) => {
                Some(json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false}))
            }
            Self::Digits => Some(json!({"type": "Digits", "individual_digits": true})),
            Self::Gpt2 => None,
        }
    }
}

/// A step of tokenizer.json.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Expression(String),
    Digits,
    Gpt2,
}

/// Returns `true` if two lists of steps split text in the same way.
fn same(row: &[Step], found: &[Found]) -> bool {
    row.len() == found.len()
        && row.iter().zip(found).all(|(step, found)| match (step, found) {
            (Step::Gpt2, Found::Gpt2) | (Step::Digits, Found::Digits) => true,
            (Step::Gpt2, Found::Expression(text)) => text == GPT2,
            (Step::Digits, Found::Expression(text)) => text == r"\p{N}",
            (Step::Expression(regex), Found::Expression(text)) => regex == text,
            _ => false,
        })
}

/// Returns the steps of a `pre_tokenizer` that ends with the byte-level step. Returns `None` if a step is of another
/// kind.
fn flatten(pre_tokenizer: &Value) -> Option<Vec<Found>> {
    let single = std::slice::from_ref(pre_tokenizer);
    let list = match pre_tokenizer["type"].as_str()? {
        "Sequence" => pre_tokenizer["pretokenizers"].as_array()?.as_slice(),
        _ => single,
    };
    let (last, steps) = list.split_last()?;
    if last["type"].as_str() != Some("ByteLevel") || last["add_prefix_space"].as_bool() == Some(true) {
        return None;
    }
    let mut found = steps.iter().map(step).collect::<Option<Vec<_>>>()?;
    if last["use_regex"].as_bool().unwrap_or(true) {
        found.push(Found::Gpt2);
    }
    Some(found)
}

/// Reads a step before the byte-level step.
fn step(value: &Value) -> Option<Found> {
    match value["type"].as_str()? {
        "Split" => {
            let regex = value["pattern"]["Regex"].as_str()?;
            let cuts = match (value["behavior"].as_str()?, value["invert"].as_bool().unwrap_or(false)) {
                ("Isolated", false) => true,
                // Only the matches are kept. They cover the whole text if the expression matches any white space and
                // any other text.
                ("Removed", true) => regex.ends_with(r"|\s+") && regex.contains(r"[^\s\p{L}\p{N}]+"),
                _ => false,
            };
            if !cuts {
                return None;
            }
            Some(Found::Expression(regex.to_owned()))
        }
        "Digits" => (value["individual_digits"].as_bool() == Some(true)).then_some(Found::Digits),
        _ => None,
    }
}

/// Returns `true` if a `normalizer` is NFC, `false` if there is none, and `None` for any other.
fn is_nfc(normalizer: &Value) -> Option<bool> {
    match normalizer {
        Value::Null => Some(false),
        value => match value["type"].as_str()? {
            "NFC" => Some(true),
            "Sequence" => match value["normalizers"].as_array()?.as_slice() {
                [] => Some(false),
                [one] => is_nfc(one),
                _ => None,
            },
            _ => None,
        },
    }
}

/// Describes the expressions of a pre-tokenizer for an error message.
fn describe(pre_tokenizer: &Value, normalizer: &Value) -> String {
    if normalizer.is_null() { pre_tokenizer.to_string() } else { format!("{pre_tokenizer} after {normalizer}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = PRE_TOKENIZERS.iter().flat_map(|row| row.names).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn every_row_is_found_again_by_its_own_json() {
        for row in PRE_TOKENIZERS {
            let found = by_json(&row.to_json(), &row.normalizer()).unwrap();
            assert!(found.iter().any(|f| f.names == row.names), "{:?}", row.names);
        }
    }

    #[test]
    fn refuses_unknown_names_and_expressions() {
        assert_eq!(by_name("no-such-name").unwrap_err().code(), "unknown-pre-tokenizer");
        let split = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]});
        let error = by_json(&split, &Value::Null).unwrap_err();
        assert_eq!(error.code(), "unknown-split-expression");
        assert!(error.to_string().contains("[a-z]+"));
    }

    #[test]
    fn a_normalizer_or_prefix_space_makes_a_different_pre_tokenizer() {
        let gpt2 = by_name("gpt-2").unwrap().to_json();
        assert!(by_json(&gpt2, &json!({"type": "Lowercase"})).is_err());
        let spaced = json!({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true});
        assert!(by_json(&spaced, &Value::Null).is_err());
    }
}
