//! Building a tokenizer from files or metadata.

use honelm_formats::gguf::Gguf;
use serde_json::Value;

use crate::budget::Budget;
use crate::config::{DEFAULT_TEMPLATE, NamedTemplate, TokenizerConfig, Unnamed, id_list};
use crate::decoder::Decoder;
use crate::error::{Result, TextError};
use crate::files::{TokenizerFiles, TokenizerSource};
use crate::gguf::GgufVocab;
use crate::json;
use crate::model::Parts;
use crate::pipeline::{Pipeline, affixes};
use crate::sentencepiece::{Algorithm, SentencePiece, proto};
use crate::stop::{END_TEXTS, push_new, stop_ids, turn_end};
use crate::tiktoken;
use crate::tokenizer::{Engine, Roles, Tokenizer};
use crate::vocab_merges::{self, ByteLevel};
use crate::vocabulary::TokenKind;
use crate::wordpiece;

/// A vocabulary and the roles that its own file defines.
struct Source {
    engine: Engine,
    roles: Roles,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
}

impl Source {
    /// Reads the vocabulary's file.
    fn read(files: &TokenizerFiles, config: &TokenizerConfig, model_config: Option<&Value>) -> Result<Self> {
        match &files.tokenizer {
            TokenizerSource::Json(bytes) => Self::pipeline(json::parts(bytes)?),
            TokenizerSource::VocabText(bytes) => Self::pipeline(wordpiece::read(bytes, config)?),
            TokenizerSource::VocabAndMerges { vocab, merges } => {
                Self::byte_level(vocab_merges::read(vocab, merges, config, model_config)?)
            }
            TokenizerSource::Model(bytes) if tiktoken::recognises(bytes) => {
                Self::byte_level(tiktoken::read(bytes, config.added.clone())?)
            }
            TokenizerSource::Model(bytes) => Self::sentence_piece(proto::read(bytes, config.added.clone())?),
        }
    }

    fn pipeline(parts: Parts) -> Result<Self> {
        let (prefix, suffix) = affixes(&parts.post_processor, &parts.vocabulary)?;
        let roles = Roles { bos: prefix.first().copied(), unk: parts.unk, ..Roles::default() };
        Ok(Self { engine: Engine::Pipeline(Box::new(Pipeline::new(parts)?)), roles, prefix, suffix })
    }

    fn byte_level(read: ByteLevel) -> Result<Self> {
        let prefix = read.roles.bos.filter(|_| read.adds_bos).into_iter().collect();
        let engine = Engine::Pipeline(Box::new(Pipeline::new(read.parts)?));
        Ok(Self { engine, roles: read.roles, prefix, suffix: Vec::new() })
    }

    /// Builds a SentencePiece tokenizer. Unless a configuration says otherwise, BPE models put BOS before a text and
    /// Unigram models put EOS after it, as Llama and T5 do.
    fn sentence_piece(read: proto::ModelFile) -> Result<Self> {
        let bpe = read.spec.algorithm == Algorithm::Bpe;
        let roles = Roles {
            bos: read.bos,
            stop: read.eos.into_iter().collect(),
            turn_end: None,
            unk: read.spec.unk,
            pad: read.pad,
            unnamed: Unnamed::default(),
        };
        Ok(Self {
            engine: Engine::SentencePiece(Box::new(SentencePiece::new(read.spec)?)),
            roles,
            prefix: read.bos.filter(|_| bpe).into_iter().collect(),
            suffix: read.eos.filter(|_| !bpe).into_iter().collect(),
        })
    }
}

impl Tokenizer {
    /// Reads a Hugging Face model's tokenizer from the contents of its files.
    ///
    /// # Errors
    /// Any error of files that are invalid, inconsistent or of a kind that is not supported.
    pub fn from_files(files: &TokenizerFiles) -> Result<Self> {
        let mut config = TokenizerConfig::read(
            files.tokenizer_config.as_deref(),
            files.special_tokens_map.as_deref(),
            files.added_tokens.as_deref(),
        )?;
        if let Some(source) = &files.chat_template {
            let source = String::from_utf8(source.clone()).map_err(|e| TextError::json("chat_template.jinja", e))?;
            config.templates.retain(|template| template.name != DEFAULT_TEMPLATE);
            config.templates.push(NamedTemplate { name: DEFAULT_TEMPLATE.to_owned(), source });
        }
        let model_config = parse("config.json", files.config.as_deref())?;
        let generation = parse("generation_config.json", files.generation_config.as_deref())?;
        let tokenizer_config = config.special.eos.as_ref().map(|eos| serde_json::json!({"eos_token": eos}));

        let Source { engine, roles: own, mut prefix, mut suffix } =
            Source::read(files, &config, model_config.as_ref())?;
        let vocabulary = engine.vocabulary();
        let id = |text: &Option<String>| text.as_deref().and_then(|text| vocabulary.id_of(text));
        let mut stop =
            stop_ids(model_config.as_ref(), generation.as_ref(), tokenizer_config.as_ref(), |t| vocabulary.id_of(t))?;
        // The tokenizer's configuration takes precedence over its vocabulary.
        if stop.is_empty() || (config.special.eos.is_none() && !config.unnamed.eos) {
            own.stop.iter().for_each(|&id| push_new(&mut stop, id));
        }
        let configured_bos = match &model_config {
            Some(config) => id_list("config.json", &config["bos_token_id"])?.first().copied(),
            None => None,
        };
        let roles = Roles {
            bos: id(&config.special.bos).or(configured_bos).or(own.bos),
            turn_end: id(&config.special.eos).or(own.turn_end),
            unk: id(&config.special.unk).or(own.unk),
            pad: id(&config.special.pad).or(own.pad),
            unnamed: config.unnamed,
            stop,
        };
        set_affix(&mut prefix, roles.bos, config.add_bos, "bos_token")?;
        set_affix(&mut suffix, roles.turn_end.or(roles.stop.first().copied()), config.add_eos, "eos_token")?;
        Self::build(engine, prefix, suffix, roles, config.templates)
    }

    /// Reads a tokenizer.json with the optional tokenizer_config.json and special_tokens_map.json.
    ///
    /// # Errors
    /// The errors of [`Tokenizer::from_files`].
    pub fn from_json(bytes: &[u8], config: Option<&[u8]>, special_tokens_map: Option<&[u8]>) -> Result<Self> {
        Self::from_files(&TokenizerFiles {
            tokenizer: TokenizerSource::Json(bytes.to_vec()),
            tokenizer_config: config.map(<[u8]>::to_vec),
            special_tokens_map: special_tokens_map.map(<[u8]>::to_vec),
            ..TokenizerFiles::default()
        })
    }

    /// Reads the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// [`TextError::Format`] for keys of the wrong type, and the errors of [`Tokenizer::from_vocab`].
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        Self::from_vocab(&GgufVocab::from_gguf(gguf)?)
    }

    /// Builds a tokenizer from GGUF metadata.
    ///
    /// # Errors
    /// Any error of metadata that are inconsistent or not supported: an unknown pre-tokenizer, lists of different
    /// lengths, ids out of range, merges of unknown tokens, ...
    pub fn from_vocab(vocab: &GgufVocab) -> Result<Self> {
        let engine = vocab.engine()?;
        let tokens = engine.vocabulary();
        let mut stop = Vec::new();
        let named = [vocab.eos, vocab.eot, vocab.eom].into_iter().flatten().chain(vocab.eog.iter().copied());
        named.for_each(|id| push_new(&mut stop, id));
        for text in END_TEXTS {
            let id = tokens.id_of(text);
            let control = |&id: &u32| tokens.get(id).is_some_and(|t| t.kind == TokenKind::Control);
            if let Some(id) = id.filter(control) {
                push_new(&mut stop, id);
            }
        }
        let roles = Roles {
            bos: vocab.bos.or(vocab.cls),
            stop,
            turn_end: vocab.eot.or(vocab.eos),
            unk: engine.unk().or(vocab.unk),
            pad: vocab.pad,
            unnamed: Unnamed::of_names(&vocab.unnamed),
        };
        let [prefix, suffix] = vocab.affixes(tokens)?;
        let templates = vocab
            .chat_template
            .iter()
            .map(|source| NamedTemplate { name: DEFAULT_TEMPLATE.to_owned(), source: source.clone() })
            .chain(vocab.named_templates.iter().cloned());
        Self::build(engine, prefix, suffix, roles, templates.collect())
    }

    fn build(
        engine: Engine,
        prefix: Vec<u32>,
        suffix: Vec<u32>,
        roles: Roles,
        templates: Vec<NamedTemplate>,
    ) -> Result<Self> {
        let decoder = match &engine {
            Engine::Pipeline(pipeline) => Decoder::read(&pipeline.parts.decoder)?,
            Engine::SentencePiece(pieces) => Decoder::of_pieces(pieces.normalizer.add_dummy_prefix),
        };
        let mut tokenizer = Self { engine, decoder, work_limit: Budget::BASE, prefix, suffix, roles, templates };
        if let Some(end) = turn_end(&tokenizer) {
            push_new(&mut tokenizer.roles.stop, end);
        }
        Ok(tokenizer)
    }
}

/// Parses an optional JSON file.
fn parse(file: &'static str, bytes: Option<&[u8]>) -> Result<Option<Value>> {
    bytes.map(|bytes| serde_json::from_slice(bytes).map_err(|e| TextError::json(file, e))).transpose()
}

/// Adds or removes a token as `add_bos_token` or `add_eos_token` says, if it says anything.
fn set_affix(affix: &mut Vec<u32>, token: Option<u32>, wanted: Option<bool>, field: &'static str) -> Result<()> {
    match (wanted, token) {
        (Some(true), None) => return Err(TextError::Missing { field }),
        (Some(true), Some(token)) if !affix.contains(&token) => affix.insert(0, token),
        (Some(false), Some(token)) => affix.retain(|&id| id != token),
        _ => {}
    }
    Ok(())
}
