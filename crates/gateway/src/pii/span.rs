//! Spans of private data.

use std::collections::BTreeMap;

use super::Kind;

/// A piece of private data in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
    /// The kind.
    pub kind: Kind,
    /// The certainty, from 0 to 1.
    pub score: f32,
}

/// Returns the spans of a text with their positions in characters instead of bytes.
#[must_use]
pub fn in_characters(text: &str, spans: &[Span]) -> Vec<Span> {
    let (mut byte, mut character) = (0, 0);
    let mut to = |at: usize| {
        character += text.get(byte..at).map_or(0, |part| part.chars().count());
        byte = at;
        character
    };
    spans.iter().map(|span| Span { start: to(span.start), end: to(span.end), ..*span }).collect()
}

/// Counts the spans of each kind.
#[must_use]
pub fn counts(spans: &[Span]) -> BTreeMap<Kind, usize> {
    spans.iter().fold(BTreeMap::new(), |mut counts, span| {
        *counts.entry(span.kind).or_default() += 1;
        counts
    })
}
