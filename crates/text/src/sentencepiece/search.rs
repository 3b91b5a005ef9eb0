//! SentencePiece's two algorithms that split a normalised text into pieces.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;

use super::SentencePiece;
use crate::budget::Budget;
use crate::error::Result;
use crate::vocabulary::TokenKind;

/// The byte range of a piece, and its id if it is in the vocabulary.
pub(super) type Piece = (Range<usize>, Option<u32>);

/// Two adjacent symbols that may merge.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// The total length in bytes. A pair is out of date if its symbols' lengths have changed.
    length: usize,
}

impl Ord for Pair {
    /// Orders pairs by score, and the leftmost first if scores are equal.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

/// A stretch of text that is one piece so far.
struct Symbol {
    range: Range<usize>,
    previous: Option<usize>,
    next: Option<usize>,
    /// `true` for a user-defined piece, which does not merge.
    frozen: bool,
}

/// BPE: adjacent symbols whose union has the best score merge, until no union is a piece. Source: `bpe_model.cc` of
/// SentencePiece.
pub(super) struct Merging<'a> {
    pieces: &'a SentencePiece,
    text: &'a str,
    budget: &'a Budget,
    symbols: Vec<Symbol>,
    agenda: BinaryHeap<Pair>,
    /// The parts of unused pieces, so that they can be split again.
    unused: HashMap<&'a str, usize>,
}

impl<'a> Merging<'a> {
    /// Splits a normalised text into pieces.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`](crate::TextError::WorkLimit).
    pub(super) fn pieces(pieces: &'a SentencePiece, text: &'a str, budget: &'a Budget) -> Result<Vec<Piece>> {
        let (agenda, unused) = (BinaryHeap::new(), HashMap::new());
        let mut this = Self { pieces, text, budget, symbols: Vec::new(), agenda, unused };
        let mut out = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let end = start + pieces.stretch(&text[start..]);
            this.merge_stretch(start..end, &mut out)?;
            start = end;
        }
        Ok(out)
    }

    /// Appends the pieces of a stretch whose ends nothing merges across.
    fn merge_stretch(&mut self, range: Range<usize>, out: &mut Vec<Piece>) -> Result<()> {
        self.symbols.clear();
        self.cut(range)?;
        for right in 1..self.symbols.len() {
            self.offer(right - 1, right)?;
        }
        while let Some(pair) = self.agenda.pop() {
            self.merge(&pair)?;
        }
        let mut at = (!self.symbols.is_empty()).then_some(0);
        while let Some(symbol) = at {
            self.resegment(self.symbols[symbol].range.clone(), out);
            at = self.symbols[symbol].next;
        }
        Ok(())
    }

    /// Splits a stretch into characters and user-defined pieces.
    fn cut(&mut self, range: Range<usize>) -> Result<()> {
        let mut start = range.start;
        while let Some(c) = self.text[start..range.end].chars().next() {
            let mut whole = None;
            let scanned =
                self.pieces.user_defined.walk(&self.text.as_bytes()[start..], |length, _| whole = Some(length));
            self.budget.charge(scanned as u64)?;
            let length = whole.unwrap_or(c.len_utf8());
            let at = self.symbols.len();
            if let Some(last) = self.symbols.last_mut() {
                last.next = Some(at);
            }
            self.symbols.push(Symbol {
                range: start..start + length,
                previous: at.checked_sub(1),
                next: None,
                frozen: whole.is_some(),
            });
            start += length;
        }
        Ok(())
    }

    /// Queues two adjacent symbols if their union is a piece.
    fn offer(&mut self, left: usize, right: usize) -> Result<()> {
        let (a, b) = (&self.symbols[left], &self.symbols[right]);
        if a.frozen || b.frozen {
            return Ok(());
        }
        let text: &'a str = self.text;
        let (range, middle) = (a.range.start..b.range.end, a.range.end);
        self.budget.charge(range.len() as u64)?;
        let Some(id) = self.pieces.mergeable(&text[range.clone()]) else { return Ok(()) };
        if self.pieces.vocabulary.get(id).is_some_and(|token| token.kind == TokenKind::Unused) {
            self.unused.insert(&text[range.clone()], middle - range.start);
        }
        // Adding 0 makes -0 equal to 0 in the ordering.
        let score = self.pieces.score(id) + 0.0;
        self.agenda.push(Pair { score, left, right, length: range.len() });
        Ok(())
    }

    /// Merges two symbols, unless one of them has merged already.
    fn merge(&mut self, pair: &Pair) -> Result<()> {
        let (left, right) = (self.symbols[pair.left].range.clone(), self.symbols[pair.right].range.clone());
        if left.is_empty() || right.is_empty() || left.len() + right.len() != pair.length {
            return Ok(());
        }
        let after = self.symbols[pair.right].next;
        self.symbols[pair.left].range.end = right.end;
        self.symbols[pair.left].next = after;
        self.symbols[pair.right].range.end = right.start;
        if let Some(after) = after {
            self.symbols[after].previous = Some(pair.left);
            self.offer(pair.left, after)?;
        }
        if let Some(before) = self.symbols[pair.left].previous {
            self.offer(before, pair.left)?;
        }
        Ok(())
    }

    /// Appends a piece. An unused piece is appended as its parts.
    fn resegment(&self, range: Range<usize>, out: &mut Vec<Piece>) {
        let mut open = vec![range];
        while let Some(range) = open.pop() {
            let text = &self.text[range.clone()];
            let id = self.pieces.mergeable(text);
            let used = id.is_none_or(|id| self.pieces.vocabulary.get(id).is_some_and(|t| t.kind != TokenKind::Unused));
            match self.unused.get(text).filter(|_| !used) {
                Some(&length) => {
                    open.push(range.start + length..range.end);
                    open.push(range.start..range.start + length);
                }
                None => out.push((range, id)),
            }
        }
    }
}

/// The cost of an unknown character below the worst piece's score.
const UNKNOWN_PENALTY: f32 = 10.0;

/// The best path to a position in the text.
#[derive(Clone, Copy)]
struct Best {
    start: Option<usize>,
    id: Option<u32>,
    score: f32,
}

/// Splits a normalised text into the pieces with the highest sum of scores. Source: `unigram_model.cc` of SentencePiece
/// (`EncodeOptimized`), including its mix of single and double precision.
///
/// # Errors
/// [`TextError::WorkLimit`](crate::TextError::WorkLimit).
pub(super) fn best_path(pieces: &SentencePiece, text: &str, budget: &Budget) -> Result<Vec<Piece>> {
    let unknown_score = pieces.lowest - UNKNOWN_PENALTY;
    let mut best = vec![Best { start: None, id: None, score: 0.0 }; text.len() + 1];
    for (start, c) in text.char_indices() {
        let so_far = best[start].score;
        let mut offer = |end: usize, id: Option<u32>, score: f64| {
            let target = &mut best[end];
            if target.start.is_none() || score > f64::from(target.score) {
                *target = Best { start: Some(start), id, score: single(score) };
            }
        };
        let mut alone = false;
        let scanned = pieces.trie.walk(&text.as_bytes()[start..], |length, id| {
            let score = match pieces.vocabulary.get(id).map(|token| token.kind) {
                Some(TokenKind::Unused) | None => return,
                // This is better than any other pieces for the same text.
                Some(TokenKind::UserDefined) => f64::from(length as f32 * pieces.highest) - 0.1,
                Some(_) => f64::from(pieces.score(id)),
            };
            offer(start + length, Some(id), score + f64::from(so_far));
            alone |= length == c.len_utf8();
        });
        budget.charge(scanned as u64)?;
        if !alone {
            offer(start + c.len_utf8(), None, f64::from(unknown_score + so_far));
        }
    }
    let mut out = Vec::new();
    let mut end = text.len();
    while let Some(start) = best[end].start.filter(|_| end > 0) {
        out.push((start..end, best[end].id));
        end = start;
    }
    out.reverse();
    Ok(out)
}

/// Rounds as the reference does.
#[allow(clippy::cast_possible_truncation, reason = "rounding to single precision is what the reference does")]
fn single(score: f64) -> f32 {
    score as f32
}
