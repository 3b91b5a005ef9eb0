//! Text to tokens and back.

use std::ops::Range;

use crate::budget::Budget;
use crate::config::{DEFAULT_TEMPLATE, SpecialTokens, Unnamed};
use crate::decode::DecodeStream;
use crate::decoder::Decoder;
use crate::error::{Result, TextError};
use crate::pipeline::Pipeline;
use crate::sentencepiece::SentencePiece;
use crate::vocabulary::{Family, TokenKind, Vocabulary};
use crate::wholes::Specials;

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

/// A byte-level BPE or SentencePiece tokenizer with the roles of its tokens.
pub struct Tokenizer {
    pub(crate) engine: Engine,
    pub(crate) decoder: Decoder,
    /// Bytes that encoding any text may touch, beside those for its length.
    pub(crate) work_limit: u64,
    /// Put before a text that is asked to have its special tokens.
    pub(crate) prefix: Vec<u32>,
    /// Put after it.
    pub(crate) suffix: Vec<u32>,
    pub(crate) roles: Roles,
    pub(crate) templates: Vec<NamedTemplate>,
}

/// What turns text into ids.
pub(crate) enum Engine {
    /// Merge rules, in rank order.
    Pipeline(Box<Pipeline>),
    /// SentencePiece's pieces, by score.
    SentencePiece(Box<SentencePiece>),
}

impl Engine {
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        match self {
            Self::Pipeline(pipeline) => &pipeline.parts.vocabulary,
            Self::SentencePiece(pieces) => pieces.vocabulary(),
        }
    }

    /// The token for what the vocabulary cannot spell.
    pub(crate) fn unk(&self) -> Option<u32> {
        match self {
            Self::Pipeline(pipeline) => pipeline.parts.unk,
            Self::SentencePiece(pieces) => pieces.unk,
        }
    }
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
    /// Those of them that templates do not see.
    pub unnamed: Unnamed,
}

impl Tokenizer {
    /// The ids of a text.
    ///
    /// # Errors
    /// [`TextError::Encode`] where the pipeline fails, and [`TextError::WorkLimit`] where it would take too much work.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>> {
        self.encode_marked(text, &[], options)
    }

    /// The ids of a text of which `outside` are the byte ranges that are not to be trusted, in order and disjoint.
    ///
    /// A special token is not looked for where it would overlap one of them, as if
    /// [`parse_special`](EncodeOptions::parse_special) were off there. Everything else is as in
    /// [`encode`](Self::encode): it is one text, and normalising and merging take no notice of the ranges.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and [`TextError::Encode`] for ranges that are not in order or end beyond the text.
    pub fn encode_marked(&self, text: &str, outside: &[Range<usize>], options: EncodeOptions) -> Result<Vec<u32>> {
        let mut outside = outside.to_vec();
        outside.retain(|range| !range.is_empty());
        let in_order = outside.is_sorted_by(|a, b| a.end <= b.start);
        if !in_order || outside.last().is_some_and(|last| last.end > text.len()) {
            let reason = "the ranges from outside are not in order, or end beyond the text".to_owned();
            return Err(TextError::Encode { reason });
        }
        let specials = Specials::new(options.parse_special, &outside);
        let budget = Budget::for_text(self.work_limit, text.len());
        let ids = match &self.engine {
            Engine::Pipeline(pipeline) => pipeline.encode(text, &specials, &budget)?,
            Engine::SentencePiece(pieces) => pieces.encode(text, &specials, &budget)?,
        };
        if !options.add_special {
            return Ok(ids);
        }
        let prefix = if ids.starts_with(&self.prefix) { &[][..] } else { &self.prefix };
        Ok([prefix, &ids, &self.suffix].concat())
    }

    /// Sets the number of bytes that encoding any text may touch, [`Budget::BASE`] unless set. A text may touch
    /// [`Budget::PER_BYTE`] more for each of its bytes.
    pub fn set_work_limit(&mut self, bytes: u64) {
        self.work_limit = bytes;
    }

    /// All tokens.
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        self.engine.vocabulary()
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

    /// The exact bytes of ids, of which [`decode`](Self::decode) is the text: unknown ids have none, special tokens
    /// have their text, and what the decoder does to a text (as to drop a leading space) is done.
    #[must_use]
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        let mut flow = self.decoder.flow(true);
        let mut bytes = Vec::new();
        ids.iter().for_each(|&id| flow.push(self.vocabulary(), id, &mut bytes));
        flow.finish(&mut bytes);
        bytes
    }

    /// The exact bytes of a token; `None` for an id outside the vocabulary. Rows without a text have none.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.vocabulary().get(id)?;
        let mut bytes = Vec::new();
        self.decoder.push_token(self.vocabulary(), id, &mut bytes);
        Some(bytes)
    }

    /// Number of ids, the unused ones between them included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocabulary().len()
    }

    /// How tokens spell bytes.
    #[must_use]
    pub fn family(&self) -> Family {
        self.decoder.family
    }

    /// Whether decoding drops one space at the start of a text.
    #[must_use]
    pub fn drops_leading_space(&self) -> bool {
        self.decoder.drops_leading_space()
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

    /// BOS where the model begins texts with it.
    #[must_use]
    pub fn leading_bos(&self) -> Option<u32> {
        self.bos().filter(|_| self.adds_bos())
    }

    /// The tokens of a running text to be scored, BOS first where the model wants it; special tokens in the text are plain text.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn encode_running(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(text, EncodeOptions { add_special: true, parse_special: false })?;
        // A tokenizer that ends every text with EOS must not end a running one.
        while ids.last().is_some_and(|id| self.eos_ids().contains(id)) {
            ids.pop();
        }
        Ok(ids)
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
        self.vocabulary().get(id).map(|token| token.kind)
    }

    /// The id of a token by its text in the vocabulary (`<|bos|>`, `Ġthe`, `▁the`).
    #[must_use]
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.vocabulary().id_of(text)
    }

    /// The text of a token in the vocabulary.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&str> {
        self.vocabulary().get(id).map(|token| token.text.as_str())
    }

    /// Texts of the tokens with a role, for chat templates.
    #[must_use]
    pub fn special_tokens(&self) -> SpecialTokens {
        let text =
            |id: Option<u32>, unnamed: bool| id.filter(|_| !unnamed).and_then(|id| self.token(id)).map(str::to_owned);
        let roles = &self.roles;
        let unnamed = roles.unnamed;
        SpecialTokens {
            bos: text(roles.bos, unnamed.bos),
            eos: text(roles.turn_end.or(roles.stop.first().copied()), unnamed.eos),
            unk: text(roles.unk, unnamed.unk),
            pad: text(roles.pad, unnamed.pad),
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
            .field("family", &self.decoder.family)
            .field("vocab_size", &self.vocab_size())
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}
