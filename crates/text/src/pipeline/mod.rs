//! BPE with merge rules, and WordPiece, as tokenizer.json describes them: normalisation, splitting and merging.

mod cut;
mod normalize;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::Model as _;
use tokenizers::models::bpe::BPE;

use crate::budget::Budget;
use crate::config::id_list;
use crate::error::{Result, TextError};
use crate::matcher::{Matcher, Refused, Specials, inside};
use crate::model::Parts;
use crate::pattern::compile_budget;
use crate::vocabulary::Vocabulary;
use crate::wordpiece::WordPiece;
use cut::Cutter;
use normalize::{Normalizer, Stretch};

/// The steps of a tokenizer.json, in the form of HoneLM's GGUF key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PipelineKey {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    ignore_merges: bool,
    byte_fallback: bool,
    fuse_unk: bool,
    /// `true` if there is an unknown token.
    unk: bool,
}

impl PipelineKey {
    /// Returns the steps of `parts`.
    pub(crate) fn of(parts: &Parts) -> Self {
        Self {
            normalizer: parts.normalizer.clone(),
            pre_tokenizer: parts.pre_tokenizer.clone(),
            decoder: parts.decoder.clone(),
            ignore_merges: parts.ignore_merges,
            byte_fallback: parts.byte_fallback,
            fuse_unk: parts.fuse_unk,
            unk: parts.unk.is_some(),
        }
    }

    /// Parses the key's value.
    ///
    /// # Errors
    /// [`TextError::Malformed`].
    pub(crate) fn read(key: &str, text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| TextError::malformed("GGUF metadata", key, error))
    }

    /// Returns `parts` with these steps.
    pub(crate) fn apply(self, parts: Parts) -> Parts {
        let Self { normalizer, pre_tokenizer, decoder, ignore_merges, byte_fallback, fuse_unk, unk } = self;
        let unk = parts.unk.filter(|_| unk);
        Parts { normalizer, pre_tokenizer, decoder, ignore_merges, byte_fallback, fuse_unk, unk, ..parts }
    }
}

/// The number of bytes that merging touches per byte of text.
const MERGE_BYTES: u64 = 64;

/// The model that makes tokens of a word.
enum Model {
    Bpe(BPE),
    WordPiece(WordPiece),
}

impl Model {
    fn of(parts: &Parts) -> Result<Self> {
        Ok(match &parts.words {
            None => Self::Bpe(parts.bpe(parts.ignore_merges)?),
            Some(settings) => Self::WordPiece(WordPiece::new(parts, settings)?),
        })
    }

    /// Appends the tokens of a word.
    fn encode(&self, word: &str, budget: &Budget, ids: &mut Vec<u32>) -> Result<()> {
        match self {
            Self::Bpe(model) => {
                budget.charge_each(word.len(), MERGE_BYTES)?;
                let tokens = model.tokenize(word).map_err(|error| TextError::Encode { reason: error.to_string() })?;
                ids.extend(tokens.iter().map(|token| token.id));
                Ok(())
            }
            Self::WordPiece(model) => model.encode(word, budget, ids),
        }
    }
}

/// An encoder and the parts that it was built from.
pub(crate) struct Pipeline {
    pub parts: Parts,
    model: Model,
    normalizer: Normalizer,
    cutter: Cutter,
    /// The tokens that are matched in the text before normalisation.
    raw: Matcher,
    /// The tokens that are matched in the normalised text.
    normalized: Matcher,
}

impl Pipeline {
    /// Prepares the steps and the merge rules.
    ///
    /// # Errors
    /// [`TextError::Json`] or [`TextError::Unsupported`] for a step that is invalid or unknown.
    pub(crate) fn new(parts: Parts) -> Result<Self> {
        let budget = compile_budget();
        let normalizer = Normalizer::read(&parts.normalizer, &budget)?;
        let cutter = Cutter::read(&parts.pre_tokenizer, &budget)?;
        let (late, early): (Vec<_>, Vec<_>) = parts.added.iter().cloned().partition(|token| token.normalized);
        let early = early.into_iter().map(|token| (token.content.clone(), token)).collect();
        let late: Result<Vec<_>> = late
            .into_iter()
            .map(|token| {
                let mut text = Stretch { text: token.content.clone(), outside: Vec::new(), first: true };
                normalizer.apply(&mut text, &budget)?;
                Ok((text.text, token))
            })
            .collect();
        Ok(Self {
            model: Model::of(&parts)?,
            raw: Matcher::for_texts(early, Refused::IsText),
            normalized: Matcher::for_texts(late?, Refused::IsText),
            normalizer,
            cutter,
            parts,
        })
    }

    /// Encodes a text.
    ///
    /// # Errors
    /// [`TextError::Encode`] if a step fails, [`TextError::WorkLimit`].
    pub(crate) fn encode(&self, text: &str, specials: &Specials<'_>, budget: &Budget) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut start = 0;
        while let Some(found) = self.raw.next(text, start, specials, budget)? {
            self.encode_stretch(text, found.before, specials, budget, &mut ids)?;
            ids.push(found.token);
            start = found.after;
        }
        self.encode_stretch(text, start..text.len(), specials, budget, &mut ids)?;
        Ok(ids)
    }

    /// Appends the ids of a stretch without the tokens of `raw`.
    fn encode_stretch(
        &self,
        text: &str,
        range: Range<usize>,
        specials: &Specials<'_>,
        budget: &Budget,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        budget.charge_each(range.len(), 2)?;
        let outside = inside(specials.outside, &range);
        let mut stretch = Stretch { first: range.start == 0, text: text[range].to_owned(), outside };
        self.normalizer.apply(&mut stretch, budget)?;
        let Stretch { text, outside, first } = stretch;
        let specials = specials.with_outside(&outside);
        let mut start = 0;
        while let Some(found) = self.normalized.next(&text, start, &specials, budget)? {
            self.encode_words(text[found.before.clone()].to_owned(), first && found.before.start == 0, budget, ids)?;
            ids.push(found.token);
            start = found.after;
        }
        let rest = if start == 0 { text } else { text[start..].to_owned() };
        self.encode_words(rest, first && start == 0, budget, ids)
    }

    /// Appends the ids of normalised text.
    fn encode_words(&self, text: String, first: bool, budget: &Budget, ids: &mut Vec<u32>) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let pieces = self.cutter.cut(text, first, budget)?;
        pieces.ranges.into_iter().try_for_each(|range| self.model.encode(&pieces.text[range], budget, ids))
    }
}

/// Returns the ids that a `post_processor` puts before and after a text.
pub(crate) fn affixes(processor: &Value, vocabulary: &Vocabulary) -> Result<(Vec<u32>, Vec<u32>)> {
    let wrong = |what: &str| TextError::json("tokenizer.json", format!("post_processor: {what}"));
    let (mut before, mut after) = (Vec::new(), Vec::new());
    match processor["type"].as_str() {
        None | Some("ByteLevel") => {}
        Some("Sequence") => {
            for part in processor["processors"].as_array().ok_or_else(|| wrong("processors is missing"))? {
                let (first, last) = affixes(part, vocabulary)?;
                before.splice(0..0, first);
                after.extend(last);
            }
        }
        Some("BertProcessing" | "RobertaProcessing") => {
            before.extend(id_list("tokenizer.json", &processor["cls"][1])?);
            after.extend(id_list("tokenizer.json", &processor["sep"][1])?);
        }
        Some("TemplateProcessing") => {
            let mut seen = false;
            for item in processor["single"].as_array().ok_or_else(|| wrong("single is not a list"))? {
                if item["Sequence"].is_object() {
                    seen = true;
                } else {
                    let name = item["SpecialToken"]["id"].as_str().ok_or_else(|| wrong("an item has no token"))?;
                    let ids = id_list("tokenizer.json", &processor["special_tokens"][name]["ids"])?;
                    if seen { &mut after } else { &mut before }.extend(ids);
                }
            }
        }
        Some(other) => {
            return Err(TextError::Unsupported {
                part: "post_processor",
                found: other.to_owned(),
                expected: "TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing, Sequence",
            });
        }
    }
    let len = vocabulary.len();
    match before.iter().chain(&after).find(|&&id| id as usize >= len) {
        Some(&id) => Err(TextError::IdOutOfRange { field: "post_processor".to_owned(), id: id.into(), len }),
        None => Ok((before, after)),
    }
}
