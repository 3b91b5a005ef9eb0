//! Parsing of tokenizer.json into [`Parts`].

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::added::Added;
use crate::error::{Result, TextError};
use crate::model::Parts;
use crate::vocabulary::{TokenKind, Vocabulary, byte_token};
use crate::wordpiece::WordPieceSettings;

/// The file's name, for error messages.
const FILE: &str = "tokenizer.json";

/// The contents of tokenizer.json.
#[derive(Deserialize)]
struct RawTokenizer {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: RawModel,
}

/// The contents of `model`.
#[derive(Deserialize)]
struct RawModel {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vocab: RawVocab,
    #[serde(default)]
    merges: Vec<RawMerge>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    max_input_chars_per_word: Option<usize>,
    end_of_word_suffix: Option<String>,
    dropout: Option<f32>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// `vocab`, with duplicates kept so that they can be refused. Unigram's form, a list, is read as empty; the model's
/// type is reported instead.
#[derive(Default)]
pub(crate) struct RawVocab(pub Vec<(String, u32)>);

impl<'de> Deserialize<'de> for RawVocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawVocab;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawVocab, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(RawVocab(entries))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<RawVocab, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawVocab::default())
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

/// A merge rule: `"a b"`, or `["a", "b"]` since 2024.
struct RawMerge(String, Option<String>);

impl<'de> Deserialize<'de> for RawMerge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = RawMerge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: a string of two tokens, or a list of two")
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<RawMerge, E> {
                Ok(RawMerge(text.to_owned(), None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<RawMerge, A::Error> {
                use serde::de::Error;
                let pair = (seq.next_element()?, seq.next_element()?, seq.next_element::<IgnoredAny>()?);
                match pair {
                    (Some(a), Some(b), None) => Ok(RawMerge(a, Some(b))),
                    _ => Err(A::Error::custom("expected two tokens in a merge")),
                }
            }
        }
        deserializer.deserialize_any(Pair)
    }
}

/// Parses tokenizer.json.
///
/// # Errors
/// [`TextError::Json`] for invalid JSON, [`TextError::Unsupported`] for kinds of models and normalizers that are not
/// supported, and errors of the vocabulary and the merges.
pub(crate) fn parts(bytes: &[u8]) -> Result<Parts> {
    let raw: RawTokenizer = serde_json::from_slice(bytes).map_err(|e| TextError::json(FILE, e))?;
    let words = words(&raw.model);
    if words.is_none() {
        check_model(&raw.model)?;
    }
    let RawTokenizer { added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model } = raw;
    if model.vocab.0.is_empty() {
        return Err(TextError::EmptyVocabulary);
    }
    let byte_fallback = model.byte_fallback;
    let known = model_ids(&model.vocab.0, &added_tokens);
    let vocabulary = vocabulary(model.vocab.0, &added_tokens, byte_fallback, model.unk_token.as_deref())?;
    let merges = merges(&vocabulary, model.merges)?;
    let unk = match &model.unk_token {
        None => None,
        Some(text) => {
            Some(vocabulary.id_of(text).ok_or(TextError::Missing { field: "the unk_token in the vocabulary" })?)
        }
    };
    Ok(Parts {
        vocabulary,
        model_ids: known,
        words,
        merges,
        ignore_merges: model.ignore_merges,
        byte_fallback,
        fuse_unk: model.fuse_unk,
        unk,
        added: added(added_tokens),
        normalizer,
        pre_tokenizer,
        post_processor,
        decoder,
    })
}

/// Returns the settings of a WordPiece model.
fn words(model: &RawModel) -> Option<WordPieceSettings> {
    if model.kind.as_deref() != Some("WordPiece") {
        return None;
    }
    let WordPieceSettings { prefix, most_chars } = WordPieceSettings::default();
    Some(WordPieceSettings {
        prefix: model.continuing_subword_prefix.clone().unwrap_or(prefix),
        most_chars: model.max_input_chars_per_word.unwrap_or(most_chars),
    })
}

/// Refuses models that are not plain BPE.
fn check_model(model: &RawModel) -> Result<()> {
    let unsupported = |part, found: String, expected| Err(TextError::Unsupported { part, found, expected });
    if let Some(kind) = model.kind.as_deref().filter(|kind| *kind != "BPE") {
        return unsupported("model", kind.to_owned(), "BPE or WordPiece");
    }
    for affix in [&model.continuing_subword_prefix, &model.end_of_word_suffix] {
        if let Some(affix) = affix.as_deref().filter(|affix| !affix.is_empty()) {
            return unsupported("model", format!("BPE with the word affix {affix:?}"), "BPE without affixes");
        }
    }
    if model.dropout.is_some_and(|p| p != 0.0) {
        return unsupported("model", "BPE with dropout".to_owned(), "BPE without dropout");
    }
    Ok(())
}

/// Returns the ids of the BPE model in the file. Returns `None` if the added tokens' ids are right only if the model
/// contains them too: the `tokenizers` crate numbers added tokens that the model lacks in sequence.
pub(crate) fn model_ids(vocab: &[(String, u32)], added: &[Added]) -> Option<Vec<u32>> {
    let texts: HashMap<&str, u32> = vocab.iter().map(|(text, id)| (text.as_str(), *id)).collect();
    let new = added.iter().filter(|token| !texts.contains_key(token.content.as_str()));
    let in_order = (vocab.len()..).zip(new).all(|(next, token)| token.id as usize == next);
    in_order.then(|| vocab.iter().map(|(_, id)| *id).collect())
}

/// Builds the vocabulary with the kinds of all tokens.
pub(crate) fn vocabulary(
    vocab: Vec<(String, u32)>,
    added: &[Added],
    byte_fallback: bool,
    unk: Option<&str>,
) -> Result<Vocabulary> {
    let mut kinds = HashMap::with_capacity(added.len());
    for token in added {
        let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
        if let Some((first, _)) = kinds.insert(token.content.as_str(), (token.id, kind))
            && first != token.id
        {
            return Err(TextError::DuplicateToken { token: token.content.clone(), first, second: token.id });
        }
    }
    let mut claims = Vec::with_capacity(vocab.len() + added.len());
    for (text, id) in vocab {
        let kind = match kinds.remove(text.as_str()) {
            Some((added_id, _)) if added_id != id => {
                return Err(TextError::DuplicateToken { token: text, first: id, second: added_id });
            }
            _ if Some(text.as_str()) == unk => TokenKind::Unknown,
            Some((_, kind)) => kind,
            None if byte_fallback && byte_token(&text).is_some() => TokenKind::Byte,
            None => TokenKind::Normal,
        };
        claims.push((text, id, kind));
    }
    let rest: Vec<_> = kinds.into_iter().map(|(text, (id, kind))| (text.to_owned(), id, kind)).collect();
    claims.extend(rest);
    Vocabulary::from_claims(claims)
}

/// Converts merge rules to ids. Both sides and the result must be tokens.
fn merges(vocabulary: &Vocabulary, raw: Vec<RawMerge>) -> Result<Vec<(u32, u32)>> {
    raw.iter()
        .enumerate()
        .map(|(index, RawMerge(first, second))| match second {
            Some(second) => merge(vocabulary, index, first, second),
            None => {
                let (a, b) = split_merge(first).ok_or_else(|| TextError::BadMerge { index, text: first.clone() })?;
                merge(vocabulary, index, a, b)
            }
        })
        .collect()
}

/// Splits `"a b"` into two tokens. The first character is not a separator, since a space may be a token.
pub(crate) fn split_merge(text: &str) -> Option<(&str, &str)> {
    let first = text.chars().next()?.len_utf8();
    let at = first + text.get(first..)?.find(' ')?;
    let (a, b) = (text.get(..at)?, text.get(at + 1..)?);
    (!b.is_empty()).then_some((a, b))
}

/// Converts a merge rule to ids.
pub(crate) fn merge(vocabulary: &Vocabulary, index: usize, a: &str, b: &str) -> Result<(u32, u32)> {
    let id = |token: &str| {
        vocabulary.id_of(token).ok_or_else(|| TextError::UnknownMergeToken { index, token: token.to_owned() })
    };
    let pair = (id(a)?, id(b)?);
    id(&format!("{a}{b}"))?;
    Ok(pair)
}

/// Returns the added tokens that have a text.
pub(crate) fn added(raw: Vec<Added>) -> Vec<Added> {
    raw.into_iter().filter(|token| !token.content.is_empty()).collect()
}
