//! GGUF's tokenizer metadata: reading and writing the keys, and [`Parts`] from them.

use honelm_formats::FormatError;
use honelm_formats::gguf::{Gguf, Value};
use serde_json::json;
use tokenizers::AddedToken;

use crate::error::{Result, TextError};
use crate::json::{merge, split_merge};
use crate::model::Parts;
use crate::sentencepiece;
use crate::split::{self, PreTokenizer};
use crate::tokenizer::NamedTemplate;
use crate::vocabulary::{TokenKind, Vocabulary};

/// `tokenizer.ggml.model` of byte-level BPE.
pub(crate) const BYTE_LEVEL: &str = "gpt2";
/// `tokenizer.ggml.model` of SentencePiece BPE.
pub(crate) const SENTENCE_PIECE: &str = "llama";
/// Our own key for end tokens beyond the three that llama.cpp has keys for; llama.cpp passes over it.
const EOG_IDS_KEY: &str = "honelm.tokenizer.eog_token_ids";

/// The tokenizer keys of a GGUF file, as plain data. Lists are by token id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufVocab {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece BPE).
    pub model: String,
    /// `tokenizer.ggml.pre`: name of the split expressions.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`; needed by `llama`.
    pub scores: Option<Vec<f32>>,
    /// `tokenizer.ggml.token_type`, see [`TokenKind`]; empty: all normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges` (`"a b"`); needed by `gpt2`.
    pub merges: Option<Vec<String>>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: end of a turn.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`: end of a message.
    pub eom: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub pad: Option<u32>,
    /// Further end tokens (our own key).
    pub eog: Vec<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
    /// `tokenizer.chat_templates` with `tokenizer.chat_template.NAME`: the others.
    pub named_templates: Vec<NamedTemplate>,
}

impl GgufVocab {
    /// Reads the keys of a file.
    ///
    /// # Errors
    /// [`FormatError`] when a key has the wrong type, or `model` or `tokens` is missing.
    pub fn from_gguf(gguf: &Gguf) -> std::result::Result<Self, FormatError> {
        let tokens: &[String] = gguf.require("tokenizer.ggml.tokens")?;
        // Writers put 0xFFFFFFFF, or -1, where there is no such token.
        let id = |key: &str| -> std::result::Result<Option<u32>, FormatError> {
            let value = gguf.get_as::<i64>(&format!("tokenizer.ggml.{key}"))?;
            Ok(value.and_then(|v| u32::try_from(v).ok()).filter(|&v| v != u32::MAX))
        };
        let flag = |key: &str| gguf.get_as::<bool>(&format!("tokenizer.ggml.{key}"));
        let text =
            |key: &str| -> std::result::Result<_, FormatError> { Ok(gguf.get_as::<&str>(key)?.map(str::to_owned)) };
        Ok(Self {
            model: gguf.require::<&str>("tokenizer.ggml.model")?.to_owned(),
            pre: text("tokenizer.ggml.pre")?,
            tokens: tokens.to_vec(),
            scores: gguf.get_as::<&[f32]>("tokenizer.ggml.scores")?.map(<[f32]>::to_vec),
            token_types: gguf.get_as::<Vec<i32>>("tokenizer.ggml.token_type")?.unwrap_or_default(),
            merges: gguf.get_as::<&[String]>("tokenizer.ggml.merges")?.map(<[String]>::to_vec),
            bos: id("bos_token_id")?,
            eos: id("eos_token_id")?,
            eot: id("eot_token_id")?,
            eom: id("eom_token_id")?,
            unk: id("unknown_token_id")?,
            pad: id("padding_token_id")?,
            eog: gguf.get_as::<Vec<u32>>(EOG_IDS_KEY)?.unwrap_or_default(),
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            add_space_prefix: flag("add_space_prefix")?,
            chat_template: text("tokenizer.chat_template")?,
            named_templates: named_templates(gguf)?,
        })
    }

    /// Keys and values to write, in the order that llama.cpp's converter has.
    #[must_use]
    pub fn to_metadata(&self) -> Vec<(String, Value)> {
        let mut pairs: Vec<(String, Value)> = Vec::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                pairs.push((key.to_owned(), value));
            }
        };
        put("tokenizer.ggml.model", Some(self.model.as_str().into()));
        put("tokenizer.ggml.pre", self.pre.as_deref().map(Value::from));
        put("tokenizer.ggml.tokens", Some(self.tokens.clone().into()));
        put("tokenizer.ggml.scores", self.scores.clone().map(Value::from));
        put("tokenizer.ggml.token_type", (!self.token_types.is_empty()).then(|| self.token_types.clone().into()));
        put("tokenizer.ggml.merges", self.merges.clone().map(Value::from));
        put("tokenizer.ggml.bos_token_id", self.bos.map(Value::from));
        put("tokenizer.ggml.eos_token_id", self.eos.map(Value::from));
        put("tokenizer.ggml.eot_token_id", self.eot.map(Value::from));
        put("tokenizer.ggml.eom_token_id", self.eom.map(Value::from));
        put("tokenizer.ggml.unknown_token_id", self.unk.map(Value::from));
        put("tokenizer.ggml.padding_token_id", self.pad.map(Value::from));
        put("tokenizer.ggml.add_bos_token", self.add_bos.map(Value::from));
        put("tokenizer.ggml.add_eos_token", self.add_eos.map(Value::from));
        put("tokenizer.ggml.add_space_prefix", self.add_space_prefix.map(Value::from));
        put("tokenizer.chat_template", self.chat_template.as_deref().map(Value::from));
        let names: Vec<String> = self.named_templates.iter().map(|template| template.name.clone()).collect();
        put("tokenizer.chat_templates", (!names.is_empty()).then(|| names.into()));
        for NamedTemplate { name, source } in &self.named_templates {
            put(&format!("tokenizer.chat_template.{name}"), Some(source.as_str().into()));
        }
        put(EOG_IDS_KEY, (!self.eog.is_empty()).then(|| self.eog.clone().into()));
        pairs
    }

    /// The row of the split table; SentencePiece has none.
    fn pre_tokenizer(&self) -> Result<Option<&'static PreTokenizer>> {
        match self.model.as_str() {
            SENTENCE_PIECE => Ok(None),
            BYTE_LEVEL => {
                let name = self.pre.as_deref().ok_or(TextError::Missing { field: "tokenizer.ggml.pre" })?;
                split::by_name(name).map(Some)
            }
            other => Err(TextError::Unsupported {
                part: "tokenizer.ggml.model",
                found: other.to_owned(),
                expected: "gpt2 or llama",
            }),
        }
    }

    /// Whether BOS is added before a text: what the file says, else llama.cpp's default for the kind of tokenizer.
    pub(crate) fn adds_bos(&self) -> Result<bool> {
        Ok(self.add_bos.unwrap_or(self.pre_tokenizer()?.is_none_or(|row| row.add_bos)) && self.bos.is_some())
    }

    /// Checks everything and builds the parts.
    pub(crate) fn parts(&self) -> Result<Parts> {
        let row = self.pre_tokenizer()?;
        let vocabulary = self.vocabulary()?;
        for (field, id) in self.roles() {
            if let Some(id) = id.filter(|&id| id as usize >= vocabulary.len()) {
                return Err(TextError::IdOutOfRange { field: field.to_owned(), id: id.into(), len: vocabulary.len() });
            }
        }
        match row {
            Some(row) => self.byte_level_parts(vocabulary, row),
            None => self.sentence_piece_parts(vocabulary),
        }
    }

    /// The ids that name a role, with their keys.
    fn roles(&self) -> impl Iterator<Item = (&'static str, Option<u32>)> {
        [
            ("tokenizer.ggml.bos_token_id", self.bos),
            ("tokenizer.ggml.eos_token_id", self.eos),
            ("tokenizer.ggml.eot_token_id", self.eot),
            ("tokenizer.ggml.eom_token_id", self.eom),
            ("tokenizer.ggml.unknown_token_id", self.unk),
            ("tokenizer.ggml.padding_token_id", self.pad),
        ]
        .into_iter()
        .chain(self.eog.iter().map(|&id| (EOG_IDS_KEY, Some(id))))
    }

    /// Tokens with their kinds.
    fn vocabulary(&self) -> Result<Vocabulary> {
        let expected = self.tokens.len();
        let count = |field, found: usize| {
            if found == expected { Ok(()) } else { Err(TextError::CountMismatch { field, found, expected }) }
        };
        if !self.token_types.is_empty() {
            count("tokenizer.ggml.token_type", self.token_types.len())?;
        }
        if let Some(scores) = &self.scores {
            count("tokenizer.ggml.scores", scores.len())?;
        }
        let claims = self.tokens.iter().zip(0u32..).map(|(text, id)| {
            let kind = self.token_types.get(id as usize).map_or(TokenKind::Normal, |&n| TokenKind::from_gguf(n));
            // llama.cpp's name for a token without text.
            let text = if text.is_empty() { format!("[EMPTY_{id}]") } else { text.clone() };
            (text, id, kind)
        });
        Vocabulary::from_claims(claims.collect())
    }

    fn byte_level_parts(&self, vocabulary: Vocabulary, row: &PreTokenizer) -> Result<Parts> {
        let lines = self.merges.as_ref().ok_or(TextError::Missing { field: "tokenizer.ggml.merges" })?;
        let merges = lines
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let (a, b) = split_merge(text).ok_or_else(|| TextError::BadMerge { index, text: text.clone() })?;
                merge(&vocabulary, index, a, b)
            })
            .collect::<Result<_>>()?;
        Ok(Parts {
            merges,
            ignore_merges: row.ignore_merges,
            byte_fallback: false,
            fuse_unk: false,
            unk: None,
            normalizer: row.normalizer(),
            pre_tokenizer: row.to_json(),
            post_processor: self.post_processor(&vocabulary)?,
            decoder: json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}),
            added: added(&vocabulary),
            model_ids: None,
            vocabulary,
        })
    }

    fn sentence_piece_parts(&self, vocabulary: Vocabulary) -> Result<Parts> {
        let scores = self.scores.as_ref().ok_or(TextError::Missing { field: "tokenizer.ggml.scores" })?;
        let prefix = self.add_space_prefix.unwrap_or(true);
        let byte_fallback = vocabulary.iter().any(|(_, token)| token.kind == TokenKind::Byte);
        let first_unknown = vocabulary.iter().find(|(_, token)| token.kind == TokenKind::Unknown).map(|(id, _)| id);
        Ok(Parts {
            merges: sentencepiece::merges_from_scores(&vocabulary, scores)?,
            ignore_merges: false,
            byte_fallback,
            fuse_unk: true,
            unk: self.unk.or(first_unknown),
            normalizer: sentencepiece::normalizer(prefix),
            pre_tokenizer: serde_json::Value::Null,
            post_processor: self.post_processor(&vocabulary)?,
            decoder: sentencepiece::decoder(prefix),
            added: added(&vocabulary),
            model_ids: None,
            vocabulary,
        })
    }

    /// tokenizer.json's `post_processor`: BOS before and EOS after the text, where the file asks for them.
    fn post_processor(&self, vocabulary: &Vocabulary) -> Result<serde_json::Value> {
        let text = |id: Option<u32>| id.and_then(|id| Some((id, vocabulary.get(id)?.text.clone())));
        let bos = text(self.bos.filter(|_| self.adds_bos().unwrap_or(false)));
        let eos = text(self.eos.filter(|_| self.add_eos == Some(true)));
        if bos.is_none() && eos.is_none() {
            return Ok(serde_json::Value::Null);
        }
        let sequence = |name: &str, type_id: u32| {
            let special = |token: &Option<(u32, String)>| {
                token.as_ref().map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": type_id}}))
            };
            let body = json!({"Sequence": {"id": name, "type_id": type_id}});
            special(&bos).into_iter().chain([body]).chain(special(&eos)).collect::<Vec<_>>()
        };
        let specials: serde_json::Map<_, _> = [&bos, &eos]
            .into_iter()
            .flatten()
            .map(|(id, text)| (text.clone(), json!({"id": text, "ids": [id], "tokens": [text]})))
            .collect();
        let pair = [sequence("A", 0), sequence("B", 1)].concat();
        Ok(json!({
            "type": "TemplateProcessing", "single": sequence("A", 0), "pair": pair, "special_tokens": specials,
        }))
    }
}

/// The chat templates beside the default one, as gguf-py writes them.
fn named_templates(gguf: &Gguf) -> std::result::Result<Vec<NamedTemplate>, FormatError> {
    let names = gguf.get_as::<&[String]>("tokenizer.chat_templates")?.unwrap_or_default();
    let mut templates = Vec::new();
    for name in names {
        let source: &str = gguf.require(&format!("tokenizer.chat_template.{name}"))?;
        templates.push(NamedTemplate { name: name.clone(), source: source.to_owned() });
    }
    Ok(templates)
}

/// Tokens that are found in text as wholes.
fn added(vocabulary: &Vocabulary) -> Vec<AddedToken> {
    vocabulary
        .iter()
        .filter(|(_, token)| token.kind.is_special() || token.kind == TokenKind::UserDefined)
        .map(|(_, token)| AddedToken::from(token.text.clone(), token.kind.is_special()).normalized(false))
        .collect()
}
