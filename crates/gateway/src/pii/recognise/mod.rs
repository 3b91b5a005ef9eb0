//! Structured identifiers: one pass over the text, a table of patterns per country, and scanners for what patterns cannot
//! say.

mod australia;
mod bank;
mod canada;
mod checks;
mod context;
mod date;
mod france;
mod germany;
mod india;
mod italy;
mod net;
mod pattern;
mod phone;
mod spain;
mod uk;
mod us;

use std::sync::OnceLock;

use self::context::Context;
use self::pattern::Pattern;
use super::Kind;

/// An identifier that was found in a view, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
    pub score: f32,
}

/// The result of a check of an identifier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Check {
    /// It is not an identifier.
    Wrong,
    /// The check says nothing; the score of the pattern holds.
    Unknown,
    /// Its check digits are right, for which this is the score.
    Right(f32),
}

impl Check {
    /// Converts the result of a check of digits: right with a score, or wrong.
    fn of(right: bool, score: f32) -> Self {
        if right { Self::Right(score) } else { Self::Wrong }
    }
}

/// A kind of identifier that patterns describe.
pub(crate) struct Recogniser {
    kind: Kind,
    /// Patterns in the language of [`pattern`], with the score of a match.
    patterns: &'static [(&'static str, f32)],
    /// Checks the letters, in upper case, and digits of a match.
    check: fn(&str) -> Check,
    /// Words near a match that make it probable.
    context: &'static [&'static str],
}

/// Every kind of identifier that patterns describe.
const TABLES: [&[Recogniser]; 9] = [
    us::RECOGNISERS,
    uk::RECOGNISERS,
    germany::RECOGNISERS,
    france::RECOGNISERS,
    spain::RECOGNISERS,
    italy::RECOGNISERS,
    india::RECOGNISERS,
    australia::RECOGNISERS,
    canada::RECOGNISERS,
];

/// The longest first word that the index distinguishes.
const LONGEST: usize = 24;

/// The compiled patterns, by whether the first word begins with a letter and by its length.
struct Index {
    patterns: Vec<(Pattern, f32, &'static Recogniser)>,
    by_word: [Vec<u16>; 2 * LONGEST],
}

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut out = Index { patterns: Vec::new(), by_word: std::array::from_fn(|_| Vec::new()) };
        for recogniser in TABLES.into_iter().flatten() {
            for (text, score) in recogniser.patterns {
                let pattern = Pattern::new(text);
                let (begins, lengths) = (pattern.begins(), pattern.first_words());
                let number = out.patterns.len() as u16;
                for (letter, length) in (0..2).flat_map(|l| (1..LONGEST).map(move |n| (l, n))) {
                    if begins[letter] && lengths >> length & 1 == 1 {
                        out.by_word[letter * LONGEST + length].push(number);
                    }
                }
                out.patterns.push((pattern, *score, recogniser));
            }
        }
        out
    })
}

/// The text, and what was found in it so far.
pub(crate) struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    /// Matches below this score are not wanted, unless words around them raise it.
    threshold: f32,
    wanted: &'a dyn Fn(Kind) -> bool,
    /// `true` to find every date and time.
    all_dates: bool,
    found: Vec<Found>,
}

/// Finds the identifiers of a text whose score reaches a threshold; with `all_dates`, every date and time too.
pub(crate) fn scan(text: &str, threshold: f32, wanted: &dyn Fn(Kind) -> bool, all_dates: bool) -> Vec<Found> {
    let all_dates = all_dates && wanted(Kind::DateTime);
    let mut scan = Scan { text, bytes: text.as_bytes(), threshold, wanted, all_dates, found: Vec::new() };
    scan.run();
    if all_dates {
        date::words(&mut scan);
    }
    scan.found
}

impl Scan<'_> {
    /// Looks at each digit, `@`, `:`, full stop and hyphen; everything that is recognised has one of them.
    fn run(&mut self) {
        let mut at = 0;
        while at < self.bytes.len() {
            match self.bytes[at] {
                b'0'..=b'9' => at = self.word(at),
                b'@' => at = net::email(self, at).max(at + 1),
                b':' => at = net::colon(self, at).max(at + 1),
                b'.' => {
                    net::stop(self, at);
                    at += 1;
                }
                b'-' => at = net::hyphen(self, at).unwrap_or(at + 1),
                _ => at += 1,
            }
        }
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn is_word(&self, at: usize) -> bool {
        self.byte(at).is_ascii_alphanumeric()
    }

    /// Tells if a word may begin at `at`: the character before is neither a letter nor a digit, nor an underscore.
    fn begins(&self, at: usize) -> bool {
        let before = self.text.get(..at).and_then(|t| t.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    }

    /// Looks at the word that contains the digit at `at`, and returns its end.
    fn word(&mut self, at: usize) -> usize {
        let mut start = at;
        while start > 0 && self.bytes[start - 1].is_ascii_alphanumeric() && at - start < 80 {
            start -= 1;
        }
        let mut end = at + 1;
        while self.is_word(end) {
            end += 1;
        }
        if !self.begins(start) {
            return end;
        }
        let hardware = match self.byte(end) {
            b'-' => net::hyphen(self, end),
            b'.' => net::dotted(self, end),
            _ => None,
        };
        if let Some(end) = hardware {
            return end;
        }
        self.patterns(start, end);
        // Short words in front may be the beginning: `AB 12 34 56 C`, `M-AB 1234`.
        let mut first = start;
        for _ in 0..2 {
            let Some(gap) = first.checked_sub(1).filter(|&g| matches!(self.bytes[g], b' ' | b'-' | b'.')) else {
                break;
            };
            let mut before = gap;
            while before > 0 && self.bytes[before - 1].is_ascii_alphabetic() && gap - before < 4 {
                before -= 1;
            }
            if before == gap || !self.begins(before) || self.bytes[before..gap].iter().any(|b| b.is_ascii_digit()) {
                break;
            }
            self.patterns(before, gap);
            first = before;
        }
        bank::word(self, start, end);
        let numeric = self.bytes[start..end].iter().all(u8::is_ascii_digit);
        let address = if numeric { net::ip4(self, start) } else { None };
        let dated = date::word(self, start, end);
        if numeric && address.is_none() {
            let phoned = phone::number(self, start);
            return [phoned, dated].into_iter().flatten().fold(end, usize::max);
        }
        address.or(dated).unwrap_or(end).max(end)
    }

    /// Tries the patterns whose first word may be `start..end`.
    fn patterns(&mut self, start: usize, end: usize) {
        let length = end - start;
        if length >= LONGEST {
            return;
        }
        let index = index();
        let letter = usize::from(self.bytes[start].is_ascii_alphabetic());
        let mut context = Context::new(start);
        for &number in &index.by_word[letter * LONGEST + length] {
            let (pattern, score, recogniser) = &index.patterns[usize::from(number)];
            let Some(end) = pattern.matches(self.bytes, start) else { continue };
            if !(self.wanted)(recogniser.kind) || self.inside_number(start, end) {
                continue;
            }
            let mut compact = String::with_capacity(end - start);
            let kept = self.bytes[start..end].iter().filter(|b| b.is_ascii_alphanumeric());
            compact.extend(kept.map(|b| char::from(b.to_ascii_uppercase())));
            let lower = self.bytes[start..end].iter().any(u8::is_ascii_lowercase);
            let score = match (recogniser.check)(&compact) {
                Check::Wrong => continue,
                Check::Unknown => *score,
                Check::Right(right) => right.max(*score),
            };
            let score = if lower && score < 0.8 { score * 0.6 } else { score };
            let score = context.raise(self, end, score, recogniser.context);
            self.add(Found { start, end, kind: recogniser.kind, score });
        }
    }

    /// Tells if a match is part of a decimal number, an amount or a longer number.
    fn inside_number(&self, start: usize, end: usize) -> bool {
        let digit = |at: usize| self.byte(at).is_ascii_digit();
        let point = |at: usize| matches!(self.byte(at), b'.' | b',');
        let before = start > 1 && point(start - 1) && digit(start - 2) && digit(start);
        before || point(end) && digit(end + 1) && digit(end - 1) || start > 0 && self.bytes[start - 1] == b'$'
    }

    fn add(&mut self, found: Found) {
        if found.score >= self.threshold && (self.wanted)(found.kind) {
            self.found.push(found);
        }
    }

    /// Adds a match whose score depends on the words around it.
    fn add_in_context(&mut self, start: usize, end: usize, kind: Kind, score: f32, words: &[&str]) {
        let score = Context::new(start).raise(self, end, score, words);
        self.add(Found { start, end, kind, score });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_well_formed_and_indexed() {
        let index = index();
        for (number, (pattern, score, recogniser)) in index.patterns.iter().enumerate() {
            let reached = index.by_word.iter().any(|list| list.contains(&(number as u16)));
            let begins = pattern.begins();
            assert!(reached && (begins[0] || begins[1]), "{:?} {number}", recogniser.kind);
            assert!(*score > 0.0 && *score <= 1.0, "{:?}", recogniser.kind);
        }
    }
}
