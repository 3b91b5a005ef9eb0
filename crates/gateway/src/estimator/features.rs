//! The features of a prompt: measures of its length, form, words and reasoning, and hashed n-grams.

use std::sync::LazyLock;

use super::language::{Language, bucket};
use super::prompt::Prompt;
use super::words::{Kind, Word, hash, pair, parts, words};

/// The buckets of n-grams, a power of two.
pub(super) const GRAM_BUCKETS: usize = 1 << 17;

/// The measures of a prompt, in the order of `Features::measures`.
pub const MEASURES: [&str; 42] = [
    "words",
    "words-squared",
    "characters",
    "words-before-list",
    "listed-words",
    "longest-listed",
    "shortest-listed",
    "listed-spread",
    "listed-repetition",
    "listed-numbers",
    "listed-figures-only",
    "listed-surprise",
    "listed-all-or-none",
    "sentences",
    "words-per-sentence",
    "numbers",
    "numbers-share",
    "formula-characters",
    "symbols-share",
    "capitals-share",
    "proper-nouns-share",
    "negations",
    "negated-question",
    "reasoning-words",
    "reasoning-words-share",
    "letters-per-word",
    "long-words-share",
    "single-letters-share",
    "distinct-words-share",
    "function-words-share",
    "question-mark",
    "ends-in-question",
    "ends-in-colon",
    "ends-in-full-stop",
    "gap",
    "statements",
    "quotation",
    "lines",
    "word-surprise",
    "pair-surprise",
    "unseen-words-share",
    "conversation",
];

const FUNCTION_WORDS: &str = "the of a an to in and is that for by with as on at from or be it this are was were which his her he she \
     they we you i its has have had if what who when where how why would should could can may most following best all each their";
const NEGATIONS: &str = "not except never no none neither nor cannot least false incorrect unless without";
const REASONING: &str = "if then therefore because suppose assume given calculate compute find prove derive explain step determine how \
     many much each total per after before since implies must";
/// The hashes of these lists, ascending.
static LISTS: LazyLock<[Vec<u64>; 3]> = LazyLock::new(|| {
    [FUNCTION_WORDS, NEGATIONS, REASONING].map(|list| {
        let mut hashes: Vec<u64> = list.split(' ').map(|word| hash(word.as_bytes())).collect();
        hashes.sort_unstable();
        hashes
    })
});
const FORMULA: &str = "=+*/^<>\\$∑∫√≤≥→¬∧∨∀∃⊃·~%{}[]()|_";

/// The features of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Features {
    /// One value per name of [`MEASURES`]; counts are logarithms. The measures of lists are not numbers where there is no list.
    pub measures: [f32; MEASURES.len()],
    /// The buckets of the words and of the pairs of words, ascending, each once.
    pub grams: Vec<u32>,
    /// The hashes of the words of letters, each once.
    pub vocabulary: Vec<u64>,
}

impl Features {
    /// Computes the features of a prompt.
    pub fn of(prompt: &Prompt, language: &Language) -> Self {
        let [head, tail] = parts(&prompt.text);
        let text = if tail.is_empty() { head.to_owned() } else { format!("{head}\n{tail}") };
        let all = words(&text);
        let mut grams: Vec<u32> = grams(&all).map(|(hash, _)| bucket(hash, GRAM_BUCKETS) as u32).collect();
        grams.sort_unstable();
        grams.dedup();
        let mut vocabulary: Vec<u64> = all.iter().filter(|w| w.kind == Kind::Letters).map(|w| w.hash).collect();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        let measures = measures(prompt, &text, &all, vocabulary.len(), language);
        Self { measures, grams, vocabulary }
    }
}

/// Returns the hash and the text of each word and of each pair of neighbouring words.
pub(super) fn grams(words: &[Word]) -> impl Iterator<Item = (u64, String)> {
    let pairs =
        words.windows(2).map(|two| (pair(two[0].hash, two[1].hash), format!("{} {}", two[0].text, two[1].text)));
    words.iter().map(|word| (word.hash, word.text.clone())).chain(pairs)
}

/// Returns the text before the first list and the items of lists: lines that begin with a letter or a number and `.` or `)`.
fn listed(text: &str) -> (&str, Vec<&str>) {
    let item = |line: &'_ str| -> Option<usize> {
        let line = line.trim_start();
        let end = line.find(['.', ')']).filter(|end| (1..=2).contains(end))?;
        let (mark, rest) = line.split_at(end);
        let is_mark =
            mark.chars().all(|c| c.is_ascii_digit()) || (mark.len() == 1 && mark.is_ascii() && !mark.starts_with(' '));
        (is_mark && rest[1..].starts_with(' ')).then_some(end + 2)
    };
    let (mut begins, mut items, mut offset) = (None, Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        if let Some(skip) = item(line) {
            begins.get_or_insert(offset);
            items.push(line.trim_start().get(skip..).unwrap_or_default().trim_end());
        }
        offset += line.len();
    }
    match begins {
        Some(at) if items.len() > 1 => (&text[..at], items),
        _ => (text, Vec::new()),
    }
}

fn measures(prompt: &Prompt, text: &str, all: &[Word], distinct: usize, language: &Language) -> [f32; MEASURES.len()] {
    let (stem, items) = listed(text);
    let log = |n: usize| (n as f32 + 1.0).ln();
    let share = |n: usize, of: usize| n as f32 / of.max(1) as f32;
    let flag = |is: bool| f32::from(u8::from(is));
    let [function_words, negations, reasoning_words] = &*LISTS;
    let within = |list: &[u64], word: &Word| list.binary_search(&word.hash).is_ok();
    let count = |test: &dyn Fn(&Word) -> bool| all.iter().filter(|word| test(word)).count();

    let letters = count(&|w| w.kind == Kind::Letters);
    let numbers = count(&|w| w.kind == Kind::Number);
    let reasoning = count(&|w| within(reasoning_words, w));
    let item_words: Vec<Vec<Word>> = items.iter().map(|item| words(item)).collect();
    let lengths: Vec<usize> = items.iter().map(|item| item.split_whitespace().count()).collect();
    let (longest, shortest) = (lengths.iter().copied().max().unwrap_or(0), lengths.iter().copied().min().unwrap_or(0));
    let surprise = language.surprise(&all.iter().collect::<Vec<_>>());
    let spaced: Vec<&str> = text.split_whitespace().collect();
    let stem_words: Vec<&str> = stem.split_whitespace().collect();
    let ends = stem.trim_end();
    let sentences = stem_words.iter().filter(|word| word.ends_with(['.', '!', '?'])).count().max(1);
    let lower = text.to_lowercase();
    let of_list = |value: f32| if items.is_empty() { f32::NAN } else { value };
    let lines_of = |test: &dyn Fn(&&str) -> bool| items.iter().filter(|item| test(item)).count();
    let length = (spaced.len() as f32 + 1.0).ln();
    let capitals = |word: &&&str| word.len() > 1 && word.chars().all(|c| c.is_uppercase());
    [
        length,
        length * length,
        (prompt.text.len() as f32 + 1.0).ln(),
        log(stem_words.len()),
        of_list(log(lengths.iter().sum())),
        of_list(log(longest)),
        of_list(log(shortest)),
        of_list(log(longest - shortest)),
        of_list(repetition(&item_words)),
        of_list(share(lines_of(&|item| item.contains(|c: char| c.is_ascii_digit())), items.len())),
        of_list(flag(lines_of(&|item| !item.contains(char::is_alphabetic)) == items.len())),
        of_list(language.surprise(&item_words.iter().flatten().collect::<Vec<_>>()).words),
        flag(
            ["all of the", "none of the", "both of the", "all of these", "neither of", "both a and b"]
                .iter()
                .any(|t| lower.contains(t)),
        ),
        (sentences as f32).ln(),
        share(stem_words.len(), sentences) / 20.0,
        log(numbers),
        share(numbers, all.len()),
        share(text.chars().filter(|c| FORMULA.contains(*c)).count(), text.chars().count()) * 10.0,
        share(count(&|w| w.kind == Kind::Symbol), all.len()),
        share(spaced.iter().filter(capitals).count(), spaced.len()),
        share(stem_words.iter().skip(1).filter(|word| word.starts_with(char::is_uppercase)).count(), stem_words.len()),
        log(count(&|w| within(negations, w))),
        flag(stem_words.iter().any(|word| {
            let word = word.trim_matches(|c: char| !c.is_alphabetic()).to_lowercase();
            matches!(&*word, "not" | "except" | "least")
        })),
        log(reasoning),
        share(reasoning, letters),
        share(count_letters(all), letters) / 5.0,
        share(count(&|w| w.kind == Kind::Letters && w.text.chars().count() > 8), letters),
        share(count(&|w| w.kind == Kind::Letters && w.text.chars().count() == 1), letters),
        share(distinct, letters),
        share(count(&|w| within(function_words, w)), letters),
        flag(stem.contains('?')),
        flag(ends.ends_with('?')),
        flag(ends.ends_with(':')),
        flag(ends.ends_with('.')),
        flag(text.contains("__")),
        flag(lower.contains("statement") || lower.contains("scenario")),
        flag(text.contains(['"', '“'])),
        log(stem.trim_end().matches('\n').count()),
        surprise.words,
        surprise.pairs,
        surprise.unseen,
        (prompt.history_words as f32 + 1.0).ln() + prompt.turns.saturating_sub(1) as f32 + flag(prompt.has_tools),
    ]
}

fn count_letters(words: &[Word]) -> usize {
    words.iter().filter(|w| w.kind == Kind::Letters).map(|w| w.text.chars().count()).sum()
}

/// Returns the share of the words of the items that occur in an earlier item.
fn repetition(items: &[Vec<Word>]) -> f32 {
    let mut hashes = Vec::new();
    for item in items {
        let mut own: Vec<u64> = item.iter().map(|word| word.hash).collect();
        own.sort_unstable();
        own.dedup();
        hashes.extend(own);
    }
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    if all == 0 { 0.0 } else { 1.0 - hashes.len() as f32 / all as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The measures with `list` in their names that every text has.
    const LIST_FREE: [&str; 2] = ["words-before-list", "listed-all-or-none"];

    fn measure(text: &str, name: &str) -> f32 {
        let features = Features::of(&Prompt::new(text), &Language::train([]));
        features.measures[MEASURES.iter().position(|n| *n == name).expect("a measure")]
    }

    #[test]
    fn lists_are_found_by_their_marks() {
        let (stem, items) = listed("Which is it?\nA. one two\n B) three\nAnswer:");
        assert_eq!((stem, items), ("Which is it?\n", vec!["one two", "three"]));
        assert_eq!(listed("1. alone\nand é. no mark").1, Vec::<&str>::new());
        assert_eq!(listed("x.y\n.\n)\nA.\n").1, Vec::<&str>::new());
    }

    #[test]
    fn measures_say_what_their_names_say() {
        let text = "Which is NOT true, if x = 3?\nA. Wrong, not right\nB. Wrong, wrong\nC. 4";
        for (name, value) in [
            ("negated-question", 1.0),
            ("ends-in-question", 1.0),
            ("ends-in-colon", 0.0),
            ("sentences", 0.0),
            ("listed-numbers", 1.0 / 3.0),
            ("listed-figures-only", 0.0),
            ("longest-listed", 4f32.ln()),
            ("listed-spread", 3f32.ln()),
            ("listed-repetition", 1.0 - 5.0 / 7.0),
            ("numbers", 3f32.ln()),
            ("reasoning-words", 2f32.ln()),
            ("conversation", 0.0),
        ] {
            let found = measure(text, name);
            assert!((found - value).abs() < 1e-6, "{name}: {found}, not {value}");
        }
        assert!(measure("a", "gap") == 0.0 && measure("fill ___ in", "gap") == 1.0);
    }

    #[test]
    fn every_text_has_finite_features() {
        for text in ["", " ", "\n\n", "é", "A. \nB. ", "日本語", "____", &"x ".repeat(200_000)] {
            let features = Features::of(&Prompt::new(text), &Language::train(["a b"]));
            let of_lists = MEASURES.iter().zip(features.measures).filter(|(name, _)| name.contains("list"));
            assert!(of_lists.clone().count() == 10 && features.measures.iter().all(|value| !value.is_infinite()));
            let is_list = text.starts_with("A. ");
            assert!(
                of_lists.filter(|(name, _)| !LIST_FREE.contains(name)).all(|(_, v)| v.is_nan() != is_list),
                "{text:?}"
            );
            let others = MEASURES.iter().zip(features.measures).filter(|(name, _)| !name.contains("list"));
            assert!(others.map(|(_, value)| value).all(f32::is_finite), "{text:?}");
            assert!(features.grams.is_sorted() && features.grams.iter().all(|g| (*g as usize) < GRAM_BUCKETS));
        }
    }
}
