//! SentencePiece's normalisation. Source: `normalizer.cc` of SentencePiece.

use super::charsmap::Charsmap;
use crate::budget::Budget;
use crate::error::Result;
use crate::trie::Trie;
use crate::vocabulary::SPACE;

/// A model's `normalizer_spec`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Normalizer {
    /// The character replacements, if any.
    pub charsmap: Option<Charsmap>,
    /// `true` if a space is prepended to the text.
    pub add_dummy_prefix: bool,
    /// `true` if leading and trailing spaces are removed, and runs of spaces become one.
    pub remove_extra_whitespaces: bool,
    /// `true` if spaces become `▁`.
    pub escape_whitespaces: bool,
}

impl Normalizer {
    /// Normalises a text. The keys of `verbatim`, which are user-defined pieces, are not changed.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`](crate::TextError::WorkLimit).
    pub(crate) fn normalize(&self, text: &str, verbatim: &Trie, budget: &Budget) -> Result<String> {
        let mut rest = text;
        if self.remove_extra_whitespaces {
            while let Some((" ", length)) = self.next(rest, verbatim, budget)? {
                rest = rest.get(length..).unwrap_or_default();
            }
        }
        let mut out = String::with_capacity(rest.len() + rest.len() / 2);
        if rest.is_empty() {
            return Ok(out);
        }
        if self.add_dummy_prefix {
            out.push(self.space());
        }
        let mut after_space = self.remove_extra_whitespaces;
        while let Some((mut part, length)) = self.next(rest, verbatim, budget)? {
            if after_space {
                part = part.trim_start_matches(' ');
            }
            out.extend(part.chars().map(|c| if c == ' ' { self.space() } else { c }));
            if !part.is_empty() {
                after_space = self.remove_extra_whitespaces && part.ends_with(' ');
            }
            rest = rest.get(length..).unwrap_or_default();
        }
        if self.remove_extra_whitespaces {
            out.truncate(out.trim_end_matches(self.space()).len());
        }
        Ok(out)
    }

    /// Returns the character that represents a space.
    fn space(&self) -> char {
        if self.escape_whitespaces { SPACE } else { ' ' }
    }

    /// Normalises the start of a text. Returns the result and the number of bytes consumed, or `None` at the end.
    fn next<'a>(&'a self, text: &'a str, verbatim: &Trie, budget: &Budget) -> Result<Option<(&'a str, usize)>> {
        let Some(first) = text.chars().next().map(char::len_utf8) else { return Ok(None) };
        let mut piece = None;
        let scanned = verbatim.walk(text.as_bytes(), |length, _| piece = Some(length));
        budget.charge(scanned as u64)?;
        if let Some(length) = piece {
            return Ok(text.get(..length).map(|piece| (piece, length)));
        }
        let Some(map) = &self.charsmap else { return Ok(text.get(..first).map(|c| (c, first))) };
        let (found, scanned) = map.longest(text.as_bytes());
        let found = match found {
            // A map that splits a character is invalid.
            Some((length, replacement)) if text.is_char_boundary(length) => Some((replacement, length)),
            _ => text.get(..first).map(|c| (c, first)),
        };
        budget.charge_each(scanned + found.map_or(0, |(replacement, _)| replacement.len()), 4)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalizer(add_dummy_prefix: bool, remove_extra_whitespaces: bool) -> Normalizer {
        Normalizer { charsmap: None, add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces: true }
    }

    fn normalized(normalizer: &Normalizer, text: &str, verbatim: &Trie) -> String {
        normalizer.normalize(text, verbatim, &Budget::new(1000)).expect("short")
    }

    #[test]
    fn spaces_are_made_visible_and_spare_ones_removed() {
        let none = Trie::new([]);
        let with = |prefix, remove, text: &str| normalized(&normalizer(prefix, remove), text, &none);
        assert_eq!(with(true, false, " a  b "), "▁▁a▁▁b▁");
        assert_eq!(with(true, true, "  a  b  "), "▁a▁b");
        assert_eq!(with(false, true, "  a  b  "), "a▁b");
        assert_eq!(with(true, true, "   "), "");
        assert_eq!(with(true, false, ""), "");
        assert_eq!(normalized(&Normalizer::default(), "a b", &none), "a b");
    }

    #[test]
    fn user_defined_pieces_stay_as_they_are() {
        let verbatim = Trie::new([(&b"  <x> "[..], 0)]);
        assert_eq!(normalized(&normalizer(false, true), "a  <x>  b", &verbatim), "a▁▁<x>▁b");
    }
}
