//! Export of a tokenizer as Hugging Face files.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::added::Added;
use crate::config::DEFAULT_TEMPLATE;
use crate::error::{Result, TextError};
use crate::gguf::{added, post_processor};
use crate::model::{Encoder, Parts};
use crate::scores;
use crate::sentencepiece::{Algorithm, SentencePiece};
use crate::tokenizer::{Engine, Tokenizer};

/// Returns the added tokens, and the pieces that must be added tokens in a tokenizer.json.
fn all_added(pieces: &SentencePiece) -> Vec<Added> {
    let matched = pieces.matched_tokens();
    let ids: HashSet<u32> = matched.iter().map(|token| token.id).collect();
    let others = added(pieces.vocabulary()).into_iter().filter(|token| !ids.contains(&token.id));
    let mut all: Vec<Added> = matched.iter().cloned().chain(others).collect();
    all.sort_by_key(|token| token.id);
    all
}

impl Tokenizer {
    /// Converts the tokenizer to a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError::Unsupported`] for SentencePiece models that a tokenizer.json cannot reproduce exactly.
    /// [`TextError::Json`] if serialising fails.
    pub fn to_tokenizer_json(&self) -> Result<String> {
        let json = |encoder: &Encoder| serde_json::to_string_pretty(encoder);
        let written = match &self.engine {
            Engine::Pipeline(pipeline) => json(&pipeline.parts.encoder()?),
            Engine::SentencePiece(pieces) => json(&self.rules_of(pieces)?.encoder()?),
        };
        written.map_err(|e| TextError::json("tokenizer.json", e))
    }

    /// Converts a SentencePiece BPE model to merge rules.
    fn rules_of(&self, pieces: &SentencePiece) -> Result<Parts> {
        let refused = |found: &str| {
            Err(TextError::Unsupported {
                part: "tokenizer.json",
                found: found.to_owned(),
                expected: "SentencePiece BPE that changes only spaces",
            })
        };
        if pieces.algorithm() == Algorithm::Unigram {
            return refused("SentencePiece Unigram");
        }
        let normalizer = &pieces.normalizer;
        if normalizer.charsmap.is_some() || normalizer.remove_extra_whitespaces || !normalizer.escape_whitespaces {
            return refused("SentencePiece BPE with a normalizer");
        }
        let prefix = normalizer.add_dummy_prefix;
        let vocabulary = pieces.vocabulary().clone();
        let around = |affix: &[u32]| affix.first().copied();
        Ok(Parts {
            words: None,
            merges: scores::merges_from_scores(&vocabulary, pieces.scores())?,
            ignore_merges: false,
            byte_fallback: pieces.byte_fallback(),
            fuse_unk: true,
            unk: pieces.unk,
            normalizer: scores::normalizer(prefix),
            pre_tokenizer: Value::Null,
            post_processor: post_processor(&vocabulary, around(&self.prefix), around(&self.suffix)),
            decoder: scores::decoder(prefix),
            added: all_added(pieces),
            model_ids: None,
            vocabulary,
        })
    }

    /// Converts the roles and chat templates to a `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`TextError::Json`] if serialising fails.
    pub fn to_tokenizer_config_json(&self) -> Result<String> {
        let special = self.special_tokens();
        let mut config = Map::new();
        config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
        // An explicit `null` keeps readers from using the token of the vocabulary or of the model's configuration.
        for (name, text) in special.named() {
            config.insert(name.to_owned(), json!(text));
        }
        config.insert("add_bos_token".to_owned(), json!(self.adds_bos()));
        config.insert("add_eos_token".to_owned(), json!(!self.suffix.is_empty()));
        config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
        match self.chat_templates() {
            [] => {}
            [one] if one.name == DEFAULT_TEMPLATE => {
                config.insert("chat_template".to_owned(), json!(one.source));
            }
            all => {
                let list: Vec<_> = all.iter().map(|t| json!({"name": t.name, "template": t.source})).collect();
                config.insert("chat_template".to_owned(), Value::Array(list));
            }
        }
        serde_json::to_string_pretty(&config).map_err(|e| TextError::json("tokenizer_config.json", e))
    }
}
