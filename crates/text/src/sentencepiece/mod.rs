//! SentencePiece models: scored pieces, found by merging (BPE) or by the best path (Unigram).
//!
//! Models come from `tokenizer.model` ([`proto`]) or GGUF metadata. The results are those of the `sentencepiece`
//! library. Added tokens, and special tokens on request, are matched first. Each stretch between them is encoded as a
//! separate text with its own leading space.

mod charsmap;
mod normalizer;
pub(crate) mod proto;
mod search;

pub(crate) use charsmap::Charsmap;
pub(crate) use normalizer::Normalizer;

use std::collections::HashSet;

use crate::added::Added;
use crate::budget::Budget;
use crate::error::{Result, TextError};
use crate::matcher::{Found, Matcher, Specials};
use crate::trie::Trie;
use crate::vocabulary::{MAX_TOKEN_BYTES, Token, TokenKind, Vocabulary, byte_token};

/// The number of bytes that the search for pieces touches per byte of text.
const SEARCH_BYTES: u64 = 128;

/// The algorithm that finds the pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Merges adjacent pieces, the best score first.
    Bpe,
    /// Finds the path with the highest sum of scores.
    Unigram,
}

/// The contents of a model file.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub vocabulary: Vocabulary,
    /// The scores by id.
    pub scores: Vec<f32>,
    pub algorithm: Algorithm,
    /// The unknown token.
    pub unk: Option<u32>,
    /// `true` if characters that no piece represents become `<0xHH>` tokens.
    pub byte_fallback: bool,
    pub normalizer: Normalizer,
    /// The tokens that are matched before normalisation, in addition to the special ones.
    pub added: Vec<Added>,
}

/// A SentencePiece encoder.
pub(crate) struct SentencePiece {
    vocabulary: Vocabulary,
    scores: Vec<f32>,
    algorithm: Algorithm,
    pub unk: Option<u32>,
    /// The ids of the byte tokens. It is empty without byte fallback.
    bytes: Vec<Option<u32>>,
    pub normalizer: Normalizer,
    /// The pieces by prefix (Unigram only).
    trie: Trie,
    /// All pairs of adjacent characters inside a piece (BPE only). Nothing merges across other pairs.
    joined: HashSet<(char, char)>,
    /// The user-defined pieces that are matched during the search, rather than before normalisation.
    user_defined: Trie,
    /// The lowest and highest score of a normal piece.
    lowest: f32,
    highest: f32,
    /// The tokens that are matched first.
    matcher: Matcher,
}

impl SentencePiece {
    /// Checks the scores and builds the lookup tables.
    ///
    /// # Errors
    /// [`TextError::BadScore`] if a score is not a number, [`TextError::TokenTooLong`], and [`TextError::IdOutOfRange`]
    /// for an added token.
    pub(crate) fn new(spec: Spec) -> Result<Self> {
        let Spec { vocabulary, mut scores, algorithm, unk, byte_fallback, normalizer, added } = spec;
        scores.resize(vocabulary.len(), 0.0);
        if let Some((id, _)) = (0u32..).zip(&scores).find(|(_, score)| score.is_nan()) {
            return Err(TextError::BadScore { id });
        }
        let searched = |kind| matches!(kind, TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused);
        let long = |token: &Token| searched(token.kind) && token.text.len() > MAX_TOKEN_BYTES;
        if let Some((id, token)) = vocabulary.iter().find(|(_, token)| long(token)) {
            return Err(TextError::TokenTooLong { id, bytes: token.text.len(), limit: MAX_TOKEN_BYTES });
        }
        let (lowest, highest) = bounds(&vocabulary, &scores);
        let matcher = Matcher::new(&vocabulary, added)?;
        let trie = match algorithm {
            Algorithm::Unigram => trie_of(&vocabulary, |_, kind| searched(kind)),
            Algorithm::Bpe => Trie::new([]),
        };
        let joined = match algorithm {
            Algorithm::Unigram => HashSet::new(),
            Algorithm::Bpe => neighbours(vocabulary.iter().map(|(_, token)| token).filter(|t| searched(t.kind))),
        };
        let user_defined = trie_of(&vocabulary, |id, kind| kind == TokenKind::UserDefined && !matcher.contains(id));
        let bytes = if byte_fallback { byte_ids(&vocabulary) } else { Vec::new() };
        Ok(Self {
            scores,
            algorithm,
            unk,
            bytes,
            normalizer,
            trie,
            joined,
            user_defined,
            lowest,
            highest,
            matcher,
            vocabulary,
        })
    }

    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the scores by id.
    pub(crate) fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Returns `true` if characters can become byte tokens.
    pub(crate) fn byte_fallback(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Encodes a text.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`].
    pub(crate) fn encode(&self, text: &str, specials: &Specials<'_>, budget: &Budget) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut start = 0;
        while let Some(Found { before, token, after }) = self.matcher.next(text, start, specials, budget)? {
            self.encode_stretch(&text[before], budget, &mut ids)?;
            ids.push(token);
            start = after;
        }
        self.encode_stretch(&text[start..], budget, &mut ids)?;
        Ok(ids)
    }

    /// Returns the added and special tokens.
    pub(crate) fn matched_tokens(&self) -> &[Added] {
        self.matcher.tokens()
    }

    /// Appends the ids of a stretch without added or special tokens.
    fn encode_stretch(&self, text: &str, budget: &Budget, ids: &mut Vec<u32>) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let normalized = self.normalizer.normalize(text, &self.user_defined, budget)?;
        budget.charge_each(normalized.len(), SEARCH_BYTES)?;
        let pieces = match self.algorithm {
            Algorithm::Bpe => search::Merging::pieces(self, &normalized, budget)?,
            Algorithm::Unigram => search::best_path(self, &normalized, budget)?,
        };
        let mut after_unknown = false;
        for (range, id) in pieces {
            let id = id.filter(|&id| Some(id) != self.unk);
            match id {
                Some(id) => ids.push(id),
                None if self.push_bytes(&normalized.as_bytes()[range], ids) => {}
                // A run of unknown characters becomes one unknown token.
                None if !after_unknown => ids.extend(self.unk),
                None => {}
            }
            after_unknown = id.is_none();
        }
        Ok(())
    }

    /// Appends the byte tokens of a character. Returns `false` and appends nothing if one is missing.
    fn push_bytes(&self, bytes: &[u8], ids: &mut Vec<u32>) -> bool {
        let start = ids.len();
        for &byte in bytes {
            match self.bytes.get(usize::from(byte)).copied().flatten() {
                Some(id) => ids.push(id),
                None => {
                    ids.truncate(start);
                    return false;
                }
            }
        }
        true
    }

    /// Returns the length of the prefix that nothing after it merges with.
    fn stretch(&self, text: &str) -> usize {
        let pairs = text.chars().zip(text.char_indices().skip(1));
        let apart = pairs.filter(|(a, (_, b))| !self.joined.contains(&(*a, *b)));
        apart.map(|(_, (at, _))| at).next().unwrap_or(text.len())
    }

    /// Returns the piece with this text, if it takes part in merging.
    fn mergeable(&self, text: &str) -> Option<u32> {
        if text.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let merges = |kind| matches!(kind, TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused);
        self.vocabulary.id_of(text).filter(|&id| self.vocabulary.get(id).is_some_and(|token| merges(token.kind)))
    }

    fn score(&self, id: u32) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or(0.0)
    }
}

/// Returns all pairs of adjacent characters in some tokens.
fn neighbours<'a>(tokens: impl Iterator<Item = &'a Token>) -> HashSet<(char, char)> {
    tokens.flat_map(|token| token.text.chars().zip(token.text.chars().skip(1))).collect()
}

/// Returns the lowest and the highest score of a normal piece.
fn bounds(vocabulary: &Vocabulary, scores: &[f32]) -> (f32, f32) {
    let normal = vocabulary.iter().zip(scores).filter(|((_, token), _)| token.kind == TokenKind::Normal);
    let widen = |found: Option<(f32, f32)>, score: f32| {
        Some(found.map_or((score, score), |(low, high)| (low.min(score), high.max(score))))
    };
    normal.map(|(_, &score)| score).fold(None, widen).unwrap_or_default()
}

/// Builds a trie of the selected tokens.
fn trie_of(vocabulary: &Vocabulary, wanted: impl Fn(u32, TokenKind) -> bool) -> Trie {
    let tokens = vocabulary.iter().filter(|(id, token)| wanted(*id, token.kind));
    Trie::new(tokens.map(|(id, token)| (token.text.as_bytes(), id)))
}

/// Returns the ids of the 256 byte tokens.
fn byte_ids(vocabulary: &Vocabulary) -> Vec<Option<u32>> {
    let mut ids = vec![None; 256];
    for (id, token) in vocabulary.iter().filter(|(_, token)| token.kind == TokenKind::Byte) {
        if let Some(byte) = byte_token(&token.text) {
            ids[usize::from(byte)] = Some(id);
        }
    }
    ids
}
