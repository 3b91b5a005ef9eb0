//! The `pre_tokenizer` of tokenizer.json, which splits text into pieces. Merges do not cross pieces.

use std::ops::Range;
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, PreTokenizerWrapper};

use super::normalize::search;
use crate::alphabet;
use crate::budget::Budget;
use crate::error::{Result, TextError};
use crate::pattern::{Pattern, compile_budget};
use crate::split::GPT2;

/// The number of bytes that a step of the library touches per byte of text.
const LIBRARY_BYTES: u64 = 48;

/// Parts of a text, in order.
type Ranges = Vec<Range<usize>>;

/// The pieces of a text, in order. The text between them is dropped.
pub(crate) struct Pieces {
    pub text: String,
    pub ranges: Vec<Range<usize>>,
    /// `true` if the start of `text` is the start of the whole text.
    pub first: bool,
}

/// The steps, in order.
#[derive(Default)]
pub(crate) struct Cutter {
    steps: Vec<Step>,
}

enum Step {
    Split {
        pattern: Pattern,
        behavior: Behavior,
        invert: bool,
    },
    /// Splits off numbers, or each digit.
    Digits {
        individual: bool,
    },
    /// Maps bytes to GPT-2's alphabet. Optionally prepends a space to each piece and splits with GPT-2's expression.
    ByteLevel {
        prefix: bool,
        pattern: Option<&'static Pattern>,
    },
    Metaspace(Metaspace),
    /// A step of the `tokenizers` library that only splits.
    Library(Box<PreTokenizerWrapper>),
}

/// The treatment of matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behavior {
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

impl Cutter {
    /// Reads the steps. `budget` pays for their expressions.
    ///
    /// # Errors
    /// [`TextError::Json`] for a step that is invalid or unknown.
    pub(crate) fn read(value: &Value, budget: &Budget) -> Result<Self> {
        let mut steps = Vec::new();
        read(value, budget, &mut steps)?;
        Ok(Self { steps })
    }

    /// Splits a stretch of text.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`], and [`TextError::Encode`] if a step of the library fails.
    pub(crate) fn cut(&self, text: String, first: bool, budget: &Budget) -> Result<Pieces> {
        let mut pieces = Pieces { ranges: std::iter::once(0..text.len()).collect(), text, first };
        for step in &self.steps {
            pieces.ranges.retain(|range| !range.is_empty());
            step.apply(&mut pieces, budget)?;
        }
        pieces.ranges.retain(|range| !range.is_empty());
        Ok(pieces)
    }
}

fn wrong(reason: &str) -> TextError {
    TextError::json("tokenizer.json", format!("pre_tokenizer: {reason}"))
}

fn read(value: &Value, budget: &Budget, steps: &mut Vec<Step>) -> Result<()> {
    if value.is_null() {
        return Ok(());
    }
    let kind = value["type"].as_str().ok_or_else(|| wrong("expected a type"))?;
    let flag = |field: &str, default: bool| match &value[field] {
        Value::Null => Ok(default),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(wrong(&format!("{field}: expected true or false"))),
    };
    match kind {
        "Sequence" => {
            let list = value["pretokenizers"].as_array().ok_or_else(|| wrong("pretokenizers: expected a list"))?;
            list.iter().try_for_each(|value| read(value, budget, steps))?;
        }
        "Split" => {
            let behavior = match value["behavior"].as_str() {
                Some("Removed") => Behavior::Removed,
                Some("Isolated") => Behavior::Isolated,
                Some("MergedWithPrevious") => Behavior::MergedWithPrevious,
                Some("MergedWithNext") => Behavior::MergedWithNext,
                Some("Contiguous") => Behavior::Contiguous,
                _ => {
                    return Err(wrong(
                        "behavior: expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous",
                    ));
                }
            };
            let pattern = search(&value["pattern"], "pre_tokenizer", budget)?;
            steps.push(Step::Split { pattern, behavior, invert: flag("invert", false)? });
        }
        "Digits" => steps.push(Step::Digits { individual: flag("individual_digits", false)? }),
        "ByteLevel" => {
            let pattern = flag("use_regex", true)?.then(gpt2).transpose()?;
            steps.push(Step::ByteLevel { prefix: flag("add_prefix_space", true)?, pattern });
        }
        "Metaspace" => steps.push(Step::Metaspace(from_json(value)?)),
        "FixedLength" if value["length"].as_u64() == Some(0) => return Err(wrong("length: expected at least 1")),
        "BertPreTokenizer" | "Delimiter" | "CharDelimiterSplit" | "Whitespace" | "Punctuation" | "WhitespaceSplit"
        | "UnicodeScripts" | "FixedLength" => steps.push(Step::Library(Box::new(from_json(value)?))),
        other => return Err(wrong(&format!("unknown type {other:?}"))),
    }
    Ok(())
}

/// Returns GPT-2's expression. It is compiled once.
fn gpt2() -> Result<&'static Pattern> {
    static PATTERN: OnceLock<Pattern> = OnceLock::new();
    if let Some(pattern) = PATTERN.get() {
        return Ok(pattern);
    }
    let pattern = Pattern::expression("pre_tokenizer", GPT2, &compile_budget())?;
    Ok(PATTERN.get_or_init(|| pattern))
}

/// Reads a step of the library.
fn from_json<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    serde_json::from_value(value.clone()).map_err(|error| wrong(&error.to_string()))
}

impl Step {
    fn apply(&self, pieces: &mut Pieces, budget: &Budget) -> Result<()> {
        budget.charge_each(pieces.text.len(), 2)?;
        match self {
            Self::Split { pattern, behavior, invert } => pieces.refine(budget, &mut |text, out| {
                let mut matches = Matches::default();
                pattern.find_all(text, budget, &mut |found| matches.push(found, budget))?;
                let parts = matches.parts(text.len()).map(|(range, matched)| (range, matched != *invert));
                behavior.cut(parts, out);
                Ok(())
            }),
            Self::Digits { individual } => pieces.refine(budget, &mut |text, out| {
                let mut matches = Matches::default();
                let digits = text.char_indices().filter(|(_, c)| c.is_numeric());
                digits.map(|(at, c)| at..at + c.len_utf8()).try_for_each(|found| matches.push(found, budget))?;
                let behavior = if *individual { Behavior::Isolated } else { Behavior::Contiguous };
                behavior.cut(matches.parts(text.len()), out);
                Ok(())
            }),
            Self::ByteLevel { prefix, pattern } => {
                if *prefix {
                    pieces.rewrite(budget, &mut |_, text, out| {
                        out.push_str(if text.starts_with(' ') { "" } else { " " });
                        out.push_str(text);
                    })?;
                }
                if let Some(pattern) = pattern {
                    pieces.refine(budget, &mut |text, out| {
                        let mut matches = Matches::default();
                        pattern.find_all(text, budget, &mut |found| matches.push(found, budget))?;
                        Behavior::Isolated.cut(matches.parts(text.len()), out);
                        Ok(())
                    })?;
                }
                pieces.rewrite(budget, &mut |_, text, out| alphabet::push_text(text.as_bytes(), out))
            }
            Self::Metaspace(metaspace) => metaspace_pieces(metaspace, pieces, budget),
            Self::Library(step) => pieces.refine(budget, &mut |text, out| {
                budget.charge_each(text.len(), LIBRARY_BYTES)?;
                let mut cut = PreTokenizedString::from(text);
                step.pre_tokenize(&mut cut).map_err(|error| TextError::Encode { reason: error.to_string() })?;
                let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
                out.extend(splits.into_iter().map(|(_, (start, end), _)| start..end));
                Ok(())
            }),
        }
    }
}

/// Replaces spaces with a visible character, prepends it to the pieces that the scheme selects, and splits at it.
fn metaspace_pieces(metaspace: &Metaspace, pieces: &mut Pieces, budget: &Budget) -> Result<()> {
    let mark = metaspace.get_replacement();
    let scheme = metaspace.get_prepend_scheme();
    pieces.rewrite(budget, &mut |first, text, out| {
        let marked = text.starts_with([' ', mark]);
        if !marked && (scheme == PrependScheme::Always || scheme == PrependScheme::First && first) {
            out.push(mark);
        }
        out.extend(text.chars().map(|c| if c == ' ' { mark } else { c }));
    })?;
    if metaspace.get_split() {
        pieces.refine(budget, &mut |text, out| {
            let mut matches = Matches::default();
            text.match_indices(mark).try_for_each(|(at, found)| matches.push(at..at + found.len(), budget))?;
            Behavior::MergedWithNext.cut(matches.parts(text.len()), out);
            Ok(())
        })?;
    }
    Ok(())
}

impl Pieces {
    /// Splits each piece further. `cut` appends the ranges of its parts.
    fn refine(&mut self, budget: &Budget, cut: &mut dyn FnMut(&str, &mut Ranges) -> Result<()>) -> Result<()> {
        let mut ranges = Vec::with_capacity(self.ranges.len());
        let mut parts = Vec::new();
        for range in &self.ranges {
            parts.clear();
            cut(&self.text[range.clone()], &mut parts)?;
            budget.charge_each(parts.len(), size_of::<Range<usize>>() as u64)?;
            ranges.extend(parts.iter().map(|part| range.start + part.start..range.start + part.end));
        }
        self.ranges = ranges;
        Ok(())
    }

    /// Rewrites each piece. The first argument of `write` is `true` if the piece begins the whole text.
    fn rewrite(&mut self, budget: &Budget, write: &mut dyn FnMut(bool, &str, &mut String)) -> Result<()> {
        // A byte becomes at most three bytes, and a character precedes each piece.
        budget.charge_each(self.text.len() + self.ranges.len(), 4)?;
        let mut text = String::with_capacity(self.text.len() + self.text.len() / 8);
        self.first &= self.ranges.first().is_some_and(|range| range.start == 0);
        for range in &mut self.ranges {
            let start = text.len();
            write(self.first && start == 0, &self.text[range.clone()], &mut text);
            *range = start..text.len();
        }
        self.text = text;
        Ok(())
    }
}

/// The matches of a pattern.
#[derive(Default)]
struct Matches {
    found: Vec<Range<usize>>,
}

impl Matches {
    fn push(&mut self, found: Range<usize>, budget: &Budget) -> Result<()> {
        budget.charge(size_of_val(&found) as u64)?;
        self.found.push(found);
        Ok(())
    }

    /// Returns the matches and the parts between them.
    fn parts(&self, length: usize) -> impl Iterator<Item = (Range<usize>, bool)> {
        let ends = std::iter::once(0).chain(self.found.iter().map(|found| found.end));
        let found = self.found.iter().map(Some).chain([None]);
        ends.zip(found).flat_map(move |(end, next)| {
            let between = end..next.map_or(length, |next| next.start);
            let between = (!between.is_empty()).then_some((between, false));
            between.into_iter().chain(next.map(|next| (next.clone(), true)))
        })
    }
}

impl Behavior {
    /// Appends the ranges that become pieces.
    fn cut(self, parts: impl Iterator<Item = (Range<usize>, bool)>, out: &mut Vec<Range<usize>>) {
        let mut previous: Option<bool> = None;
        for (range, matched) in parts {
            let joins = match self {
                Self::Removed | Self::Isolated => false,
                Self::Contiguous => previous == Some(matched),
                Self::MergedWithPrevious => matched && previous == Some(false),
                Self::MergedWithNext => !matched && previous == Some(true),
            };
            match out.last_mut().filter(|_| joins) {
                Some(last) => last.end = range.end,
                None if self == Self::Removed && matched => {}
                None => out.push(range),
            }
            previous = Some(matched);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    fn pieces(value: &Value, text: &str) -> Vec<String> {
        let cutter = Cutter::read(value, &compile_budget()).unwrap();
        let pieces = cutter.cut(text.to_owned(), true, &Budget::new(1 << 24)).unwrap();
        pieces.ranges.iter().map(|range| pieces.text[range.clone()].to_owned()).collect()
    }

    #[test]
    fn pieces_are_those_of_the_library() {
        let split = |pattern: Value, behavior: &str, invert: bool| json!({"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert});
        let mut steps = vec![
            json!({"type": "Digits", "individual_digits": true}),
            json!({"type": "Digits", "individual_digits": false}),
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}),
            json!({"type": "Whitespace"}),
            json!({"type": "WhitespaceSplit"}),
            json!({"type": "Punctuation", "behavior": "Isolated"}),
            json!({"type": "UnicodeScripts"}),
            json!({"type": "BertPreTokenizer"}),
            json!({"type": "FixedLength", "length": 3}),
        ];
        for scheme in ["always", "first", "never"] {
            for cut in [true, false] {
                steps.push(json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}));
            }
        }
        for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] {
            for invert in [false, true] {
                for pattern in [json!({"String": "l"}), json!({"Regex": r"\s+|o"}), json!({"Regex": "(?=l)"})] {
                    steps.push(split(pattern, behavior, invert));
                }
            }
        }
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
        steps.push(json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]}));
        for step in &steps {
            let library: PreTokenizerWrapper = serde_json::from_value(step.clone()).unwrap();
            for text in ["", " ", "Hello  world 123 x1", "ollo", " lé l▁l\n", "日本 12語é!", "oo  oo", "llll", "don't!"]
            {
                let mut cut = PreTokenizedString::from(text);
                library.pre_tokenize(&mut cut).unwrap();
                let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
                let expected: Vec<_> = splits.iter().filter(|s| !s.0.is_empty()).map(|s| s.0.to_owned()).collect();
                let found: Vec<_> = pieces(step, text).into_iter().filter(|piece| !piece.is_empty()).collect();
                assert_eq!(found, expected, "{step} on {text:?}");
            }
        }
    }

    #[test]
    fn unknown_and_empty_steps_are_refused() {
        for value in [
            json!({"type": "FixedLength", "length": 0}),
            json!({"type": "Nonsense"}),
            json!({"delimiter": "x"}),
            json!({"type": "Split", "pattern": {"String": "a"}, "behavior": "Sideways", "invert": false}),
            json!({"type": "ByteLevel", "use_regex": 1}),
        ] {
            assert_eq!(Cutter::read(&value, &compile_budget()).err().unwrap().code(), "tokenizer-json", "{value}");
        }
    }
}
