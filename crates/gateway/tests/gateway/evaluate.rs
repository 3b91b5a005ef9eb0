//! Figures on an independent corpus, and on prose without private data.

use std::collections::BTreeMap;

use honelm_gateway::pii::{DetectOptions, Detector, Kind, in_characters};
use honelm_testing::{skip, test_data};
use serde_json::Value;

use crate::{detector, shown};

const STRUCTURED: [&str; 7] =
    ["CREDIT_CARD", "PHONE_NUMBER", "EMAIL_ADDRESS", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "URL"];
const TAGGED: [&str; 4] = ["PERSON", "ADDRESS", "GPE", "ORGANIZATION"];

/// Our name of a kind of the corpus.
fn renamed(kind: &str) -> &str {
    match kind {
        "STREET_ADDRESS" => "ADDRESS",
        "DOMAIN_NAME" => "URL",
        other => other,
    }
}

/// Counts of a kind: in the corpus, of these found, reported, of these right.
#[derive(Default, Clone, Copy)]
struct Counts {
    gold: usize,
    found: usize,
    reported: usize,
    right: usize,
}

impl Counts {
    fn with(&self, other: &Self) -> Self {
        Self {
            gold: self.gold + other.gold,
            found: self.found + other.found,
            reported: self.reported + other.reported,
            right: self.right + other.right,
        }
    }
}

fn rates(counts: &BTreeMap<String, Counts>, kinds: &[&str]) -> (f64, f64, f64) {
    let all = kinds.iter().filter_map(|kind| counts.get(*kind)).fold(Counts::default(), |a, b| a.with(b));
    let (recall, precision) = (all.found as f64 / all.gold as f64, all.right as f64 / all.reported as f64);
    (recall, precision, 5.0 * recall * precision / (4.0 * precision + recall))
}

/// A form in which a text of the corpus stands.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    Json,
    Table,
}

impl Form {
    /// Returns the text before the own one.
    fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Json => "{\"id\": 12, \"message\": \"",
            Self::Table => "| id | message |\n|---|---|\n| 12 | ",
        }
    }

    /// Returns a text, or its beginning, as it is written in this form.
    fn written(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Json => serde_json::to_string(text).expect("a string").trim_matches('"').to_owned(),
            // A cell has one line.
            Self::Table => text.replace('\n', " "),
        }
    }

    fn whole(self, text: &str) -> String {
        let suffix = match self {
            Self::Plain => "",
            Self::Json => "\"}",
            Self::Table => " |\n",
        };
        format!("{}{}{suffix}", self.prefix(), self.written(text))
    }
}

/// Counts what a detector finds in a part of the corpus, by kind. With `any_kind`, a span of another kind is right too.
fn counted(
    corpus: &[Value],
    form: Form,
    detector: &Detector,
    any_kind: bool,
    part: impl Fn(usize) -> bool,
) -> BTreeMap<String, Counts> {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for (_, entry) in corpus.iter().enumerate().filter(|(number, _)| part(*number)) {
        let text = entry["full_text"].as_str().expect("a text");
        let characters: Vec<char> = text.chars().collect();
        let at = |value: &Value| {
            let at = usize::try_from(value.as_u64().expect("a position")).expect("a position");
            let before: String = characters[..at].iter().collect();
            form.prefix().chars().count() + form.written(&before).chars().count()
        };
        let gold: Vec<(usize, usize, &str)> = entry["spans"]
            .as_array()
            .expect("spans")
            .iter()
            .map(|s| {
                (at(&s["start_position"]), at(&s["end_position"]), renamed(s["entity_type"].as_str().expect("a kind")))
            })
            .collect();
        let text = form.whole(text);
        let found: Vec<(usize, usize, &str)> =
            in_characters(&text, &detector.detect(&text)).iter().map(|s| (s.start, s.end, s.kind.name())).collect();
        // Half of a span in common with one of the right kind counts.
        let half = |a: &(usize, usize, &str), others: &[(usize, usize, &str)]| {
            others
                .iter()
                .any(|b| (any_kind || a.2 == b.2) && 2 * a.1.min(b.1).saturating_sub(a.0.max(b.0)) >= a.1 - a.0)
        };
        for span in &gold {
            let own = counts.entry(span.2.to_owned()).or_default();
            own.gold += 1;
            own.found += usize::from(half(span, &found));
        }
        for span in &found {
            let own = counts.entry(span.2.to_owned()).or_default();
            own.reported += 1;
            own.right += usize::from(half(span, &gold));
        }
    }
    counts
}

fn corpus(root: &std::path::Path) -> Vec<Value> {
    let file = std::fs::read(root.join("data/pii/synth_dataset_v2.json")).expect("the corpus");
    serde_json::from_slice(&file).expect("JSON")
}

#[test]
fn an_independent_corpus() {
    let Some(root) = test_data() else { skip!("an_independent_corpus") };
    let (corpus, detector) = (corpus(&root), detector());
    // Errors were only looked at in the first half.
    let halves = [0, 1].map(|half| counted(&corpus, Form::Plain, &detector, false, |number| number % 2 == half));
    let mut all = halves[0].clone();
    for (kind, more) in &halves[1] {
        let own = all.entry(kind.clone()).or_default();
        *own = own.with(more);
    }
    for (kind, c) in &all {
        println!(
            "{kind:18} {:4} in the corpus, {:4} found, {:4} reported, {:4} right",
            c.gold, c.found, c.reported, c.right
        );
    }
    let (recall, precision, f2) = rates(&all, &STRUCTURED);
    println!("structured: recall {recall:.3}, precision {precision:.3}, F2 {f2:.3}");
    assert!(recall >= 0.97 && precision >= 0.95, "structured: recall {recall:.3}, precision {precision:.3}");
    for (name, counts) in [("all", &all), ("the half that was looked at", &halves[0]), ("the other half", &halves[1])] {
        let (recall, precision, f2) = rates(counts, &[&STRUCTURED[..], &TAGGED[..]].concat());
        println!(
            "with names, addresses, places and organisations, {name}: recall {recall:.3}, precision {precision:.3}, F2 {f2:.3}"
        );
        assert!(f2 > 0.85 && precision >= 0.70, "{name}: recall {recall:.3}, precision {precision:.3}, F2 {f2:.3}");
    }
    for (name, part) in [("all", [0, 1]), ("the other half", [1, 1])] {
        let counts = counted(&corpus, Form::Plain, &detector, true, |number| part.contains(&(number % 2)));
        let (recall, precision, f2) = rates(&counts, &[&STRUCTURED[..], &TAGGED[..]].concat());
        println!("whatever the kind, {name}: recall {recall:.3}, precision {precision:.3}, F2 {f2:.3}");
    }
    // Where all dates are wanted, the corpus's years and names of days are found too.
    let every = Detector::new(DetectOptions { all_dates: true, ..DetectOptions::default() }).expect("a detector");
    let counts = counted(&corpus, Form::Plain, &every, false, |_| true);
    let (recall, precision, _) = rates(&counts, &["DATE_TIME"]);
    // It does not mark `last month`, `this morning` and the like, which count as false here.
    println!("all dates: recall {recall:.3}, precision {precision:.3}");
    assert!(recall >= 0.95 && precision >= 0.50, "all dates: recall {recall:.3}, precision {precision:.3}");
}

#[test]
fn the_same_in_json_and_in_tables() {
    let Some(root) = test_data() else { skip!("the_same_in_json_and_in_tables") };
    let (corpus, detector) = (corpus(&root), detector());
    for (name, form) in [("JSON", Form::Json), ("tables", Form::Table)] {
        let counts = counted(&corpus, form, &detector, false, |_| true);
        let (recall, precision, _) = rates(&counts, &STRUCTURED);
        println!("{name}, structured: recall {recall:.3}, precision {precision:.3}");
        assert!(recall >= 0.97 && precision >= 0.95, "{name}: recall {recall:.3}, precision {precision:.3}");
        let (recall, precision, f2) = rates(&counts, &[&STRUCTURED[..], &TAGGED[..]].concat());
        println!(
            "{name}, with names, addresses, places and organisations: recall {recall:.3}, precision {precision:.3}, F2 {f2:.3}"
        );
        assert!(f2 > 0.80 && precision >= 0.65, "{name}: recall {recall:.3}, precision {precision:.3}, F2 {f2:.3}");
    }
}

#[test]
fn prose_has_no_false_identifiers() {
    let Some(root) = test_data() else { skip!("prose_has_no_false_identifiers") };
    let kinds = Kind::ALL.iter().copied().filter(|kind| kind.is_structured()).collect();
    let detector = Detector::new(DetectOptions { kinds: Some(kinds), ..DetectOptions::default() }).expect("a detector");
    for file in ["wikitext2-test.raw", "heldout-galsworthy.txt"] {
        let text = std::fs::read_to_string(root.join("data/text").join(file)).expect("the text");
        // Domain names and dates of birth in the text are what they are said to be.
        let spans = detector.detect(&text);
        let found: Vec<_> =
            shown(&text, &spans).into_iter().filter(|(kind, _)| !matches!(*kind, "URL" | "DATE_TIME")).collect();
        let words = text.split_whitespace().count();
        println!(
            "{file}: {} hits in {words} words, {} besides domain names and dates of birth",
            spans.len(),
            found.len()
        );
        assert!(spans.len() * 5_000 <= words && found.len() * 10_000 <= words, "{found:?}");
    }
}
