//! SentencePiece models: pieces with scores, found by merging (BPE) or by the best path (Unigram).
//!
//! They come as `tokenizer.model` ([`proto`]) or as GGUF metadata, and give what the `sentencepiece` library gives.
//! Text is first cut at tokens that are found as wholes (added and, where asked for, special ones); every stretch
//! between them is a text of its own, with its own space before it.

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
use crate::trie::Trie;
use crate::vocabulary::{MAX_TOKEN_BYTES, Token, TokenKind, Vocabulary, byte_token};
use crate::wholes::{Found, Specials, Wholes};

/// Bytes that finding pieces touches for each byte of text.
const SEARCH_BYTES: u64 = 128;

/// How pieces are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// By merging neighbours, the best score first.
    Bpe,
    /// By the path with the best sum of scores.
    Unigram,
}

/// What a model file says.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub vocabulary: Vocabulary,
    /// By id.
    pub scores: Vec<f32>,
    pub algorithm: Algorithm,
    /// Stands for what no piece spells.
    pub unk: Option<u32>,
    /// Whether characters that no piece spells become `<0xHH>` tokens.
    pub byte_fallback: bool,
    pub normalizer: Normalizer,
    /// Tokens found as wholes before normalising, beside the special ones.
    pub added: Vec<Added>,
}

/// Ready to encode.
pub(crate) struct SentencePiece {
    vocabulary: Vocabulary,
    scores: Vec<f32>,
    algorithm: Algorithm,
    pub unk: Option<u32>,
    /// Ids of the byte tokens; empty without byte fallback.
    bytes: Vec<Option<u32>>,
    pub normalizer: Normalizer,
    /// Pieces by prefix; Unigram's only.
    trie: Trie,
    /// Every two characters that are neighbours in a piece; BPE's only. Nothing merges across any other two.
    joined: HashSet<(char, char)>,
    /// User-defined pieces that are found while looking for pieces, rather than before normalising.
    user_defined: Trie,
    /// The lowest and highest score of a normal piece.
    lowest: f32,
    highest: f32,
    /// Tokens that text is cut at.
    wholes: Wholes,
}

impl SentencePiece {
    /// Checks the scores and prepares the look-ups.
    ///
    /// # Errors
    /// [`TextError::BadScore`] where a score is not a number, [`TextError::TokenTooLong`], and
    /// [`TextError::IdOutOfRange`] for an added token.
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
        let wholes = Wholes::new(&vocabulary, added)?;
        let trie = match algorithm {
            Algorithm::Unigram => trie_of(&vocabulary, |_, kind| searched(kind)),
            Algorithm::Bpe => Trie::new([]),
        };
        let joined = match algorithm {
            Algorithm::Unigram => HashSet::new(),
            Algorithm::Bpe => neighbours(vocabulary.iter().map(|(_, token)| token).filter(|t| searched(t.kind))),
        };
        let user_defined = trie_of(&vocabulary, |id, kind| kind == TokenKind::UserDefined && !wholes.contains(id));
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
            wholes,
            vocabulary,
        })
    }

    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Scores by id.
    pub(crate) fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Whether characters may become byte tokens.
    pub(crate) fn byte_fallback(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`].
    pub(crate) fn encode(&self, text: &str, specials: &Specials<'_>, budget: &Budget) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut start = 0;
        while let Some(Found { before, token, after }) = self.wholes.next(text, start, specials, budget)? {
            self.encode_stretch(&text[before], budget, &mut ids)?;
            ids.push(token);
            start = after;
        }
        self.encode_stretch(&text[start..], budget, &mut ids)?;
        Ok(ids)
    }

    /// The added tokens, and the special ones.
    pub(crate) fn wholes(&self) -> &[Added] {
        self.wholes.tokens()
    }

    /// Appends the ids of a stretch without tokens that are found as wholes.
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
                // A run of unknown characters is one unknown token.
                None if !after_unknown => ids.extend(self.unk),
                None => {}
            }
            after_unknown = id.is_none();
        }
        Ok(())
    }

    /// Appends the byte tokens of a character; `false`, and nothing appended, where one is missing.
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

    /// Length of the beginning of a text that nothing beyond it merges with.
    fn stretch(&self, text: &str) -> usize {
        let pairs = text.chars().zip(text.char_indices().skip(1));
        let apart = pairs.filter(|(a, (_, b))| !self.joined.contains(&(*a, *b)));
        apart.map(|(_, (at, _))| at).next().unwrap_or(text.len())
    }

    /// A piece that text may be.
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

/// Every two neighbouring characters of some tokens.
fn neighbours<'a>(tokens: impl Iterator<Item = &'a Token>) -> HashSet<(char, char)> {
    tokens.flat_map(|token| token.text.chars().zip(token.text.chars().skip(1))).collect()
}

/// The lowest and the highest score of a normal piece.
fn bounds(vocabulary: &Vocabulary, scores: &[f32]) -> (f32, f32) {
    let normal = vocabulary.iter().zip(scores).filter(|((_, token), _)| token.kind == TokenKind::Normal);
    let widen = |found: Option<(f32, f32)>, score: f32| {
        Some(found.map_or((score, score), |(low, high)| (low.min(score), high.max(score))))
    };
    normal.map(|(_, &score)| score).fold(None, widen).unwrap_or_default()
}

/// The tokens of some kinds by prefix.
fn trie_of(vocabulary: &Vocabulary, wanted: impl Fn(u32, TokenKind) -> bool) -> Trie {
    let tokens = vocabulary.iter().filter(|(id, token)| wanted(*id, token.kind));
    Trie::new(tokens.map(|(id, token)| (token.text.as_bytes(), id)))
}

/// The ids of the 256 byte tokens.
fn byte_ids(vocabulary: &Vocabulary) -> Vec<Option<u32>> {
    let mut ids = vec![None; 256];
    for (id, token) in vocabulary.iter().filter(|(_, token)| token.kind == TokenKind::Byte) {
        if let Some(byte) = byte_token(&token.text) {
            ids[usize::from(byte)] = Some(id);
        }
    }
    ids
}
