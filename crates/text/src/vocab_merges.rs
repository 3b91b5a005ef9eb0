//! Byte-level BPE from vocab.json and merges.txt, the files of older folders.
//!
//! These files do not contain the split expression. It follows from the class of tokenizer in tokenizer_config.json, or
//! from the kind of model in config.json. A folder that has neither is refused.

use serde_json::{Value, json};

use crate::added::Added;
use crate::config::TokenizerConfig;
use crate::error::{Result, TextError};
use crate::json::{self, RawVocab, split_merge};
use crate::model::Parts;
use crate::split::{self, PreTokenizer};
use crate::tokenizer::Roles;

/// The files' names, for error messages.
const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";

/// A byte-level tokenizer and further properties of its files.
pub(crate) struct ByteLevel {
    pub parts: Parts,
    pub roles: Roles,
    /// `true` if BOS is added before a text unless a configuration says otherwise.
    pub adds_bos: bool,
}

/// The token of GPT-2's class for every role that no file names.
const GPT2_TOKEN: &str = "<|endoftext|>";

/// Reads the two files.
///
/// # Errors
/// [`TextError::UnknownFamily`] if the split expression is unknown, [`TextError::Json`] for invalid JSON,
/// [`TextError::Malformed`] for a line that is not a merge rule, and errors of the vocabulary.
pub(crate) fn read(
    vocab: &[u8],
    merges: &[u8],
    config: &TokenizerConfig,
    model_config: Option<&Value>,
) -> Result<ByteLevel> {
    let row = split_of(config, model_config)?;
    if config.add_prefix_space == Some(true) {
        return Err(TextError::Unsupported {
            part: "add_prefix_space",
            found: "true".to_owned(),
            expected: "false, or a tokenizer.json",
        });
    }
    let vocab: RawVocab = serde_json::from_slice(vocab).map_err(|e| TextError::json(VOCAB, e))?;
    if vocab.0.is_empty() {
        return Err(TextError::EmptyVocabulary);
    }
    let added = with_roles(&vocab.0, config);
    let ids: std::collections::HashMap<&str, u32> = vocab.0.iter().map(|(text, id)| (text.as_str(), *id)).collect();
    let text = std::str::from_utf8(merges)
        .map_err(|e| TextError::malformed(MERGES, format!("byte {}", e.valid_up_to()), "not UTF-8"))?;
    let lines = text.lines().enumerate().filter(|(at, line)| !(line.is_empty() || *at == 0 && is_version(line)));
    let merges = lines
        .map(|(at, line)| {
            let place = || format!("line {}", at + 1);
            let (a, b) = split_merge(line)
                .ok_or_else(|| TextError::malformed(MERGES, place(), format!("{line:?} is not a pair of tokens")))?;
            for token in [a, b, &format!("{a}{b}")] {
                if !ids.contains_key(token) {
                    return Err(TextError::malformed(MERGES, place(), format!("{token:?} is not in vocab.json")));
                }
            }
            Ok((ids[a], ids[b]))
        })
        .collect::<Result<Vec<_>>>()?;
    drop(ids);
    build(vocab.0, merges, added, row, row.ignore_merges)
}

/// Returns `true` for the comment in the first line of merges.txt.
fn is_version(line: &str) -> bool {
    line.starts_with("#version")
}

/// Returns the pre-tokenizer of the class of tokenizer, or of the kind of model.
fn split_of(config: &TokenizerConfig, model_config: Option<&Value>) -> Result<&'static PreTokenizer> {
    let model_type = model_config.and_then(|config| config["model_type"].as_str());
    let name = match (config.class.as_deref(), model_type) {
        // Other models use GPT-2's class with their own split expressions, which only their tokenizer.json contains.
        (Some("GPT2Tokenizer") | None, Some("gpt2" | "opt")) | (Some("GPT2Tokenizer"), None) => "gpt-2",
        (Some("CodeGenTokenizer"), _) => "phi-2",
        (Some("Qwen2Tokenizer"), _) | (None, Some("qwen2" | "qwen3")) => "qwen2",
        (class, model) => {
            let said =
                |what: &str, value: Option<&str>| value.map_or_else(|| format!("no {what}"), |v| format!("{what} {v}"));
            let reason = format!(
                "{} and {} do not determine the pre-tokenizer; add the model's tokenizer.json",
                said("tokenizer_class", class),
                said("model_type", model)
            );
            return Err(TextError::UnknownFamily { file: VOCAB, reason });
        }
    };
    split::by_name(name)
}

/// Returns the added tokens and the tokens of the vocabulary that have a role.
fn with_roles(vocab: &[(String, u32)], config: &TokenizerConfig) -> Vec<Added> {
    let mut added = config.added.clone();
    let special = &config.special;
    let mut roles: Vec<&str> =
        [&special.bos, &special.eos, &special.unk, &special.pad].into_iter().flatten().map(String::as_str).collect();
    if roles.is_empty() && config.class.as_deref() != Some("Qwen2Tokenizer") {
        roles.push(GPT2_TOKEN);
    }
    for (content, id) in vocab.iter().filter(|(text, _)| roles.contains(&text.as_str())) {
        if !added.iter().any(|token| token.content == *content) {
            added.push(Added { id: *id, content: content.clone(), special: true, ..Added::default() });
        }
    }
    added.sort_by_key(|token| token.id);
    added
}

/// Builds a byte-level tokenizer.
///
/// # Errors
/// Errors of the vocabulary.
pub(crate) fn build(
    vocab: Vec<(String, u32)>,
    merges: Vec<(u32, u32)>,
    added: Vec<Added>,
    row: &PreTokenizer,
    ignore_merges: bool,
) -> Result<ByteLevel> {
    let model_ids = json::model_ids(&vocab, &added);
    let vocabulary = json::vocabulary(vocab, &added, false, None)?;
    let only = |text: &str| vocabulary.id_of(text);
    let roles = Roles { stop: only(GPT2_TOKEN).into_iter().collect(), ..Roles::default() };
    let parts = Parts {
        model_ids,
        words: None,
        merges,
        ignore_merges,
        byte_fallback: false,
        fuse_unk: false,
        unk: None,
        added: json::added(added),
        normalizer: row.normalizer(),
        pre_tokenizer: row.to_json(),
        post_processor: Value::Null,
        decoder: byte_level_decoder(),
        vocabulary,
    };
    Ok(ByteLevel { parts, roles, adds_bos: false })
}

/// Makes tokenizer.json's `decoder` for byte-level BPE.
pub(crate) fn byte_level_decoder() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
}
