//! Words around a match that raise its score: before it, right after it, or in the heading of its column.

use super::Scan;

/// The bytes before a match in which its words are looked for, and after it.
const BEFORE: usize = 64;
const AFTER: usize = 24;
/// The longest row of a table in front of a match, and the most bytes up to its heading.
const LINE: usize = 2 << 10;
const TABLE: usize = 16 << 10;
/// Added to the score where a word is found, and the least score then.
const RAISE: f32 = 0.35;
const LEAST: f32 = 0.6;

/// The surroundings of a match, in lower case; computed when first needed.
pub(super) struct Context {
    start: usize,
    around: Option<(usize, String)>,
}

impl Context {
    pub fn new(start: usize) -> Self {
        Self { start, around: None }
    }

    /// Raises the score of a match if one of the words is near it.
    pub fn raise(&mut self, scan: &Scan<'_>, end: usize, score: f32, words: &[&str]) -> f32 {
        if score >= 0.8 || words.is_empty() || score + RAISE < scan.threshold && LEAST < scan.threshold {
            return score;
        }
        if self.around.as_ref().is_none_or(|(known, _)| *known != end) {
            self.around = Some((end, surroundings(scan, self.start, end)));
        }
        let near = self.around.as_ref().is_some_and(|(_, around)| words.iter().any(|word| contains(around, word)));
        if near { (score + RAISE).max(LEAST) } else { score }
    }
}

/// Tells if a text contains a word (or words) that begins and ends where words do; a plural is the same word.
fn contains(text: &str, word: &str) -> bool {
    let outside = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    text.match_indices(word).any(|(at, _)| {
        let rest = &text[at + word.len()..];
        outside(text[..at].chars().next_back()) && outside(rest.strip_prefix('s').unwrap_or(rest).chars().next())
    })
}

fn surroundings(scan: &Scan<'_>, start: usize, end: usize) -> String {
    let text = scan.text;
    let from = (start.saturating_sub(BEFORE)..=start).find(|&at| text.is_char_boundary(at)).unwrap_or(start);
    let to = ((end..=(end + AFTER).min(text.len())).rev()).find(|&at| text.is_char_boundary(at)).unwrap_or(end);
    // The text behind it counts up to the end of the line, so that a label belongs to its own value.
    let after = text[end..to].split('\n').next().unwrap_or_default();
    let mut out = text[from..start].to_lowercase().replace('_', " ");
    out.push_str(" | ");
    out.push_str(&after.to_lowercase());
    if let Some(heading) = heading(text, start) {
        out.push_str(" | ");
        out.push_str(&heading.to_lowercase());
    }
    out
}

/// Returns the heading of the column of a markdown table in which `at` lies.
fn heading(text: &str, at: usize) -> Option<&str> {
    let from = (at.saturating_sub(LINE)..=at).find(|&i| text.is_char_boundary(i))?;
    let own = text[from..at].rfind('\n').map(|n| from + n + 1).or((from == 0).then_some(0))?;
    text[own..].trim_start().starts_with('|').then_some(())?;
    let column = text[own..at].matches('|').count();
    let from = (at.saturating_sub(TABLE)..=own).find(|&i| text.is_char_boundary(i))?;
    let rows = text[from..own].lines().rev().take_while(|line| line.trim_start().starts_with('|'));
    rows.last()?.split('|').nth(column)
}
