//! What SentencePiece does to a text before it looks for pieces. Source: `normalizer.cc` of SentencePiece.

use super::charsmap::Charsmap;
use crate::trie::Trie;
use crate::vocabulary::SPACE;

/// A model's `normalizer_spec`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Normalizer {
    /// Characters that become others; `None`: all stay.
    pub charsmap: Option<Charsmap>,
    /// Whether a space is put before the text.
    pub add_dummy_prefix: bool,
    /// Whether spaces at both ends go, and of several in a row all but one.
    pub remove_extra_whitespaces: bool,
    /// Whether spaces become `▁`.
    pub escape_whitespaces: bool,
}

impl Normalizer {
    /// The normalised text; what `verbatim` knows (user-defined pieces) stays as it is.
    pub(crate) fn normalize(&self, text: &str, verbatim: &Trie) -> String {
        let mut rest = text;
        if self.remove_extra_whitespaces {
            while let Some((" ", length)) = self.next(rest, verbatim) {
                rest = rest.get(length..).unwrap_or_default();
            }
        }
        let mut out = String::with_capacity(rest.len() + rest.len() / 2);
        if rest.is_empty() {
            return out;
        }
        if self.add_dummy_prefix {
            out.push(self.space());
        }
        let mut after_space = self.remove_extra_whitespaces;
        while let Some((mut part, length)) = self.next(rest, verbatim) {
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
        out
    }

    /// What stands for a space.
    fn space(&self) -> char {
        if self.escape_whitespaces { SPACE } else { ' ' }
    }

    /// What the beginning of a text becomes, and how many of its bytes that is; `None` at the end.
    fn next<'a>(&'a self, text: &'a str, verbatim: &Trie) -> Option<(&'a str, usize)> {
        let first = text.chars().next()?.len_utf8();
        if let Some((length, _)) = verbatim.longest(text.as_bytes()) {
            return Some((text.get(..length)?, length));
        }
        match self.charsmap.as_ref().and_then(|map| map.longest(text.as_bytes())) {
            // A map that cut a character in two would be broken.
            Some((length, replacement)) if text.is_char_boundary(length) => Some((replacement, length)),
            _ => Some((text.get(..first)?, first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalizer(add_dummy_prefix: bool, remove_extra_whitespaces: bool) -> Normalizer {
        Normalizer { charsmap: None, add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces: true }
    }

    #[test]
    fn spaces_are_made_visible_and_spare_ones_removed() {
        let none = Trie::new([]);
        assert_eq!(normalizer(true, false).normalize(" a  b ", &none), "▁▁a▁▁b▁");
        assert_eq!(normalizer(true, true).normalize("  a  b  ", &none), "▁a▁b");
        assert_eq!(normalizer(false, true).normalize("  a  b  ", &none), "a▁b");
        assert_eq!(normalizer(true, true).normalize("   ", &none), "");
        assert_eq!(normalizer(true, false).normalize("", &none), "");
        assert_eq!(Normalizer::default().normalize("a b", &none), "a b");
    }

    #[test]
    fn user_defined_pieces_stay_as_they_are() {
        let verbatim = Trie::new([(&b"  <x> "[..], 0)]);
        assert_eq!(normalizer(false, true).normalize("a  <x>  b", &verbatim), "a▁▁<x>▁b");
    }
}
