//! The tokenizer metadata of GGUF: reading, writing, and building a tokenizer from them.

use honelm_formats::FormatError;
use honelm_formats::gguf::{Gguf, Value};
use serde_json::json;

use crate::added::{self, Added};
use crate::config::NamedTemplate;
use crate::error::{Result, TextError};
use crate::json::{merge, split_merge};
use crate::model::Parts;
use crate::pipeline::{Pipeline, PipelineKey};
use crate::scores;
use crate::sentencepiece::{Algorithm, Charsmap, Normalizer, SentencePiece, Spec};
use crate::split::{self, PreTokenizer};
use crate::tokenizer::Engine;
use crate::vocab_merges::byte_level_decoder;
use crate::vocabulary::{SPACE, Token, TokenKind, Vocabulary};
use crate::wordpiece;

/// `tokenizer.ggml.model` of byte-level BPE.
pub(crate) const BYTE_LEVEL: &str = "gpt2";
/// `tokenizer.ggml.model` of SentencePiece BPE.
pub(crate) const SENTENCE_PIECE: &str = "llama";
/// `tokenizer.ggml.model` of SentencePiece Unigram.
pub(crate) const UNIGRAM: &str = "t5";
/// `tokenizer.ggml.model` of Gemma 4: merge rules on text with visible spaces. The pre-tokenizer has the same name.
pub(crate) const GEMMA4: &str = "gemma4";
/// `tokenizer.ggml.model` of WordPiece.
pub(crate) const WORD_PIECE: &str = "bert";
/// HoneLM's key for end tokens beyond the three that llama.cpp has keys for. llama.cpp ignores it.
const EOG_IDS_KEY: &str = "honelm.tokenizer.eog_token_ids";
/// HoneLM's key for roles (`bos_token`) that chat templates see no token for, although the file names one.
const UNNAMED_KEY: &str = "honelm.tokenizer.unnamed_roles";
/// HoneLM's key for the matching rules of added tokens.
const ADDED_TOKENS_KEY: &str = "honelm.tokenizer.added_tokens";
/// HoneLM's key for the steps of a tokenizer.json.
const PIPELINE_KEY: &str = "honelm.tokenizer.pipeline";

/// The tokenizer keys of a GGUF file. Lists are indexed by token id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufVocab {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (SentencePiece BPE), `t5` (SentencePiece Unigram), `gemma4`
    /// (BPE with visible spaces) or `bert` (WordPiece).
    pub model: String,
    /// `tokenizer.ggml.pre`: the name of the pre-tokenizer.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`, required by `llama` and `t5`.
    pub scores: Option<Vec<f32>>,
    /// `tokenizer.ggml.token_type`, see [`TokenKind`]. If it is empty, all tokens are normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges` (`"a b"`), required by `gpt2` and `gemma4`.
    pub merges: Option<Vec<String>>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: the end of a turn.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`: the end of a message.
    pub eom: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub pad: Option<u32>,
    /// `tokenizer.ggml.cls_token_id`: the token before a text, for `bert`.
    pub cls: Option<u32>,
    /// `tokenizer.ggml.seperator_token_id`: the token after a text, for `bert`. The key is spelled as llama.cpp spells it.
    pub sep: Option<u32>,
    /// Further end tokens (HoneLM's key).
    pub eog: Vec<u32>,
    /// Roles (`bos_token`) that chat templates see no token for, although the file names one (HoneLM's key).
    pub unnamed: Vec<String>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.precompiled_charsmap`: SentencePiece's character replacements.
    pub precompiled_charsmap: Option<Vec<u8>>,
    /// tokenizer.json's `added_tokens`, if GGUF's token types do not define how they are matched (HoneLM's key).
    pub added_tokens: Option<String>,
    /// A tokenizer.json's `normalizer`, `pre_tokenizer`, `decoder` and model options, if GGUF has no name for them
    /// (HoneLM's key).
    pub pipeline: Option<String>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
    /// `tokenizer.chat_templates` and `tokenizer.chat_template.NAME`: the other templates.
    pub named_templates: Vec<NamedTemplate>,
}

/// The keys of the two lists that make up most of a file's metadata.
const TOKENS_KEY: &str = "tokenizer.ggml.tokens";
const MERGES_KEY: &str = "tokenizer.ggml.merges";

impl GgufVocab {
    /// Reads the keys of a file.
    ///
    /// # Errors
    /// [`FormatError`] if a key has the wrong type, or if `model` or `tokens` is missing.
    pub fn from_gguf(gguf: &Gguf) -> std::result::Result<Self, FormatError> {
        let (tokens, merges) = lists(gguf)?;
        let (tokens, merges) = (tokens.to_vec(), merges.map(<[String]>::to_vec));
        Ok(Self { tokens, merges, ..Self::without_lists(gguf)? })
    }

    /// Reads the keys of a file and takes its tokens and merge rules, which then are empty there. For a large vocabulary this
    /// saves megabytes.
    ///
    /// # Errors
    /// The errors of [`GgufVocab::from_gguf`].
    pub fn take(gguf: &mut Gguf) -> std::result::Result<Self, FormatError> {
        let has_merges = lists(gguf)?.1.is_some();
        let vocab = Self::without_lists(gguf)?;
        let tokens = gguf.metadata.take_strings(TOKENS_KEY);
        let merges = has_merges.then(|| gguf.metadata.take_strings(MERGES_KEY));
        Ok(Self { tokens, merges, ..vocab })
    }

    /// Reads the keys of a file, without its tokens and merge rules.
    fn without_lists(gguf: &Gguf) -> std::result::Result<Self, FormatError> {
        // Writers put 0xFFFFFFFF or -1 if there is no such token.
        let id = |key: &str| -> std::result::Result<Option<u32>, FormatError> {
            let value = gguf.get_as::<i64>(&format!("tokenizer.ggml.{key}"))?;
            Ok(value.and_then(|v| u32::try_from(v).ok()).filter(|&v| v != u32::MAX))
        };
        let flag = |key: &str| gguf.get_as::<bool>(&format!("tokenizer.ggml.{key}"));
        // Some writers use signed bytes.
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
            tokens: Vec::new(),
            scores: gguf.get_as::<&[f32]>("tokenizer.ggml.scores")?.map(<[f32]>::to_vec),
            token_types: gguf.get_as::<Vec<i32>>("tokenizer.ggml.token_type")?.unwrap_or_default(),
            merges: None,
            bos: id("bos_token_id")?,
            eos: id("eos_token_id")?,
            eot: id("eot_token_id")?,
            eom: id("eom_token_id")?,
            unk: id("unknown_token_id")?,
            pad: id("padding_token_id")?,
            cls: id("cls_token_id")?,
            sep: id("seperator_token_id")?,
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

    /// Returns the keys and values to write, in the order of llama.cpp's converter.
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
        put("tokenizer.ggml.cls_token_id", self.cls.map(Value::from));
        put("tokenizer.ggml.seperator_token_id", self.sep.map(Value::from));
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

    /// Returns the row of the pre-tokenizer table. SentencePiece models have none.
    fn pre_tokenizer(&self) -> Result<Option<&'static PreTokenizer>> {
        match self.model.as_str() {
            SENTENCE_PIECE | UNIGRAM | WORD_PIECE => Ok(None),
            GEMMA4 => split::by_name(GEMMA4).map(Some),
            BYTE_LEVEL => {
                let name = self.pre.as_deref().ok_or(TextError::Missing { field: "tokenizer.ggml.pre" })?;
                split::by_name(name).map(Some)
            }
            other => Err(TextError::Unsupported {
                part: "tokenizer.ggml.model",
                found: other.to_owned(),
                expected: "gpt2, llama, t5, gemma4 or bert",
            }),
        }
    }

    /// Returns `true` if BOS is added before a text: as the file says, or else llama.cpp's default for the model.
    pub(crate) fn adds_bos(&self) -> Result<bool> {
        let default = match self.pre_tokenizer()? {
            Some(row) => row.add_bos,
            None => self.model == SENTENCE_PIECE,
        };
        Ok(self.add_bos.unwrap_or(default) && self.bos.is_some())
    }

    /// Returns `true` if EOS is added after a text: as the file says, or else llama.cpp's default for the model.
    pub(crate) fn adds_eos(&self) -> bool {
        self.add_eos.unwrap_or(self.model == UNIGRAM) && self.eos.is_some()
    }

    /// Returns the tokens before and after a text.
    pub(crate) fn affixes(&self, vocabulary: &Vocabulary) -> Result<[Vec<u32>; 2]> {
        let [before, after] = if self.model == WORD_PIECE {
            self.around(vocabulary)
        } else {
            [self.bos.filter(|_| self.adds_bos().unwrap_or(false)), self.eos.filter(|_| self.adds_eos())]
        };
        Ok([before, after].map(|id| id.into_iter().collect()))
    }

    /// Returns the tokens around a text of a WordPiece model, as llama.cpp chooses them.
    fn around(&self, vocabulary: &Vocabulary) -> [Option<u32>; 2] {
        [self.cls.or(self.bos).or_else(|| vocabulary.id_of("[CLS]")), self.sep.or_else(|| vocabulary.id_of("[SEP]"))]
    }

    /// Builds a WordPiece model. llama.cpp knows one normalizer: that of BERT without upper case and accents.
    fn word_pieces(&self, vocabulary: Vocabulary) -> Result<Parts> {
        let unk = self.unk.or_else(|| unknown(&vocabulary)).or_else(|| vocabulary.id_of("[UNK]"));
        let (around, added) = (self.around(&vocabulary), self.added(&vocabulary)?);
        Ok(wordpiece::parts(vocabulary, unk, around, added, wordpiece::normalizer(true, true, None)))
    }

    /// Checks the metadata and builds the engine.
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
            (None, _) if self.model == WORD_PIECE => self.word_pieces(vocabulary)?,
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

    /// Iterates over the keys of roles and their ids.
    fn roles(&self) -> impl Iterator<Item = (&'static str, Option<u32>)> {
        [
            ("tokenizer.ggml.bos_token_id", self.bos),
            ("tokenizer.ggml.eos_token_id", self.eos),
            ("tokenizer.ggml.eot_token_id", self.eot),
            ("tokenizer.ggml.eom_token_id", self.eom),
            ("tokenizer.ggml.unknown_token_id", self.unk),
            ("tokenizer.ggml.padding_token_id", self.pad),
            ("tokenizer.ggml.cls_token_id", self.cls),
            ("tokenizer.ggml.seperator_token_id", self.sep),
        ]
        .into_iter()
        .chain(self.eog.iter().map(|&id| (EOG_IDS_KEY, Some(id))))
    }

    /// Builds the vocabulary.
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
            // This is llama.cpp's name for a token without text.
            let text = if text.is_empty() { format!("[EMPTY_{id}]") } else { text.clone() };
            let text = if self.model == WORD_PIECE { word_piece(text) } else { text };
            (text, id, kind)
        });
        Vocabulary::from_claims(claims.collect())
    }

    /// Builds the merge rules with the row's pre-tokenizer.
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
            words: None,
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

    /// Builds merge rules from scores, for a pipeline of HoneLM's key.
    fn merging_by_score(&self, vocabulary: Vocabulary) -> Result<Parts> {
        let scores = self.scores.as_ref().ok_or(TextError::Missing { field: "tokenizer.ggml.scores" })?;
        let bos = self.bos.filter(|_| self.adds_bos().unwrap_or(false));
        Ok(Parts {
            words: None,
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

    /// Returns the added tokens: those of HoneLM's key, or else those with a matching token type.
    fn added(&self, vocabulary: &Vocabulary) -> Result<Vec<Added>> {
        match &self.added_tokens {
            Some(text) => added::from_key(ADDED_TOKENS_KEY, text, vocabulary),
            None => Ok(added(vocabulary)),
        }
    }

    /// Builds a SentencePiece model. User-defined pieces are matched before anything else, as in llama.cpp.
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
                // llama.cpp ignores this key for BPE.
                remove_extra_whitespaces: !bpe && self.remove_extra_whitespaces == Some(true),
                escape_whitespaces: true,
            },
            added,
            vocabulary,
        })
    }
}

/// Returns `true` for a token that GGUF stores unchanged among those of WordPiece.
pub(crate) fn is_bracketed(text: &str) -> bool {
    text.starts_with('[') && text.ends_with(']')
}

/// Returns the text of a WordPiece token that GGUF stores with a visible space at the start of a word, and without a prefix
/// inside.
fn word_piece(stored: String) -> String {
    match stored.strip_prefix(SPACE) {
        Some(begins) => begins.to_owned(),
        None if is_bracketed(&stored) => stored,
        None => format!("##{stored}"),
    }
}

/// Returns the first token of the kind [`TokenKind::Unknown`].
fn unknown(vocabulary: &Vocabulary) -> Option<u32> {
    vocabulary.iter().find(|(_, token)| token.kind == TokenKind::Unknown).map(|(id, _)| id)
}

/// Makes tokenizer.json's `post_processor`, which adds BOS and EOS.
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

/// The tokens and the merge rules of a file.
type Lists<'g> = (&'g [String], Option<&'g [String]>);

/// Returns the tokens and the merge rules of a file.
fn lists(gguf: &Gguf) -> std::result::Result<Lists<'_>, FormatError> {
    Ok((gguf.require(TOKENS_KEY)?, gguf.get_as(MERGES_KEY)?))
}

/// Reads the named chat templates as gguf-py writes them.
fn named_templates(gguf: &Gguf) -> std::result::Result<Vec<NamedTemplate>, FormatError> {
    let names = gguf.get_as::<&[String]>("tokenizer.chat_templates")?.unwrap_or_default();
    let mut templates = Vec::new();
    for name in names {
        let source: &str = gguf.require(&format!("tokenizer.chat_template.{name}"))?;
        templates.push(NamedTemplate { name: name.clone(), source: source.to_owned() });
    }
    Ok(templates)
}

/// Returns the tokens that are matched as a whole because of their kind.
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
