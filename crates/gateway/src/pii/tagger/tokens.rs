//! Words and punctuation marks, the units of the tagger.

use std::ops::Range;

/// The white space before a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// None.
    None,
    /// Spaces.
    Space,
    /// At least one line break.
    Line,
    /// At least two line breaks, or the start of the text.
    Paragraph,
}

/// A word (letters, digits and the apostrophes between them) or a single other character.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
    /// The white space before the token.
    pub gap: Gap,
}

/// The most tokens that are tagged together.
pub(crate) const MOST: usize = 256;
/// The number of tokens from which on a sequence ends at the next paragraph, or at the end of a sentence twice as far.
const ENOUGH: usize = 64;

/// Splits a text into tokens, without the `>` in front of quoted lines. The genitive `'s` is a token of its own.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::with_capacity(text.len() / 4);
    let (mut lines, mut spaces) = (2, 0);
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if c == '\n' {
            lines += 1;
            continue;
        }
        // A mark of quoted mail is indentation.
        if c.is_whitespace() || c == '>' && lines > 0 {
            spaces += 1;
            continue;
        }
        let gap = match (lines, spaces) {
            (0, 0) => Gap::None,
            (0, _) => Gap::Space,
            (1, _) => Gap::Line,
            _ => Gap::Paragraph,
        };
        (lines, spaces) = (0, 0);
        let mut end = start + c.len_utf8();
        if is_word(c) {
            while let Some(&(at, c)) = chars.peek() {
                let apostrophe = matches!(c, '\'' | '\u{2019}') && inside(&text[at + c.len_utf8()..]);
                if !is_word(c) && !apostrophe {
                    break;
                }
                end = at + c.len_utf8();
                chars.next();
            }
        } else if matches!(c, '\'' | '\u{2019}') && genitive(&text[end..]) && gap == Gap::None {
            chars.next();
            end += 1;
        }
        out.push(Token { start, end, gap });
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '\u{300}'..='\u{36f}')
}

/// Tells if an apostrophe before `rest` is part of a word: `O'Brien`, but not `Ann's` or `students' `.
fn inside(rest: &str) -> bool {
    rest.chars().next().is_some_and(char::is_alphabetic) && !genitive(rest)
}

fn genitive(rest: &str) -> bool {
    rest.starts_with(['s', 'S']) && !rest[1..].chars().next().is_some_and(is_word)
}

/// Cuts tokens into the sequences that are tagged together.
pub(crate) fn sequences(text: &str, tokens: &[Token]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = 0;
    for (i, token) in tokens.iter().enumerate() {
        let length = i - start;
        let sentence = || i > 0 && matches!(text.as_bytes()[tokens[i - 1].start], b'.' | b'!' | b'?');
        let ends = match token.gap {
            Gap::Paragraph => length >= ENOUGH,
            Gap::Line => length >= 2 * ENOUGH,
            Gap::Space => length >= 2 * ENOUGH && sentence(),
            Gap::None => false,
        };
        if ends || length >= MOST {
            out.push(start..i);
            start = i;
        }
    }
    if start < tokens.len() {
        out.push(start..tokens.len());
    }
    out
}
