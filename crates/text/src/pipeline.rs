//! Byte-level BPE and whatever else a tokenizer.json describes, encoded by the `tokenizers` crate.

use std::sync::OnceLock;

use serde_json::Value;

use crate::error::{Result, TextError};
use crate::model::{Encoder, Parts};
use crate::stop::id_list;
use crate::vocabulary::{Family, Vocabulary};

/// The parts, and the encoders made of them.
pub(crate) struct Pipeline {
    pub parts: Parts,
    /// Finds special tokens in text.
    parsing: Encoder,
    /// Takes them for plain text; made when first needed.
    plain: OnceLock<Encoder>,
}

impl Pipeline {
    /// Builds the encoder.
    ///
    /// # Errors
    /// What [`Parts::encoder`] reports.
    pub(crate) fn new(parts: Parts) -> Result<Self> {
        Ok(Self { parsing: parts.encoder()?, plain: OnceLock::new(), parts })
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// [`TextError::Encode`] where the pipeline fails.
    pub(crate) fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>> {
        let encoder = if parse_special { &self.parsing } else { self.plain() };
        let encoding = encoder.encode_fast(text, false).map_err(|e| TextError::Encode { reason: e.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The encoder, for writing.
    pub(crate) fn encoder(&self) -> &Encoder {
        &self.parsing
    }

    /// The encoder that takes special tokens for plain text.
    fn plain(&self) -> &Encoder {
        self.plain.get_or_init(|| {
            let mut encoder = self.parsing.clone();
            encoder.set_encode_special_tokens(true);
            encoder
        })
    }
}

/// Ids that a `post_processor` puts before and after a text.
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
                    let name = item["SpecialToken"]["id"].as_str().ok_or_else(|| wrong("an item without a token"))?;
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

/// How a `decoder` spells bytes, and whether it drops a leading space.
pub(crate) fn decoding(decoder: &Value) -> Result<(Family, bool)> {
    let single = std::slice::from_ref(decoder);
    let steps = decoder["decoders"].as_array().map_or(single, Vec::as_slice);
    let kind = |step: &Value| step["type"].as_str().map(str::to_owned).unwrap_or_default();
    if steps.iter().any(|step| kind(step) == "ByteLevel") {
        return Ok((Family::ByteLevel, false));
    }
    let metaspace = steps.iter().find(|step| kind(step) == "Metaspace");
    let replaces = |step: &Value| kind(step) == "Replace" && step["pattern"]["String"].as_str() == Some("▁");
    if metaspace.is_none() && !steps.iter().any(replaces) {
        return Err(TextError::Unsupported {
            part: "decoder",
            found: decoder.to_string(),
            expected: "ByteLevel, Metaspace, or the replacement of ▁",
        });
    }
    let strips = |step: &Value| {
        kind(step) == "Strip" && step["content"].as_str() == Some(" ") && step["start"].as_u64().unwrap_or(0) > 0
    };
    let metaspace_strips = metaspace.is_some_and(|step| {
        step["prepend_scheme"].as_str() != Some("never") && step["add_prefix_space"].as_bool() != Some(false)
    });
    Ok((Family::SentencePiece, metaspace_strips || steps.iter().any(strips)))
}
