//! The tokenizer.

use std::ops::Range;

use crate::budget::Budget;
use crate::config::{DEFAULT_TEMPLATE, NamedTemplate, SpecialTokens, Unnamed};
use crate::decoder::Decoder;
use crate::error::{Result, TextError};
use crate::matcher::Specials;
use crate::pipeline::Pipeline;
use crate::sentencepiece::SentencePiece;
use crate::vocabulary::{Family, TokenKind, Vocabulary};

/// The options of encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Adds the tokens that the model expects around a text, usually BOS before it. BOS is never added twice.
    pub add_special: bool,
    /// Encodes the texts of special tokens as these tokens. Set it for rendered chats only; otherwise they are plain
    /// text.
    pub parse_special: bool,
}

/// A byte-level BPE, SentencePiece or WordPiece tokenizer, with the roles of its tokens.
pub struct Tokenizer {
    pub(crate) engine: Engine,
    pub(crate) decoder: Decoder,
    /// The number of bytes that encoding any text may touch, in addition to those for its length.
    pub(crate) work_limit: u64,
    /// The tokens before a text with special tokens.
    pub(crate) prefix: Vec<u32>,
    /// The tokens after a text with special tokens.
    pub(crate) suffix: Vec<u32>,
    pub(crate) roles: Roles,
    pub(crate) templates: Vec<NamedTemplate>,
}

/// The encoder.
pub(crate) enum Engine {
    /// BPE with merge rules, or WordPiece.
    Pipeline(Box<Pipeline>),
    /// SentencePiece with scores.
    SentencePiece(Box<SentencePiece>),
}

impl Engine {
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        match self {
            Self::Pipeline(pipeline) => &pipeline.parts.vocabulary,
            Self::SentencePiece(pieces) => pieces.vocabulary(),
        }
    }

    /// Returns the unknown token.
    pub(crate) fn unk(&self) -> Option<u32> {
        match self {
            Self::Pipeline(pipeline) => pipeline.parts.unk,
            Self::SentencePiece(pieces) => pieces.unk,
        }
    }
}

/// The ids of the tokens with a role.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    pub bos: Option<u32>,
    /// The end tokens, the model's own first.
    pub stop: Vec<u32>,
    /// The end token of a turn, which tokenizer_config.json names.
    pub turn_end: Option<u32>,
    pub unk: Option<u32>,
    pub pad: Option<u32>,
    /// The roles that chat templates see no token for.
    pub unnamed: Unnamed,
}

impl Tokenizer {
    /// Encodes a text.
    ///
    /// # Errors
    /// [`TextError::Encode`] if the pipeline fails, and [`TextError::WorkLimit`] if it would take too much work.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>> {
        self.encode_marked(text, &[], options)
    }

    /// Encodes a text with untrusted parts. `outside` has their byte ranges, sorted and disjoint.
    ///
    /// A special token is not recognised if it overlaps one of these ranges, as if
    /// [`parse_special`](EncodeOptions::parse_special) were not set there. Otherwise this is the same as
    /// [`encode`](Self::encode): normalisation and merging do not depend on the ranges.
    ///
    /// # Errors
    /// The errors of [`encode`](Self::encode), and [`TextError::Encode`] if the ranges are not sorted or end beyond the
    /// text.
    pub fn encode_marked(&self, text: &str, outside: &[Range<usize>], options: EncodeOptions) -> Result<Vec<u32>> {
        let mut outside = outside.to_vec();
        outside.retain(|range| !range.is_empty());
        let in_order = outside.is_sorted_by(|a, b| a.end <= b.start);
        if !in_order || outside.last().is_some_and(|last| last.end > text.len()) {
            let reason = "the ranges from outside are not sorted or end beyond the text".to_owned();
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

    /// Sets the number of bytes that encoding any text may touch. The default is [`Budget::BASE`]. Each byte of the
    /// text adds [`Budget::PER_BYTE`].
    pub fn set_work_limit(&mut self, bytes: u64) {
        self.work_limit = bytes;
    }

    /// Returns the vocabulary.
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        self.engine.vocabulary()
    }

    /// Decodes ids to bytes. [`decode`](Self::decode) returns the same text. Unknown ids have no bytes, special tokens
    /// have those of their text, and the decoder's steps, such as dropping a leading space, are applied.
    #[must_use]
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        let mut flow = self.decoder.flow(true);
        let mut bytes = Vec::new();
        ids.iter().for_each(|&id| flow.push(&self.decoder, self.vocabulary(), id, &mut bytes));
        flow.finish(&self.decoder, &mut bytes);
        bytes
    }

    /// Returns the bytes of a token, or `None` for an id outside the vocabulary. Rows without a text have no bytes.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.vocabulary().get(id)?;
        let mut bytes = Vec::new();
        self.decoder.push_token(self.vocabulary(), id, &mut bytes);
        Some(bytes)
    }

    /// Returns the text of a token, and its bytes in a text. A special token has its name as text, and no bytes.
    #[must_use]
    pub fn token_text(&self, id: u32) -> (String, Vec<u8>) {
        if self.special(id) {
            return (self.token(id).unwrap_or_default().to_owned(), Vec::new());
        }
        let bytes = self.token_bytes(id).unwrap_or_default();
        (String::from_utf8_lossy(&bytes).into_owned(), bytes)
    }

    /// Returns the number of ids, including unused ones.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocabulary().len()
    }

    /// Returns the way in which tokens represent bytes.
    #[must_use]
    pub fn family(&self) -> Family {
        self.decoder.family
    }

    /// Returns `true` if decoding drops a space at the start of a text.
    #[must_use]
    pub fn drops_leading_space(&self) -> bool {
        self.decoder.drops_leading_space()
    }

    /// Returns the BOS token, even if it is not added to texts.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.roles.bos
    }

    /// Returns `true` if `add_special` puts BOS first.
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.roles.bos.is_some() && self.prefix.first().copied() == self.roles.bos
    }

    /// Returns the BOS token if it is added to texts.
    #[must_use]
    pub fn leading_bos(&self) -> Option<u32> {
        self.bos().filter(|_| self.adds_bos())
    }

    /// Returns the tokens that `add_special` puts after a text.
    #[must_use]
    pub fn suffix(&self) -> &[u32] {
        &self.suffix
    }

    /// Encodes a text for scoring. BOS comes first if the model expects it. Special tokens in the text are plain text.
    ///
    /// # Errors
    /// The errors of [`Tokenizer::encode`].
    pub fn encode_running(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(text, EncodeOptions { add_special: true, parse_special: false })?;
        // EOS is removed, because the text continues.
        while ids.last().is_some_and(|id| self.eos_ids().contains(id)) {
            ids.pop();
        }
        Ok(ids)
    }

    /// Returns the tokens that end an answer, the model's own first.
    #[must_use]
    pub fn eos_ids(&self) -> &[u32] {
        &self.roles.stop
    }

    /// Returns the padding token.
    #[must_use]
    pub fn pad(&self) -> Option<u32> {
        self.roles.pad
    }

    /// Returns `true` if a token controls the model instead of representing text.
    #[must_use]
    pub fn special(&self, id: u32) -> bool {
        self.kind(id).is_some_and(TokenKind::is_special)
    }

    /// Returns the kind of a token.
    #[must_use]
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.vocabulary().get(id).map(|token| token.kind)
    }

    /// Returns the id of a token's text in the vocabulary (`<|bos|>`, `Ġthe`, `▁the`).
    #[must_use]
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.vocabulary().id_of(text)
    }

    /// Returns the text of a token in the vocabulary.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&str> {
        self.vocabulary().get(id).map(|token| token.text.as_str())
    }

    /// Returns the texts of the tokens with a role, for chat templates.
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

    /// Returns the source of the default chat template.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        let named = self.templates.iter().find(|template| template.name == DEFAULT_TEMPLATE);
        named.or(self.templates.first()).map(|template| template.source.as_str())
    }

    /// Returns all chat templates.
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
