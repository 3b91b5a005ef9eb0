//! The text that recognisers see: invisible characters removed, compatibility forms folded, escapes decoded, with the way
//! back to the original.

use std::borrow::Cow;

use unicode_normalization_alignments::UnicodeNormalization;

/// A text as recognisers see it.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The text.
    pub text: Cow<'a, str>,
    parts: Vec<Part>,
}

/// A stretch of the view and the bytes that it stands for.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: usize,
    source: usize,
    source_end: usize,
    /// Both have the same bytes.
    same: bool,
}

impl<'a> View<'a> {
    /// Folds a text. Most texts are their own view.
    pub fn new(source: &'a str) -> Self {
        let bytes = source.as_bytes();
        let quoted = bytes.contains(&b'"') && bytes.contains(&b'\\');
        let coded = |w: &[u8]| matches!(w, b"%40" | b"%20" | b"%2B" | b"%2b" | b"%2D" | b"%2d");
        let encoded = bytes.contains(&b'%') && bytes.windows(3).any(coded);
        // The first bytes of all characters that may change.
        let changes = |b: &u8| match b {
            0xc2 | 0xe2 | 0xe3 | 0xef | 0xf0 => true,
            b'\\' => quoted,
            b'%' => encoded,
            _ => false,
        };
        let Some(first) = bytes.iter().position(changes) else {
            return Self { text: Cow::Borrowed(source), parts: Vec::new() };
        };
        let mut out = Builder { text: String::with_capacity(source.len()), parts: Vec::new() };
        out.kept(0, &source[..first]);
        let mut at = first;
        while let Some(c) = source[at..].chars().next() {
            let rest = &source[at..];
            let escape = match c {
                '\\' if quoted => unescape(rest),
                '%' if encoded => percent(rest),
                _ => None,
            };
            if let Some((decoded, length)) = escape {
                out.replaced(at, length, decoded.into_iter());
                at += length;
                continue;
            }
            let length = c.len_utf8();
            match c {
                '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' | '\u{202a}'..='\u{202e}' => {
                    out.replaced(at, length, std::iter::empty());
                }
                '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => {
                    out.replaced(at, length, std::iter::once(' '));
                }
                '\u{2010}'..='\u{2015}' | '\u{2212}' => out.replaced(at, length, std::iter::once('-')),
                '\u{b2}'
                | '\u{b3}'
                | '\u{b9}'
                | '\u{2070}'..='\u{209f}'
                | '\u{2460}'..='\u{24ff}'
                | '\u{fb00}'..='\u{fb06}'
                | '\u{ff00}'..='\u{ffef}'
                | '\u{1d400}'..='\u{1d7ff}' => {
                    out.replaced(at, length, std::iter::once(c).nfkc().map(|(c, _)| c));
                }
                _ => {
                    let next = bytes[at + length..].iter().position(changes).unwrap_or(rest.len() - length);
                    out.kept(at, &rest[..length + next]);
                    at += next;
                }
            }
            at += length;
        }
        Self { text: Cow::Owned(out.text), parts: out.parts }
    }

    /// Returns the bytes of the source that a range of the view stands for.
    pub fn source(&self, start: usize, end: usize) -> (usize, usize) {
        if self.parts.is_empty() {
            return (start, end);
        }
        let part = |at: usize| self.parts[self.parts.partition_point(|p| p.start <= at).saturating_sub(1)];
        let (first, last) = (part(start), part(end.saturating_sub(1).max(start)));
        let begin = if first.same { first.source + (start - first.start) } else { first.source };
        let finish = if last.same { last.source + (end - last.start) } else { last.source_end };
        (begin, finish)
    }
}

struct Builder {
    text: String,
    parts: Vec<Part>,
}

impl Builder {
    fn kept(&mut self, at: usize, text: &str) {
        if let Some(last) = self.parts.last_mut().filter(|p| p.same && p.source_end == at) {
            last.source_end += text.len();
        } else if !text.is_empty() {
            self.parts.push(Part { start: self.text.len(), source: at, source_end: at + text.len(), same: true });
        }
        self.text.push_str(text);
    }

    fn replaced(&mut self, at: usize, length: usize, by: impl Iterator<Item = char>) {
        let start = self.text.len();
        self.text.extend(by);
        if self.text.len() > start {
            self.parts.push(Part { start, source: at, source_end: at + length, same: false });
        }
    }
}

/// Decodes the JSON escape at the start of `rest`, at any depth of nesting, and returns it with its length.
fn unescape(rest: &str) -> Option<(Vec<char>, usize)> {
    let depth = rest.bytes().take_while(|b| *b == b'\\').count();
    let code = |at: usize| u32::from_str_radix(rest.get(at..at + 4)?, 16).ok();
    let one = |c| Some((vec![c], depth + 1));
    match rest.as_bytes().get(depth)? {
        b'n' => one('\n'),
        b'r' => one('\r'),
        b't' => one('\t'),
        b'"' => one('"'),
        b'/' => one('/'),
        b'u' => {
            let first = code(depth + 1)?;
            if let Some(c) = char::from_u32(first) {
                let invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{ad}');
                return Some((if invisible { vec![] } else { vec![c] }, depth + 5));
            }
            let next = depth + 5;
            let slashes = rest[next..].bytes().take_while(|b| *b == b'\\').count();
            (slashes > 0 && rest.as_bytes().get(next + slashes) == Some(&b'u')).then_some(())?;
            let second = code(next + slashes + 1)?;
            let c = char::decode_utf16([first as u16, u16::try_from(second).ok()?]).next()?.ok()?;
            Some((vec![c], next + slashes + 5))
        }
        _ => None,
    }
}

/// Decodes the percent encoding of a visible ASCII character or a space.
fn percent(rest: &str) -> Option<(Vec<char>, usize)> {
    let code = u8::from_str_radix(rest.get(1..3)?, 16).ok()?;
    (code == b' ' || code.is_ascii_graphic()).then(|| (vec![char::from(code)], 3))
}
