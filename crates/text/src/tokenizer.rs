//! Text to tokens and back.

use std::sync::OnceLock;

use honelm_formats::gguf::Gguf;
use serde_json::Value;

use crate::config::{DEFAULT_TEMPLATE, SpecialTokens, TokenizerConfig};
use crate::decode::DecodeStream;
use crate::error::{Result, TextError};
use crate::files::TokenizerFiles;
use crate::gguf::GgufVocab;
use crate::json;
use crate::model::{Encoder, Parts};
use crate::stop::{END_TEXTS, id_list, push_new, stop_ids};
use crate::vocabulary::{Family, TokenKind, Vocabulary};

/// How to read a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Adds what the model wants around a text, usually BOS before it; never a second BOS.
    pub add_special: bool,
    /// Whether `<|bos|>` and the like in the text are those tokens (a rendered chat), or plain text (anything else).
    pub parse_special: bool,
}

/// A chat template by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTemplate {
    /// `default`, `tool_use`, ...
    pub name: String,
    /// Jinja source.
    pub source: String,
}

/// A byte-level or SentencePiece BPE tokenizer with the roles of its tokens.
pub struct Tokenizer {
    pub(crate) parts: Parts,
    family: Family,
    /// Whether decoding drops one space at the start.
    drops_leading_space: bool,
    /// Finds special tokens in text.
    parsing: Encoder,
    /// Takes them for plain text; made when first needed.
    plain: OnceLock<Encoder>,
    pub(crate) prefix: Vec<u32>,
    pub(crate) suffix: Vec<u32>,
    pub(crate) roles: Roles,
    pub(crate) templates: Vec<NamedTemplate>,
}

/// Tokens with a role, by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    pub bos: Option<u32>,
    /// All end tokens, the model's own first.
    pub stop: Vec<u32>,
    /// The end token that tokenizer_config.json names: a turn's end.
    pub turn_end: Option<u32>,
    pub unk: Option<u32>,
    pub pad: Option<u32>,
}

impl Tokenizer {
    /// Reads a Hugging Face model's tokenizer from the bytes of its files.
    ///
    /// # Errors
    /// Every way in which the files can be broken, inconsistent, or of a kind that is not read.
    pub fn from_files(files: &TokenizerFiles) -> Result<Self> {
        let mut config = TokenizerConfig::read(files.tokenizer_config.as_deref(), files.special_tokens_map.as_deref())?;
        if let Some(source) = &files.chat_template {
            let source = String::from_utf8(source.clone()).map_err(|e| TextError::json("chat_template.jinja", e))?;
            config.templates.retain(|template| template.name != DEFAULT_TEMPLATE);
            config.templates.push(NamedTemplate { name: DEFAULT_TEMPLATE.to_owned(), source });
        }
        let model_config = parse("config.json", files.config.as_deref())?;
        let generation = parse("generation_config.json", files.generation_config.as_deref())?;
        let tokenizer_config = config.special.eos.as_ref().map(|eos| serde_json::json!({"eos_token": eos}));

        let parts = json::parts(&files.tokenizer)?;
        let vocabulary = &parts.vocabulary;
        let (mut prefix, mut suffix) = affixes(&parts.post_processor, vocabulary)?;
        let id = |text: &Option<String>| text.as_deref().and_then(|text| vocabulary.id_of(text));
        let stop =
            stop_ids(model_config.as_ref(), generation.as_ref(), tokenizer_config.as_ref(), |t| vocabulary.id_of(t))?;
        let configured_bos = match &model_config {
            Some(config) => id_list("config.json", &config["bos_token_id"])?.first().copied(),
            None => None,
        };
        let roles = Roles {
            bos: id(&config.special.bos).or(configured_bos).or(prefix.first().copied()),
            turn_end: id(&config.special.eos),
            unk: id(&config.special.unk).or(parts.unk),
            pad: id(&config.special.pad),
            stop,
        };
        set_affix(&mut prefix, roles.bos, config.add_bos, "bos_token")?;
        set_affix(&mut suffix, roles.turn_end.or(roles.stop.first().copied()), config.add_eos, "eos_token")?;
        Self::build(parts, prefix, suffix, roles, config.templates)
    }

    /// Reads a tokenizer.json, with its tokenizer_config.json and special_tokens_map.json where there are.
    ///
    /// # Errors
    /// As [`Tokenizer::from_files`].
    pub fn from_json(bytes: &[u8], config: Option<&[u8]>, special_tokens_map: Option<&[u8]>) -> Result<Self> {
        Self::from_files(&TokenizerFiles {
            tokenizer: bytes.to_vec(),
            tokenizer_config: config.map(<[u8]>::to_vec),
            special_tokens_map: special_tokens_map.map(<[u8]>::to_vec),
            ..TokenizerFiles::default()
        })
    }

    /// Reads the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// Keys of the wrong type, and what [`Tokenizer::from_vocab`] reports.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        Self::from_vocab(&GgufVocab::from_gguf(gguf)?)
    }

    /// Builds the tokenizer that GGUF metadata describe.
    ///
    /// # Errors
    /// An unknown pre-tokenizer, lists of different length, ids out of range, merges of unknown tokens, ...
    pub fn from_vocab(vocab: &GgufVocab) -> Result<Self> {
        let parts = vocab.parts()?;
        let mut stop = Vec::new();
        let named = [vocab.eos, vocab.eot, vocab.eom].into_iter().flatten().chain(vocab.eog.iter().copied());
        named.for_each(|id| push_new(&mut stop, id));
        for text in END_TEXTS {
            let id = parts.vocabulary.id_of(text);
            let control = |&id: &u32| parts.vocabulary.get(id).is_some_and(|t| t.kind == TokenKind::Control);
            if let Some(id) = id.filter(control) {
                push_new(&mut stop, id);
            }
        }
        let roles = Roles {
            bos: vocab.bos,
            stop,
            turn_end: vocab.eot.or(vocab.eos),
            unk: parts.unk.or(vocab.unk),
            pad: vocab.pad,
        };
        let prefix = if vocab.adds_bos()? { vocab.bos.into_iter().collect() } else { Vec::new() };
        let suffix = if vocab.add_eos == Some(true) { vocab.eos.into_iter().collect() } else { Vec::new() };
        let templates = vocab
            .chat_template
            .iter()
            .map(|source| NamedTemplate { name: DEFAULT_TEMPLATE.to_owned(), source: source.clone() })
            .chain(vocab.named_templates.iter().cloned());
        Self::build(parts, prefix, suffix, roles, templates.collect())
    }

    fn build(
        parts: Parts,
        prefix: Vec<u32>,
        suffix: Vec<u32>,
        roles: Roles,
        templates: Vec<NamedTemplate>,
    ) -> Result<Self> {
        let (family, drops_leading_space) = decoding(&parts.decoder)?;
        let parsing = parts.encoder()?;
        let plain = OnceLock::new();
        Ok(Self { parts, family, drops_leading_space, parsing, plain, prefix, suffix, roles, templates })
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// [`TextError::Encode`] where the pipeline fails.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>> {
        let encoder = if options.parse_special { &self.parsing } else { self.plain() };
        let encoding = encoder.encode_fast(text, false).map_err(|e| TextError::Encode { reason: e.to_string() })?;
        let ids = encoding.get_ids();
        if !options.add_special {
            return Ok(ids.to_vec());
        }
        let prefix = if ids.starts_with(&self.prefix) { &[][..] } else { &self.prefix };
        Ok([prefix, ids, &self.suffix].concat())
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

    /// The text of ids. Bytes that are not UTF-8 become U+FFFD, unknown ids nothing; a SentencePiece text's leading
    /// space is dropped.
    #[must_use]
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut stream = DecodeStream::new(self, skip_special);
        let mut text: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
        text.push_str(&stream.finish());
        text
    }

    /// The exact bytes of a token; `None` for an id outside the vocabulary. Unused tokens have none.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.parts.vocabulary.get(id)?;
        let mut bytes = Vec::new();
        self.push_bytes(id, &mut bytes);
        Some(bytes)
    }

    /// Appends the exact bytes of a token.
    pub(crate) fn push_bytes(&self, id: u32, out: &mut Vec<u8>) {
        self.parts.vocabulary.push_bytes(id, self.family, out);
    }

    /// Number of ids, the unused ones between them included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.parts.vocabulary.len()
    }

    /// How tokens spell bytes.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether decoding drops one space at the start of a text.
    #[must_use]
    pub fn drops_leading_space(&self) -> bool {
        self.drops_leading_space
    }

    /// The token that begins a text, whether or not the model wants it there.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.roles.bos
    }

    /// Whether `add_special` puts BOS first.
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.roles.bos.is_some() && self.prefix.first().copied() == self.roles.bos
    }

    /// All tokens that end an answer, the model's own first.
    #[must_use]
    pub fn eos_ids(&self) -> &[u32] {
        &self.roles.stop
    }

    /// The padding token.
    #[must_use]
    pub fn pad(&self) -> Option<u32> {
        self.roles.pad
    }

    /// Whether a token steers the model rather than spelling text.
    #[must_use]
    pub fn special(&self, id: u32) -> bool {
        self.kind(id).is_some_and(TokenKind::is_special)
    }

    /// What a token is for.
    #[must_use]
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.parts.vocabulary.get(id).map(|token| token.kind)
    }

    /// The id of a token by its text in the vocabulary (`<|bos|>`, `Ġthe`, `▁the`).
    #[must_use]
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.parts.vocabulary.id_of(text)
    }

    /// The text of a token in the vocabulary.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&str> {
        self.parts.vocabulary.get(id).map(|token| token.text.as_str())
    }

    /// Texts of the tokens with a role, for chat templates.
    #[must_use]
    pub fn special_tokens(&self) -> SpecialTokens {
        let text = |id: Option<u32>| id.and_then(|id| self.token(id)).map(str::to_owned);
        let roles = &self.roles;
        SpecialTokens {
            bos: text(roles.bos),
            eos: text(roles.turn_end.or(roles.stop.first().copied())),
            unk: text(roles.unk),
            pad: text(roles.pad),
        }
    }

    /// The default chat template's source.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        let named = self.templates.iter().find(|template| template.name == DEFAULT_TEMPLATE);
        named.or(self.templates.first()).map(|template| template.source.as_str())
    }

    /// All chat templates.
    #[must_use]
    pub fn chat_templates(&self) -> &[NamedTemplate] {
        &self.templates
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("family", &self.family)
            .field("vocab_size", &self.vocab_size())
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// A JSON file, or nothing.
fn parse(file: &'static str, bytes: Option<&[u8]>) -> Result<Option<Value>> {
    bytes.map(|bytes| serde_json::from_slice(bytes).map_err(|e| TextError::json(file, e))).transpose()
}

/// Makes a prefix or suffix what `add_bos_token` or `add_eos_token` says, where it says something.
fn set_affix(affix: &mut Vec<u32>, token: Option<u32>, wanted: Option<bool>, field: &'static str) -> Result<()> {
    match (wanted, token) {
        (Some(true), None) => return Err(TextError::Missing { field }),
        (Some(true), Some(token)) if !affix.contains(&token) => affix.insert(0, token),
        (Some(false), Some(token)) => affix.retain(|&id| id != token),
        _ => {}
    }
    Ok(())
}

/// Ids that a `post_processor` puts before and after a text.
fn affixes(processor: &Value, vocabulary: &Vocabulary) -> Result<(Vec<u32>, Vec<u32>)> {
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
fn decoding(decoder: &Value) -> Result<(Family, bool)> {
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
