//! Tokens that text is cut at before anything else.

use std::collections::HashSet;
use std::ops::Range;

use crate::added::Added;
use crate::error::{Result, TextError};
use crate::trie::Trie;
use crate::vocabulary::Vocabulary;

/// The added tokens, found in any text, and the special ones, found where they are asked for.
pub(super) struct Wholes {
    tokens: Vec<Added>,
    ids: HashSet<u32>,
    /// Indices of the tokens that are found in any text.
    always: Trie,
    /// Indices of all tokens.
    all: Trie,
}

/// A token in a text.
pub(super) struct Found {
    /// The text before it.
    pub before: Range<usize>,
    pub token: u32,
    /// Where the text goes on.
    pub after: usize,
}

impl Wholes {
    /// `added`, and the special tokens of the vocabulary.
    ///
    /// # Errors
    /// [`TextError::IdOutOfRange`].
    pub(super) fn new(vocabulary: &Vocabulary, added: Vec<Added>) -> Result<Self> {
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
        let tokens: Vec<Added> = added.into_iter().chain(special).collect();
        let keys = || (0u32..).zip(&tokens).map(|(at, token)| (token.content.as_bytes(), at));
        let special = |at: u32| tokens.get(at as usize).is_some_and(|token| token.special);
        let always = Trie::new(keys().filter(|&(_, at)| !special(at)));
        Ok(Self { always, all: Trie::new(keys()), ids, tokens })
    }

    /// Whether a token is among the added ones.
    pub(super) fn contains(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// The first token from `start` on, the longest that begins there.
    pub(super) fn next(&self, text: &str, start: usize, parse_special: bool) -> Option<Found> {
        let trie = if parse_special { &self.all } else { &self.always };
        if trie.is_empty() {
            return None;
        }
        let rest = text.get(start..)?;
        rest.char_indices().find_map(|(at, _)| {
            let (length, index) = trie.longest(&rest.as_bytes()[at..])?;
            let token = self.tokens.get(index as usize)?;
            let (before, after) = (&rest[..at], &rest[at + length..]);
            if token.single_word && inside_a_word(before, after) {
                return None;
            }
            let before = if token.lstrip { before.trim_end() } else { before };
            let after = if token.rstrip { after.trim_start() } else { after };
            Some(Found { before: start..start + before.len(), token: token.id, after: text.len() - after.len() })
        })
    }
}

/// Whether a letter or digit is beside it.
fn inside_a_word(before: &str, after: &str) -> bool {
    let beside = [before.chars().next_back(), after.chars().next()];
    beside.into_iter().flatten().any(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;
    use crate::vocabulary::TokenKind;

    fn wholes(change: impl FnOnce(&mut Vec<Added>)) -> Wholes {
        let texts = ["<s>", "a", "<x>", "<x><x>"];
        let kind = |id| if id == 0 { TokenKind::Control } else { TokenKind::Normal };
        let claims = (0u32..).zip(texts).map(|(id, text)| (text.to_owned(), id, kind(id))).collect();
        let vocabulary = Vocabulary::from_claims(claims).unwrap();
        let token = |id, content: &str| Added { id, content: content.to_owned(), ..Added::default() };
        let mut added = vec![token(2, "<x>"), token(3, "<x><x>")];
        change(&mut added);
        Wholes::new(&vocabulary, added).unwrap()
    }

    /// The ids and the texts between them.
    fn cut(wholes: &Wholes, text: &str, parse_special: bool) -> String {
        let (mut out, mut start) = (String::new(), 0);
        while let Some(found) = wholes.next(text, start, parse_special) {
            out.push_str(&format!("{}[{}]", &text[found.before], found.token));
            start = found.after;
        }
        out + &text[start..]
    }

    #[test]
    fn the_longest_token_counts_and_special_ones_only_where_asked_for() {
        let wholes = wholes(|_| {});
        assert_eq!(cut(&wholes, "a<x><x><x> é<s>", false), "a[3][2] é<s>");
        assert_eq!(cut(&wholes, "<s>a<x", true), "[0]a<x");
    }

    #[test]
    fn tokens_take_white_space_along() {
        let wholes = wholes(|added| (added[0].lstrip, added[0].rstrip) = (true, true));
        assert_eq!(cut(&wholes, "a  <x> \n b", false), "a[2]b");
    }

    #[test]
    fn a_single_word_is_not_found_inside_another() {
        let wholes = wholes(|added| added[0].single_word = true);
        assert_eq!(cut(&wholes, "a<x> <x> <x>é <x>", false), "a<x> [2] <x>é [2]");
    }
}
