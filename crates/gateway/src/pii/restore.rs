//! Turning surrogates back into values, in text that arrives in pieces.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use zeroize::Zeroizing;

use super::Kind;

/// The most other characters between two letters or digits of a surrogate: its own and those of formatting.
const BETWEEN: usize = 4;
/// Endings that a language may add to a name.
const ENDINGS: [&str; 7] = ["s", "es", "n", "en", "'s", "\u{2019}s", "e"];
/// Names of fields of answers whose values are no text of the model.
const PROTOCOL: [&str; 14] = [
    "id",
    "call_id",
    "tool_call_id",
    "tool_use_id",
    "item_id",
    "response_id",
    "previous_response_id",
    "type",
    "role",
    "object",
    "model",
    "status",
    "finish_reason",
    "stop_reason",
];

/// The texts that are looked for, by their letters and digits in lower case.
#[derive(Default)]
pub(super) struct Trie {
    next: HashMap<(u32, char), u32>,
    /// The number of the text that ends at a node, and its other characters.
    ends: HashMap<u32, (usize, String)>,
    size: u32,
}

/// The result of a search at one place.
enum Walk {
    Found(usize, usize),
    Nothing,
    /// The text ends before this is known.
    Unknown,
}

impl Trie {
    /// Adds a text; the first of two that are alike stays.
    pub fn insert(&mut self, text: &str, number: usize) {
        let mut node = 0;
        for c in text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase) {
            node = *self.next.entry((node, c)).or_insert_with(|| {
                self.size += 1;
                self.size
            });
        }
        if node > 0 {
            let marks = || (number, text.chars().filter(|c| !c.is_alphanumeric()).collect());
            self.ends.entry(node).or_insert_with(marks);
        }
    }

    /// Looks for the longest text that begins at the start of `text`, ends with a word, and may have formatting inside.
    fn walk(&self, text: &str, complete: bool, endings: bool) -> Walk {
        let (mut node, mut at, mut skipped) = (0, 0, 0);
        let mut best = None;
        // Other characters than formatting must be the text's own.
        let mut foreign = String::new();
        loop {
            let Some(c) = text[at..].chars().next() else {
                if !complete && node > 0 {
                    return Walk::Unknown;
                }
                break;
            };
            let child = c
                .is_alphanumeric()
                .then(|| c.to_lowercase().try_fold(node, |n, c| self.next.get(&(n, c)).copied()))
                .flatten();
            if let Some(child) = child {
                (node, skipped) = (child, 0);
                at += c.len_utf8();
                if let Some((number, marks)) = self.ends.get(&node) {
                    match ends_word(&text[at..], complete, endings) {
                        Some(true) if foreign.chars().all(|c| marks.contains(c)) => best = Some((at, *number)),
                        Some(true) => {}
                        Some(false) => {}
                        None => return Walk::Unknown,
                    }
                }
            } else if node > 0 && skipped < BETWEEN && !c.is_alphanumeric() {
                skipped += 1;
                at += c.len_utf8();
                if !is_formatting(c) {
                    foreign.push(c);
                }
            } else {
                break;
            }
        }
        best.map_or(Walk::Nothing, |(end, number)| Walk::Found(end, number))
    }

    /// Finds the texts in a complete text.
    pub fn find(&self, text: &str) -> Vec<(Range<usize>, usize)> {
        let mut out = Vec::new();
        let (mut at, mut before) = (0, ' ');
        while let Some(c) = text[at..].chars().next() {
            if c.is_alphanumeric()
                && !before.is_alphanumeric()
                && let Walk::Found(length, number) = self.walk(&text[at..], true, false)
            {
                out.push((at..at + length, number));
                before = text[..at + length].chars().next_back().unwrap_or(' ');
                at += length;
                continue;
            }
            before = c;
            at += c.len_utf8();
        }
        out
    }
}

/// Marks that a model may put between the parts of a name or number: of formatting, and of other ways to group digits.
fn is_formatting(c: char) -> bool {
    c.is_whitespace()
        || "*_~`\\-./()".contains(c)
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2010}'..='\u{2015}' | '\u{feff}')
}

/// Tells if a word ends here, perhaps after an ending; `None` if the text must go on to know.
fn ends_word(rest: &str, complete: bool, endings: bool) -> Option<bool> {
    let stops = |rest: &str| match rest.chars().next() {
        None => complete.then_some(true),
        Some(c) => Some(!c.is_alphanumeric()),
    };
    if stops(rest)? {
        return Some(true);
    }
    for ending in ENDINGS.iter().filter(|_| endings) {
        if let Some(rest) = rest.strip_prefix(ending)
            && stops(rest)?
        {
            return Some(true);
        }
    }
    Some(false)
}

struct Table {
    trie: Trie,
    entries: Vec<(String, Zeroizing<String>, Kind)>,
}

/// Turns the surrogates of one vault in an answer back into their values; everything else stays as it is.
///
/// The answer may come in pieces of any size. What may be the beginning of a surrogate is kept back until that is clear. A
/// surrogate is recognised in any case, with an ending (`'s`), and with formatting inside (`**Ann** Lee`, a number grouped
/// otherwise).
#[derive(Clone)]
pub struct Restorer {
    table: Arc<Table>,
    pending: Zeroizing<String>,
    before: char,
    escapes: usize,
}

impl fmt::Debug for Restorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restorer").field("values", &self.table.entries.len()).finish_non_exhaustive()
    }
}

impl Restorer {
    pub(super) fn new<'a>(entries: impl Iterator<Item = (&'a str, &'a str, Kind)>) -> Self {
        let mut table = Table { trie: Trie::default(), entries: Vec::new() };
        for (surrogate, value, kind) in entries {
            table.trie.insert(surrogate, table.entries.len());
            // A match begins and ends with a letter or digit: a plus sign in front of both stays where it is.
            let (mut surrogate, mut value) = (surrogate, value);
            let mark = |text: &str, c: Option<char>| c.filter(|c| !c.is_alphanumeric() && text.len() > 1);
            while let Some(c) = mark(surrogate, surrogate.chars().next()).filter(|c| value.starts_with(*c)) {
                (surrogate, value) = (&surrogate[c.len_utf8()..], &value[c.len_utf8()..]);
            }
            while let Some(c) = mark(surrogate, surrogate.chars().next_back()).filter(|c| value.ends_with(*c)) {
                (surrogate, value) =
                    (&surrogate[..surrogate.len() - c.len_utf8()], &value[..value.len() - c.len_utf8()]);
            }
            table.entries.push((surrogate.to_owned(), Zeroizing::new(value.to_owned()), kind));
        }
        Self { table: Arc::new(table), pending: Zeroizing::default(), before: ' ', escapes: 0 }
    }

    /// Returns a restorer for another stream of the same answer, such as the arguments of a tool call.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { table: Arc::clone(&self.table), pending: Zeroizing::default(), before: ' ', escapes: 0 }
    }

    /// Escapes the values as for a JSON string, `depth` times: once for the arguments of a tool call, which are JSON in a
    /// string whose own escapes the transport writes.
    #[must_use]
    pub fn escaping(mut self, depth: usize) -> Self {
        self.escapes = depth;
        self
    }

    /// Takes the next piece of the answer, and returns what is certain by now.
    pub fn push(&mut self, piece: &str) -> String {
        self.pending.push_str(piece);
        self.advance(false)
    }

    /// Returns the rest of the answer.
    pub fn finish(&mut self) -> String {
        let out = self.advance(true);
        self.before = ' ';
        out
    }

    /// Restores a complete text.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut whole = Self { escapes: self.escapes, ..self.fork() };
        let mut out = whole.push(text);
        out.push_str(&whole.finish());
        out
    }

    /// Restores the strings of a complete answer. Strings that hold JSON stay JSON; ids and names of the protocol stay.
    pub fn json(&self, answer: &mut Value) {
        match answer {
            Value::String(text) => *text = self.string(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.json(value)),
            Value::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    if !(value.is_string() && PROTOCOL.contains(&key.as_str())) {
                        self.json(value);
                    }
                }
            }
            _ => {}
        }
    }

    fn string(&self, text: &str) -> String {
        let is_json = text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<Value>(text).is_ok();
        if is_json { self.fork().escaping(self.escapes + 1).text(text) } else { self.text(text) }
    }

    fn advance(&mut self, complete: bool) -> String {
        let pending = std::mem::take(&mut self.pending);
        let mut out = String::with_capacity(pending.len());
        let mut at = 0;
        while let Some(c) = pending[at..].chars().next() {
            if c.is_alphanumeric() && !self.before.is_alphanumeric() {
                match self.table.trie.walk(&pending[at..], complete, true) {
                    Walk::Unknown => break,
                    Walk::Found(length, number) => {
                        let found = &pending[at..at + length];
                        out.push_str(&self.value(found, number));
                        self.before = found.chars().next_back().unwrap_or(' ');
                        at += length;
                        continue;
                    }
                    Walk::Nothing => {}
                }
            }
            out.push(c);
            // In a JSON string, the letter of an escape is not part of a word.
            let escape = self.escapes > 0 && self.before == '\\' && matches!(c, 'n' | 't' | 'r' | 'b' | 'f');
            self.before = if escape { ' ' } else { c };
            at += c.len_utf8();
        }
        self.pending.push_str(&pending[at..]);
        out
    }

    /// Returns the value for a surrogate as it was found.
    fn value(&self, found: &str, number: usize) -> String {
        let (surrogate, value, kind) = &self.table.entries[number];
        let upper = |text: &str| text.chars().any(char::is_alphabetic) && !text.chars().any(char::is_lowercase);
        let mut out = if !kind.is_structured() && upper(found) && !upper(surrogate) {
            value.to_uppercase()
        } else {
            value.to_string()
        };
        for _ in 0..self.escapes {
            let quoted = Value::from(out).to_string();
            out = quoted[1..quoted.len() - 1].to_owned();
        }
        out
    }
}
