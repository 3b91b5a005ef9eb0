//! Matching of added and special tokens, before the text between them is encoded.

use std::collections::HashSet;
use std::ops::Range;

use crate::added::Added;
use crate::budget::Budget;
use crate::error::{Result, TextError};
use crate::pattern::is_word;
use crate::trie::Trie;
use crate::vocabulary::Vocabulary;

/// The parts of a text where special tokens are recognised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Specials<'a> {
    /// `true` if special tokens are recognised at all.
    parse: bool,
    /// The ranges where special tokens are not recognised, sorted and not empty.
    pub outside: &'a [Range<usize>],
}

impl<'a> Specials<'a> {
    /// Recognises special tokens outside of some ranges if `parse` is set, and nowhere otherwise.
    pub(crate) fn new(parse: bool, outside: &'a [Range<usize>]) -> Self {
        Self { parse, outside }
    }

    /// Returns the same setting with other ranges.
    pub(crate) fn with_outside<'b>(&self, outside: &'b [Range<usize>]) -> Specials<'b> {
        Specials { parse: self.parse, outside }
    }

    /// Returns `true` if a special token may be recognised at `range`.
    fn allowed(&self, range: &Range<usize>) -> bool {
        let at = self.outside.partition_point(|outside| outside.end <= range.start);
        self.parse && self.outside.get(at).is_none_or(|outside| outside.start >= range.end)
    }
}

/// Returns the parts of the ranges inside `within`, relative to its start.
pub(crate) fn inside(ranges: &[Range<usize>], within: &Range<usize>) -> Vec<Range<usize>> {
    let from = ranges.partition_point(|range| range.end <= within.start);
    let overlapping = ranges.iter().skip(from).take_while(|range| range.start < within.end);
    let clipped =
        |range: &Range<usize>| range.start.max(within.start) - within.start..range.end.min(within.end) - within.start;
    overlapping.map(clipped).collect()
}

/// The treatment of the longest match if it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The matched text is plain text, as in the `tokenizers` library.
    IsText,
    /// The token is ignored, as in llama.cpp.
    IsAbsent,
}

/// The added tokens, which are recognised in any text, and the special tokens, which are recognised on request.
pub(crate) struct Matcher {
    tokens: Vec<Added>,
    ids: HashSet<u32>,
    /// The indices of the tokens by their text.
    trie: Trie,
    /// `true` for each byte that a token begins with.
    begins: Box<[bool; 256]>,
    refused: Refused,
}

/// A match.
pub(crate) struct Found {
    /// The text before the token.
    pub before: Range<usize>,
    pub token: u32,
    /// The byte index after the match.
    pub after: usize,
}

impl Matcher {
    /// Combines `added` with the special tokens of the vocabulary.
    ///
    /// # Errors
    /// [`TextError::IdOutOfRange`].
    pub(crate) fn new(vocabulary: &Vocabulary, added: Vec<Added>) -> Result<Self> {
        let len = vocabulary.len();
        if let Some(token) = added.iter().find(|token| token.id as usize >= len) {
            return Err(TextError::IdOutOfRange {
                field: format!("token {:?}", token.content),
                id: token.id.into(),
                len,
            });
        }
        let ids: HashSet<u32> = added.iter().map(|token| token.id).collect();
        let special = vocabulary.iter().filter(|(id, token)| token.kind.is_special() && !ids.contains(id));
        let special =
            special.map(|(id, token)| Added { id, content: token.text.clone(), special: true, ..Added::default() });
        let tokens = added.iter().cloned().chain(special).map(|token| (token.content.clone(), token)).collect();
        Ok(Self { ids, ..Self::for_texts(tokens, Refused::IsAbsent) })
    }

    /// Makes a matcher of tokens by the text to search for. The first of equal texts counts.
    pub(crate) fn for_texts(tokens: Vec<(String, Added)>, refused: Refused) -> Self {
        let trie = Trie::new((0u32..).zip(&tokens).map(|(at, (text, _))| (text.as_bytes(), at)));
        let mut begins = Box::new([false; 256]);
        tokens.iter().filter_map(|(text, _)| text.bytes().next()).for_each(|byte| begins[usize::from(byte)] = true);
        let tokens = tokens.into_iter().map(|(_, token)| token).collect();
        Self { tokens, ids: HashSet::new(), trie, begins, refused }
    }

    /// Returns `true` if a token is among the added ones.
    pub(crate) fn contains(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// Returns the tokens.
    pub(crate) fn tokens(&self) -> &[Added] {
        &self.tokens
    }

    /// Finds the first match from `start` on. The longest token at a position wins.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`].
    pub(crate) fn next(
        &self,
        text: &str,
        start: usize,
        specials: &Specials<'_>,
        budget: &Budget,
    ) -> Result<Option<Found>> {
        if self.trie.is_empty() {
            return Ok(None);
        }
        let bytes = text.as_bytes();
        let mut at = start;
        while let Some(&byte) = bytes.get(at) {
            let mut passed = 1;
            if self.begins[usize::from(byte)] {
                let (found, scanned) = self.longest(&bytes[at..], at, specials);
                budget.charge(scanned as u64)?;
                if let Some((length, token)) = found {
                    if (self.refused == Refused::IsAbsent || self.allowed(token, at..at + length, specials))
                        && !(token.single_word && inside_a_word(&text[start..at], &text[at + length..]))
                    {
                        let (before, after) = (&text[start..at], &text[at + length..]);
                        let before = if token.lstrip { before.trim_end() } else { before };
                        let after = if token.rstrip { after.trim_start() } else { after };
                        budget.charge((at - start) as u64)?;
                        let before = start..start + before.len();
                        return Ok(Some(Found { before, token: token.id, after: text.len() - after.len() }));
                    }
                    if self.refused == Refused::IsText {
                        passed = length;
                    }
                }
            }
            at += passed;
            while !text.is_char_boundary(at) {
                at += 1;
            }
        }
        budget.charge((text.len() - start) as u64)?;
        Ok(None)
    }

    /// Returns the longest token that is a prefix of `bytes`, its length, and the number of bytes that were read. With
    /// [`Refused::IsAbsent`], refused tokens are skipped.
    fn longest(&self, bytes: &[u8], at: usize, specials: &Specials<'_>) -> (Option<(usize, &Added)>, usize) {
        let mut longest = None;
        let scanned = self.trie.walk(bytes, |length, index| {
            let token = self.tokens.get(index as usize);
            let there =
                |token: &&Added| self.refused == Refused::IsText || self.allowed(token, at..at + length, specials);
            if let Some(token) = token.filter(there) {
                longest = Some((length, token));
            }
        });
        (longest, scanned)
    }

    /// Returns `true` if a token may be matched at `range`.
    fn allowed(&self, token: &Added, range: Range<usize>, specials: &Specials<'_>) -> bool {
        !token.special || specials.allowed(&range)
    }
}

/// Returns `true` if a letter or digit is adjacent.
fn inside_a_word(before: &str, after: &str) -> bool {
    let beside = [before.chars().next_back(), after.chars().next()];
    beside.into_iter().flatten().any(is_word)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]
mod tests {
    use super::*;
    use crate::vocabulary::TokenKind;

    fn matcher(change: impl FnOnce(&mut Vec<Added>)) -> Matcher {
        let texts = ["<s>", "a", "<x>", "<x><x>"];
        let kind = |id| if id == 0 { TokenKind::Control } else { TokenKind::Normal };
        let claims = (0u32..).zip(texts).map(|(id, text)| (text.to_owned(), id, kind(id))).collect();
        let vocabulary = Vocabulary::from_claims(claims).unwrap();
        let token = |id, content: &str| Added { id, content: content.to_owned(), ..Added::default() };
        let mut added = vec![token(2, "<x>"), token(3, "<x><x>")];
        change(&mut added);
        Matcher::new(&vocabulary, added).unwrap()
    }

    /// Returns the ids, and the texts between them.
    fn cut(matcher: &Matcher, text: &str, parse_special: bool) -> String {
        cut_outside(matcher, text, &Specials::new(parse_special, &[]))
    }

    fn cut_outside(matcher: &Matcher, text: &str, specials: &Specials<'_>) -> String {
        let (mut out, mut start) = (String::new(), 0);
        let budget = Budget::new(1 << 20);
        while let Some(found) = matcher.next(text, start, specials, &budget).unwrap() {
            out.push_str(&format!("{}[{}]", &text[found.before], found.token));
            start = found.after;
        }
        out + &text[start..]
    }

    #[test]
    fn the_longest_token_counts_and_special_ones_only_where_asked_for() {
        let matcher = matcher(|_| {});
        assert_eq!(cut(&matcher, "a<x><x><x> é<s>", false), "a[3][2] é<s>");
        assert_eq!(cut(&matcher, "<s>a<x", true), "[0]a<x");
    }

    #[test]
    fn special_tokens_that_overlap_text_from_outside_are_not_found() {
        let matcher = matcher(|_| {});
        let cut = |outside: &[Range<usize>]| cut_outside(&matcher, "<s><x><s>", &Specials::new(true, outside));
        assert_eq!(cut(&[]), "[0][2][0]");
        assert_eq!(cut(&[0..9]), "<s>[2]<s>");
        for outside in [0..1, 1..2, 2..3, 2..6] {
            assert_eq!(cut(std::slice::from_ref(&outside)), "<s>[2][0]", "{outside:?}");
        }
        assert_eq!(cut(&[3..6]), "[0][2][0]");
        assert_eq!(cut(&[2..3, 8..9]), "<s>[2]<s>");
    }

    #[test]
    fn refused_tokens_hide_others_only_where_they_are_text() {
        let token = |id, content: &str, special| Added { id, content: content.to_owned(), special, ..Added::default() };
        let tokens = || {
            let tokens = [token(0, "<a>b", true), token(1, "<a>", false)];
            tokens.map(|token| (token.content.clone(), token)).to_vec()
        };
        assert_eq!(cut(&Matcher::for_texts(tokens(), Refused::IsText), "<a>b<a>", false), "<a>b[1]");
        assert_eq!(cut(&Matcher::for_texts(tokens(), Refused::IsAbsent), "<a>b<a>", false), "[1]b[1]");
    }

    #[test]
    fn tokens_take_white_space_along() {
        let matcher = matcher(|added| (added[0].lstrip, added[0].rstrip) = (true, true));
        assert_eq!(cut(&matcher, "a  <x> \n b", false), "a[2]b");
    }

    #[test]
    fn a_single_word_is_not_found_inside_another() {
        let matcher = matcher(|added| added[0].single_word = true);
        assert_eq!(cut(&matcher, "a<x> <x> <x>é <x>", false), "a<x> [2] <x>é [2]");
    }

    #[test]
    fn a_token_as_long_as_the_text_uses_up_the_budget_rather_than_time() {
        let long = "a".repeat(100_001);
        let matcher = matcher(|added| added[0].content = long.clone());
        let found = matcher.next(&long[1..], 0, &Specials::new(false, &[]), &Budget::new(1 << 20));
        assert_eq!(found.err().unwrap().code(), "text-work-limit");
    }
}
