//! The `normalizer` of tokenizer.json.

use std::ops::Range;

use serde_json::Value;
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::is_combining_mark;

use crate::alphabet;
use crate::budget::Budget;
use crate::error::{Result, TextError};
use crate::pattern::Pattern;

/// The number of bytes that a step on characters touches per byte of text. The longest decomposition is eleven times as
/// long as its character.
const STEP_BYTES: u64 = 16;

/// A stretch of text being encoded.
pub(crate) struct Stretch {
    pub text: String,
    /// The ranges that come from outside.
    pub outside: Vec<Range<usize>>,
    /// `true` if its first character is the first of the whole text.
    pub first: bool,
}

/// The steps, in order.
#[derive(Default)]
pub(crate) struct Normalizer {
    steps: Vec<Step>,
}

enum Step {
    /// Prepends a text to every stretch that is not empty.
    Prepend(String),
    Replace {
        pattern: Pattern,
        content: String,
    },
    /// A step that maps a few characters at a time.
    Map(Map),
}

/// The steps that map a few characters at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Map {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    StripAccents,
    Strip {
        left: bool,
        right: bool,
    },
    Lowercase,
    /// Removes control characters and replaces white space with spaces.
    Nmt,
    ByteLevel,
    /// Removes control and format characters and replaces white space with spaces.
    CleanText,
    /// Puts spaces around Chinese characters.
    SpaceChinese,
    /// Removes marks that take no space. [`Map::StripAccents`] removes all marks.
    StripMarks,
}

impl Normalizer {
    /// Reads the steps. `budget` pays for their expressions.
    ///
    /// # Errors
    /// [`TextError::Json`] for a step that is invalid or unknown, [`TextError::Unsupported`] for binary maps.
    pub(crate) fn read(value: &Value, budget: &Budget) -> Result<Self> {
        let mut steps = Vec::new();
        read(value, budget, &mut steps)?;
        Ok(Self { steps })
    }

    /// Applies all steps to a stretch.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`] before a step that would grow the text too much.
    pub(crate) fn apply(&self, stretch: &mut Stretch, budget: &Budget) -> Result<()> {
        self.steps.iter().try_for_each(|step| step.apply(stretch, budget))
    }
}

fn read(value: &Value, budget: &Budget, steps: &mut Vec<Step>) -> Result<()> {
    let wrong = |reason: &str| TextError::json("tokenizer.json", format!("normalizer: {reason}"));
    let text = |field: &str| value[field].as_str().ok_or_else(|| wrong(&format!("{field}: expected a string")));
    if value.is_null() {
        return Ok(());
    }
    let kind = value["type"].as_str().ok_or_else(|| wrong("expected a type"))?;
    match kind {
        "Sequence" => {
            let list = value["normalizers"].as_array().ok_or_else(|| wrong("normalizers: expected a list"))?;
            list.iter().try_for_each(|value| read(value, budget, steps))?;
        }
        "Prepend" => steps.push(Step::Prepend(text("prepend")?.to_owned())),
        "Replace" => {
            let content = text("content")?.to_owned();
            let pattern = search(&value["pattern"], "normalizer", budget)?;
            steps.push(Step::Replace { pattern, content });
        }
        "Precompiled" => {
            return Err(TextError::Unsupported {
                part: "normalizer",
                found: kind.to_owned(),
                expected: "normalizers without binary data",
            });
        }
        "BertNormalizer" => {
            let flag = |field: &str, default: bool| match &value[field] {
                Value::Null => Ok(default),
                Value::Bool(flag) => Ok(*flag),
                _ => Err(wrong(&format!("{field}: expected true or false"))),
            };
            let lowercase = flag("lowercase", true)?;
            let strip = flag("strip_accents", lowercase)?;
            let maps = [
                (flag("clean_text", true)?, Map::CleanText),
                (flag("handle_chinese_chars", true)?, Map::SpaceChinese),
                (strip, Map::Nfd),
                (strip, Map::StripMarks),
                (lowercase, Map::Lowercase),
            ];
            steps.extend(maps.into_iter().filter(|(wanted, _)| *wanted).map(|(_, map)| Step::Map(map)));
        }
        "NFC" => steps.push(Step::Map(Map::Nfc)),
        "NFD" => steps.push(Step::Map(Map::Nfd)),
        "NFKC" => steps.push(Step::Map(Map::Nfkc)),
        "NFKD" => steps.push(Step::Map(Map::Nfkd)),
        "StripAccents" => steps.push(Step::Map(Map::StripAccents)),
        "Lowercase" => steps.push(Step::Map(Map::Lowercase)),
        "Nmt" => steps.push(Step::Map(Map::Nmt)),
        "ByteLevel" => steps.push(Step::Map(Map::ByteLevel)),
        "Strip" => {
            let flag =
                |field: &str| value[field].as_bool().ok_or_else(|| wrong(&format!("{field}: expected true or false")));
            steps.push(Step::Map(Map::Strip { left: flag("strip_left")?, right: flag("strip_right")? }));
        }
        other => return Err(wrong(&format!("unknown type {other:?}"))),
    }
    Ok(())
}

/// Reads `pattern`: a text or an expression.
pub(super) fn search(value: &Value, part: &str, budget: &Budget) -> Result<Pattern> {
    match (value["String"].as_str(), value["Regex"].as_str()) {
        (Some(text), None) => Pattern::literal(part, text, budget),
        (None, Some(expression)) => Pattern::expression(part, expression, budget),
        _ => Err(TextError::json("tokenizer.json", format!("{part}: pattern: expected a String or a Regex"))),
    }
}

impl Step {
    fn apply(&self, stretch: &mut Stretch, budget: &Budget) -> Result<()> {
        match self {
            Self::Prepend(_) if stretch.text.is_empty() => Ok(()),
            Self::Prepend(text) => {
                budget.charge_each(stretch.text.len() + text.len(), 2)?;
                stretch.text.insert_str(0, text);
                stretch.outside.iter_mut().for_each(|range| *range = range.start + text.len()..range.end + text.len());
                Ok(())
            }
            Self::Replace { pattern, content } => replace(pattern, content, stretch, budget),
            Self::Map(map) if map.keeps(&stretch.text) => budget.charge(stretch.text.len() as u64),
            Self::Map(map) => map.apply_to(stretch, budget),
        }
    }
}

/// Replaces every match with `content`.
fn replace(pattern: &Pattern, content: &str, stretch: &mut Stretch, budget: &Budget) -> Result<()> {
    if stretch.text.is_empty() {
        return Ok(());
    }
    let mut matches: Vec<Range<usize>> = Vec::new();
    let mut removed = 0;
    pattern.find_all(&stretch.text, budget, &mut |found| {
        budget.charge((size_of_val(&found) + content.len()) as u64)?;
        removed += found.len();
        matches.push(found);
        Ok(())
    })?;
    let Some(first) = matches.first() else { return Ok(()) };
    // A replacement has the position of the last character that it replaces.
    if first.start == 0 && !first.is_empty() {
        let one = stretch.text.chars().next().is_some_and(|c| c.len_utf8() == first.end);
        stretch.first &= one && !content.is_empty();
    }
    let length = stretch.text.len() - removed + matches.len() * content.len();
    budget.charge_each(length, 2)?;
    let mut out = String::with_capacity(length);
    let mut last = 0;
    let mut edits = Vec::new();
    for found in matches {
        out.push_str(&stretch.text[last..found.start]);
        last = found.end;
        if !stretch.outside.is_empty() {
            edits.push((found, out.len()..out.len() + content.len()));
        }
        out.push_str(content);
    }
    out.push_str(&stretch.text[last..]);
    moved(&mut stretch.outside, &edits);
    stretch.text = out;
    Ok(())
}

/// Moves ranges along with the text. If any part of a replaced text comes from outside, its replacement does.
fn moved(ranges: &mut Vec<Range<usize>>, edits: &[(Range<usize>, Range<usize>)]) {
    for range in ranges.iter_mut() {
        let before = edits.partition_point(|(old, _)| old.end <= range.start);
        let start = match edits.get(before) {
            Some((old, new)) if old.start < range.start => new.start,
            _ => shifted(range.start, before.checked_sub(1).and_then(|at| edits.get(at))),
        };
        let up_to = edits.partition_point(|(old, _)| old.start < range.end);
        let end = match up_to.checked_sub(1).and_then(|at| edits.get(at)) {
            Some((old, new)) if old.end > range.end => new.end,
            last => shifted(range.end, last),
        };
        *range = start..end.max(start);
    }
    ranges.retain(|range| !range.is_empty());
}

/// Returns the new position of a place after an edit.
fn shifted(place: usize, edit: Option<&(Range<usize>, Range<usize>)>) -> usize {
    edit.map_or(place, |(old, new)| place - old.end + new.end)
}

impl Map {
    /// Returns `true` if the step is known to leave a text unchanged.
    fn keeps(self, text: &str) -> bool {
        let forms = matches!(self, Self::Nfc | Self::Nfd | Self::Nfkc | Self::Nfkd | Self::StripAccents);
        (forms || matches!(self, Self::SpaceChinese | Self::StripMarks)) && text.is_ascii()
    }

    fn apply(self, text: &str) -> String {
        match self {
            Self::Nfc => text.nfc().map(|(c, _)| c).collect(),
            Self::Nfd => text.nfd().map(|(c, _)| c).collect(),
            Self::Nfkc => text.nfkc().map(|(c, _)| c).collect(),
            Self::Nfkd => text.nfkd().map(|(c, _)| c).collect(),
            Self::StripAccents => text.chars().filter(|&c| !is_combining_mark(c)).collect(),
            Self::Strip { left, right } => {
                let text = if left { text.trim_start() } else { text };
                (if right { text.trim_end() } else { text }).to_owned()
            }
            // Each character is mapped without regard to its position in the word.
            Self::Lowercase => text.chars().flat_map(char::to_lowercase).collect(),
            Self::Nmt => {
                text.chars().filter(|&c| !is_nmt_control(c)).map(|c| if is_nmt_space(c) { ' ' } else { c }).collect()
            }
            Self::ByteLevel => alphabet::text_of(text.as_bytes()),
            Self::CleanText => {
                text.chars().filter(|&c| !is_bert_control(c)).map(|c| if c.is_whitespace() { ' ' } else { c }).collect()
            }
            Self::SpaceChinese => text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
                let space = if is_chinese(c) { " " } else { "" };
                out.push_str(space);
                out.push(c);
                out.push_str(space);
                out
            }),
            Self::StripMarks => text.chars().filter(|c| !c.is_mark_nonspacing()).collect(),
        }
    }

    /// Applies the step and moves the ranges.
    fn apply_to(self, stretch: &mut Stretch, budget: &Budget) -> Result<()> {
        budget.charge_each(stretch.text.len(), STEP_BYTES)?;
        let text = self.apply(&stretch.text);
        budget.charge_each(text.len(), 2)?;
        // If the first character is removed, the next one does not begin the whole text.
        let first = stretch.text.chars().next();
        stretch.first &= first.is_none_or(|c| !self.apply(c.encode_utf8(&mut [0; 4])).is_empty());
        if !stretch.outside.is_empty() {
            stretch.outside = self.moved(stretch, &text);
        }
        stretch.text = text;
        Ok(())
    }

    /// Returns the ranges in the text after the step. A range grows if characters combine across its end.
    fn moved(self, stretch: &Stretch, text: &str) -> Vec<Range<usize>> {
        let (mut ranges, mut old, mut new) = (Vec::new(), 0, 0);
        for range in &stretch.outside {
            new += self.apply(&stretch.text[old..range.start]).len();
            let length = self.apply(&stretch.text[range.clone()]).len();
            ranges.push(new..new + length);
            (old, new) = (range.end, new + length);
        }
        new += self.apply(&stretch.text[old..]).len();
        ranges.retain(|range| !range.is_empty());
        let whole = |range: &Range<usize>| text.is_char_boundary(range.start) && text.is_char_boundary(range.end);
        if new == text.len() && ranges.iter().all(whole) { ranges } else { std::iter::once(0..text.len()).collect() }
    }
}

fn is_bert_control(c: char) -> bool {
    matches!(c, '\0' | '\u{fffd}') || (c.is_other() && !matches!(c, '\t' | '\n' | '\r'))
}

/// Returns `true` for characters of the blocks of CJK ideographs.
fn is_chinese(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}')
        || matches!(c, '\u{2a700}'..='\u{2b73f}' | '\u{2b740}'..='\u{2b81f}' | '\u{2b920}'..='\u{2ceaf}')
        || matches!(c, '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}')
}

fn is_nmt_control(c: char) -> bool {
    matches!(c, '\u{1}'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{8f}' | '\u{9f}')
}

fn is_nmt_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{c}' | '\r' | '\u{1680}' | '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{2581}' | '\u{feff}' | '\u{fffd}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]
mod tests {
    use serde_json::json;
    use tokenizers::{NormalizedString, Normalizer as _, NormalizerWrapper};

    use super::*;
    use crate::pattern::compile_budget;

    fn normalizer(value: &Value) -> Normalizer {
        Normalizer::read(value, &compile_budget()).unwrap()
    }

    fn apply(value: &Value, text: &str, outside: Vec<Range<usize>>) -> Stretch {
        let mut stretch = Stretch { text: text.to_owned(), outside, first: true };
        normalizer(value).apply(&mut stretch, &Budget::new(1 << 24)).unwrap();
        stretch
    }

    fn bert(clean: bool, chinese: bool, strip: Value, lowercase: bool) -> Value {
        json!({"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip,
            "lowercase": lowercase})
    }

    #[test]
    fn steps_are_those_of_the_library() {
        for steps in [
            json!([{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]),
            json!([{"type": "Replace", "pattern": {"Regex": "e+"}, "content": "i"}]),
            json!([{"type": "Replace", "pattern": {"String": ""}, "content": "-"}]),
            json!([{"type": "NFC"}]),
            json!([{"type": "NFD"}]),
            json!([{"type": "NFKC"}]),
            json!([{"type": "NFKD"}, {"type": "StripAccents"}]),
            json!([{"type": "Lowercase"}]),
            json!([{"type": "Nmt"}]),
            json!([bert(true, true, Value::Null, true)]),
            json!([bert(true, true, Value::Null, false)]),
            json!([bert(false, false, json!(true), false)]),
            json!([bert(true, false, json!(false), true)]),
            json!([{"type": "ByteLevel"}]),
            json!([{"type": "Strip", "strip_left": true, "strip_right": false}]),
            json!([{"type": "Strip", "strip_left": true, "strip_right": true}]),
        ] {
            let steps = json!({"type": "Sequence", "normalizers": steps});
            let library: NormalizerWrapper = serde_json::from_value(steps.clone()).unwrap();
            for text in [
                "",
                " ",
                "Hello  Thee",
                "ﬁ ①é  ",
                " ＡＢＣ\n",
                "日本 eİΣ",
                "\u{1}a\u{200b}▁",
                "e\u{301}A\u{30a}",
                "x\u{0}\u{fffd}y\tz\u{ad}\u{e000}",
                "か\u{3099}ಕ\u{cbf}नि 𠀀中x",
                "\u{85}\u{2028}Ǆ\u{a0}ß",
            ] {
                let mut expected = NormalizedString::from(text);
                library.normalize(&mut expected).unwrap();
                assert_eq!(apply(&steps, text, Vec::new()).text, expected.get(), "{steps} {text:?}");
            }
        }
    }

    #[test]
    fn marks_upon_marks_are_normalised_without_a_panic() {
        for kind in ["NFC", "NFD", "NFKC", "NFKD"] {
            let steps = json!({"type": kind});
            assert!(!apply(&steps, "ﬁé\u{301}\u{323}\u{301}\u{1112}\u{1161}\u{11ab}", vec![0..3]).text.is_empty());
        }
    }

    #[test]
    fn ranges_from_outside_move_with_the_text() {
        let mark = |value: &Value, text: &str, outside: &[Range<usize>]| {
            let stretch = apply(value, text, outside.to_vec());
            let marked: Vec<_> = stretch.outside.iter().map(|range| stretch.text[range.clone()].to_owned()).collect();
            (stretch.text, marked.join("|"))
        };
        let replace = json!({"type": "Replace", "pattern": {"String": "bb"}, "content": "xyz"});
        for (outside, expected) in [
            (0..1, "a"),
            (1..3, "xyz"),
            (1..2, "xyz"),
            (2..3, "xyz"),
            (0..2, "axyz"),
            (2..4, "xyzc"),
            (3..4, "c"),
            (0..4, "axyzc"),
        ] {
            assert_eq!(mark(&replace, "abbc", &[outside]), ("axyzc".to_owned(), expected.to_owned()));
        }
        let removed = json!({"type": "Replace", "pattern": {"String": "bb"}, "content": ""});
        assert_eq!(mark(&removed, "abbc", &[1..3]), ("ac".to_owned(), String::new()));
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        assert_eq!(mark(&prepend, "abc", &[0..1, 2..3]), ("▁abc".to_owned(), "a|c".to_owned()));
        assert_eq!(mark(&json!({"type": "NFKC"}), "a①ﬁb", &[1..4, 7..8]), ("a1fib".to_owned(), "1|b".to_owned()));
        let joined = mark(&json!({"type": "NFC"}), "xe\u{301}y", &[0..2]);
        assert_eq!(joined, ("x\u{e9}y".to_owned(), "x\u{e9}y".to_owned()));
    }

    #[test]
    fn steps_that_double_the_text_end_at_the_budget() {
        let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let steps = normalizer(&json!({"type": "Sequence", "normalizers": vec![double; 40]}));
        let mut stretch = Stretch { text: "a".to_owned(), outside: Vec::new(), first: true };
        let error = steps.apply(&mut stretch, &Budget::new(16 << 20)).err().unwrap();
        assert_eq!(error.code(), "text-work-limit");
        assert!(stretch.text.len() < 16 << 20);
    }

    #[test]
    fn unknown_and_untyped_steps_are_refused() {
        for value in [
            json!({"precompiled_charsmap": "AAA="}),
            json!({"type": "Nonsense"}),
            json!({"type": "Replace", "pattern": "a", "content": "b"}),
            json!({"type": "Sequence"}),
            json!("NFC"),
        ] {
            assert_eq!(Normalizer::read(&value, &compile_budget()).err().unwrap().code(), "tokenizer-json", "{value}");
        }
    }
}
