//! GGUF's tokenizer metadata: reading and writing the keys, and what encodes from them.

use honelm_formats::FormatError;
use honelm_formats::gguf::{Gguf, Value};
use serde_json::json;

use crate::added::{self, Added};
use crate::error::{Result, TextError};
use crate::json::{merge, split_merge};
use crate::model::Parts;
use crate::pipeline::{Pipeline, PipelineKey};
use crate::scores;
use crate::sentencepiece::{Algorithm, Charsmap, Normalizer, SentencePiece, Spec};
use crate::split::{self, PreTokenizer};
use crate::tokenizer::{Engine, NamedTemplate};
use crate::vocab_merges::byte_level_decoder;
use crate::vocabulary::{Token, TokenKind, Vocabulary};

/// `tokenizer.ggml.model` of byte-level BPE.
pub(crate) const BYTE_LEVEL: &str = "gpt2";
/// `tokenizer.ggml.model` of SentencePiece BPE.
pub(crate) const SENTENCE_PIECE: &str = "llama";
/// `tokenizer.ggml.model` of SentencePiece Unigram.
pub(crate) const UNIGRAM: &str = "t5";
/// `tokenizer.ggml.model` of Gemma 4: merge rules on text with visible spaces. Its pre-tokenizer has the same name.
pub(crate) const GEMMA4: &str = "gemma4";
/// Our own key for end tokens beyond the three that llama.cpp has keys for; llama.cpp passes over it.
const EOG_IDS_KEY: &str = "honelm.tokenizer.eog_token_ids";
/// Our own key for roles (`bos_token`) that chat templates see no token for, although the file names one.
const UNNAMED_KEY: &str = "honelm.tokenizer.unnamed_roles";
/// Our own key for how added tokens are found in text.
const ADDED_TOKENS_KEY: &str = "honelm.tokenizer.added_tokens";
/// Our own key for the steps that a tokenizer.json spells out.
const PIPELINE_KEY: &str = "honelm.tokenizer.pipeline";

/// The tokenizer keys of a GGUF file, as plain data. Lists are by token id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufVocab {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (SentencePiece BPE), `t5` (SentencePiece Unigram) or
    /// `gemma4` (BPE with visible spaces).
    pub model: String,
    /// `tokenizer.ggml.pre`: name of the split expressions.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`; needed by `llama` and `t5`.
    pub scores: Option<Vec<f32>>,
    /// `tokenizer.ggml.token_type`, see [`TokenKind`]; empty: all normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges` (`"a b"`); needed by `gpt2` and `gemma4`.
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
    /// Roles (`bos_token`) that chat templates see no token for, although the file names one (our own key).
    pub unnamed: Vec<String>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.precompiled_charsmap`: which characters become which.
    pub precompiled_charsmap: Option<Vec<u8>>,
    /// tokenizer.json's `added_tokens`, where GGUF's kinds of tokens do not tell how they are found (our own key).
    pub added_tokens: Option<String>,
    /// A tokenizer.json's `normalizer`, `pre_tokenizer`, `decoder` and options of its model, where GGUF has no name for
    /// what they do (our own key).
    pub pipeline: Option<String>,
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
        // Some writers have signed bytes.
        let byte = |value: i32| u8::try_from(value).or(i8::try_from(value).map(i8::cast_unsigned)).ok();
        let bytes = |key: &str| -> std::result::Result<Option<Vec<u8>>, FormatError> {
            let values = gguf.get_as::<Vec<i32>>(&format!("tokenizer.ggml.{key}"))?;
            Ok(values.map(|values| values.into_iter().filter_map(byte).collect()))
        };
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
            unnamed: gguf.get_as::<&[String]>(UNNAMED_KEY)?.map(<[String]>::to_vec).unwrap_or_default(),
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            add_space_prefix: flag("add_space_prefix")?,
            remove_extra_whitespaces: flag("remove_extra_whitespaces")?,
            precompiled_charsmap: bytes("precompiled_charsmap")?,
            added_tokens: text(ADDED_TOKENS_KEY)?,
            pipeline: text(PIPELINE_KEY)?,
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
        put("tokenizer.ggml.remove_extra_whitespaces", self.remove_extra_whitespaces.map(Value::from));
        put("tokenizer.ggml.precompiled_charsmap", self.precompiled_charsmap.clone().map(Value::from));
        put("tokenizer.chat_template", self.chat_template.as_deref().map(Value::from));
        let names: Vec<String> = self.named_templates.iter().map(|template| template.name.clone()).collect();
        put("tokenizer.chat_templates", (!names.is_empty()).then(|| names.into()));
        for NamedTemplate { name, source } in &self.named_templates {
            put(&format!("tokenizer.chat_template.{name}"), Some(source.as_str().into()));
        }
        put(EOG_IDS_KEY, (!self.eog.is_empty()).then(|| self.eog.clone().into()));
        put(UNNAMED_KEY, (!self.unnamed.is_empty()).then(|| self.unnamed.clone().into()));
        put(ADDED_TOKENS_KEY, self.added_tokens.as_deref().map(Value::from));
        put(PIPELINE_KEY, self.pipeline.as_deref().map(Value::from));
        pairs
    }

    /// The row of the split table; SentencePiece has none.
    fn pre_tokenizer(&self) -> Result<Option<&'static PreTokenizer>> {
        match self.model.as_str() {
            SENTENCE_PIECE | UNIGRAM => Ok(None),
            GEMMA4 => split::by_name(GEMMA4).map(Some),
            BYTE_LEVEL => {
                let name = self.pre.as_deref().ok_or(TextError::Missing { field: "tokenizer.ggml.pre" })?;
                split::by_name(name).map(Some)
            }
            other => Err(TextError::Unsupported {
                part: "tokenizer.ggml.model",
                found: other.to_owned(),
                expected: "gpt2, llama, t5 or gemma4",
            }),
        }
    }

    /// Whether BOS is added before a text: what the file says, else llama.cpp's default for the kind of tokenizer.
    pub(crate) fn adds_bos(&self) -> Result<bool> {
        let default = match self.pre_tokenizer()? {
            Some(row) => row.add_bos,
            None => self.model == SENTENCE_PIECE,
        };
        Ok(self.add_bos.unwrap_or(default) && self.bos.is_some())
    }

    /// Whether EOS is added after a text, likewise.
    pub(crate) fn adds_eos(&self) -> bool {
        self.add_eos.unwrap_or(self.model == UNIGRAM) && self.eos.is_some()
    }

    /// Checks everything and builds what encodes.
    pub(crate) fn engine(&self) -> Result<Engine> {
        let row = self.pre_tokenizer()?;
        let vocabulary = self.vocabulary()?;
        for (field, id) in self.roles() {
            if let Some(id) = id.filter(|&id| id as usize >= vocabulary.len()) {
                return Err(TextError::IdOutOfRange { field: field.to_owned(), id: id.into(), len: vocabulary.len() });
            }
        }
        let pipeline = self.pipeline.as_deref().map(|text| PipelineKey::read(PIPELINE_KEY, text)).transpose()?;
        let parts = match (row, &pipeline) {
            (Some(row), _) => self.merging(vocabulary, row)?,
            (None, Some(_)) if self.model == SENTENCE_PIECE => self.merging_by_score(vocabulary)?,
            (None, Some(_)) => {
                let reason = format!("beside tokenizer.ggml.model = {}", self.model);
                return Err(TextError::malformed("GGUF metadata", PIPELINE_KEY, reason));
            }
            (None, None) => {
                return Ok(Engine::SentencePiece(Box::new(SentencePiece::new(self.pieces(vocabulary)?)?)));
            }
        };
        let parts = if let Some(pipeline) = pipeline { pipeline.apply(parts) } else { parts };
        Ok(Engine::Pipeline(Box::new(Pipeline::new(parts)?)))
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

    /// Merge rules, with the row's way of cutting text.
    fn merging(&self, vocabulary: Vocabulary, row: &PreTokenizer) -> Result<Parts> {
        let lines = self.merges.as_ref().ok_or(TextError::Missing { field: "tokenizer.ggml.merges" })?;
        let merges = lines
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let (a, b) = split_merge(text).ok_or_else(|| TextError::BadMerge { index, text: text.clone() })?;
                merge(&vocabulary, index, a, b)
            })
            .collect::<Result<_>>()?;
        let decoder = if row.visible_spaces { scores::decoder(false) } else { byte_level_decoder() };
        let bos = self.bos.filter(|_| self.adds_bos().unwrap_or(false));
        Ok(Parts {
            merges,
            ignore_merges: row.ignore_merges,
            byte_fallback: row.visible_spaces,
            fuse_unk: false,
            unk: self.unk.filter(|_| row.visible_spaces),
            normalizer: row.normalizer(),
            pre_tokenizer: row.to_json(),
            post_processor: post_processor(&vocabulary, bos, self.eos.filter(|_| self.adds_eos())),
            decoder,
            added: self.added(&vocabulary)?,
            model_ids: None,
            vocabulary,
        })
    }

    /// Merge rules made of scores, for a pipeline of our own key.
    fn merging_by_score(&self, vocabulary: Vocabulary) -> Result<Parts> {
        let scores = self.scores.as_ref().ok_or(TextError::Missing { field: "tokenizer.ggml.scores" })?;
        let bos = self.bos.filter(|_| self.adds_bos().unwrap_or(false));
        Ok(Parts {
            merges: scores::merges_from_scores(&vocabulary, scores)?,
            ignore_merges: false,
            byte_fallback: true,
            fuse_unk: true,
            unk: self.unk.or_else(|| unknown(&vocabulary)),
            normalizer: serde_json::Value::Null,
            pre_tokenizer: serde_json::Value::Null,
            post_processor: post_processor(&vocabulary, bos, self.eos.filter(|_| self.adds_eos())),
            decoder: serde_json::Value::Null,
            added: self.added(&vocabulary)?,
            model_ids: None,
            vocabulary,
        })
    }

    /// Tokens that are found in text as wholes: those of our own key, else by their kinds.
    fn added(&self, vocabulary: &Vocabulary) -> Result<Vec<Added>> {
        match &self.added_tokens {
            Some(text) => added::from_key(ADDED_TOKENS_KEY, text, vocabulary),
            None => Ok(added(vocabulary)),
        }
    }

    /// Pieces with scores. User-defined ones are found before anything else, as llama.cpp does.
    fn pieces(&self, vocabulary: Vocabulary) -> Result<Spec> {
        let scores = self.scores.clone().ok_or(TextError::Missing { field: "tokenizer.ggml.scores" })?;
        let bpe = self.model == SENTENCE_PIECE;
        let charsmap = self.precompiled_charsmap.as_deref().filter(|_| !bpe).unwrap_or_default();
        let charsmap = Charsmap::parse(charsmap)
            .map_err(|reason| TextError::malformed("GGUF metadata", "tokenizer.ggml.precompiled_charsmap", reason))?;
        let of_kind = |kind| vocabulary.iter().filter(move |(_, token)| token.kind == kind);
        let unk = self.unk.or_else(|| unknown(&vocabulary));
        let byte_fallback = of_kind(TokenKind::Byte).next().is_some();
        let mut added = self.added(&vocabulary)?;
        if self.added_tokens.is_none() {
            added.retain(|token| !token.special);
        }
        Ok(Spec {
            scores,
            algorithm: if bpe { Algorithm::Bpe } else { Algorithm::Unigram },
            unk,
            byte_fallback,
            normalizer: Normalizer {
                charsmap,
                add_dummy_prefix: self.add_space_prefix.unwrap_or(bpe),
                // llama.cpp does not look at it in BPE.
                remove_extra_whitespaces: !bpe && self.remove_extra_whitespaces == Some(true),
                escape_whitespaces: true,
            },
            added,
            vocabulary,
        })
    }
}

/// The first token that stands for what no other spells.
fn unknown(vocabulary: &Vocabulary) -> Option<u32> {
    vocabulary.iter().find(|(_, token)| token.kind == TokenKind::Unknown).map(|(id, _)| id)
}

/// tokenizer.json's `post_processor`: BOS before and EOS after the text, where there are.
pub(crate) fn post_processor(vocabulary: &Vocabulary, bos: Option<u32>, eos: Option<u32>) -> serde_json::Value {
    let text = |id: Option<u32>| id.and_then(|id| Some((id, vocabulary.get(id)?.text.clone())));
    let (bos, eos) = (text(bos), text(eos));
    if bos.is_none() && eos.is_none() {
        return serde_json::Value::Null;
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
    json!({
        "type": "TemplateProcessing", "single": sequence("A", 0), "pair": pair, "special_tokens": specials,
    })
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
pub(crate) fn added(vocabulary: &Vocabulary) -> Vec<Added> {
    let whole = |kind: TokenKind| kind.is_special() || kind == TokenKind::UserDefined;
    let added = |(id, token): (u32, &Token)| Added {
        id,
        content: token.text.clone(),
        special: token.kind.is_special(),
        ..Added::default()
    };
    vocabulary.iter().filter(|(_, token)| whole(token.kind)).map(added).collect()
}
