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

fn rates(counts: &BTreeMap<String, Counts>, kinds: &[&str]) -> (f64, f64, f64) {
    let all = kinds.iter().filter_map(|kind| counts.get(*kind)).fold(Counts::default(), |a, b| Counts {
        gold: a.gold + b.gold,
        found: a.found + b.found,
        reported: a.reported + b.reported,
        right: a.right + b.right,
    });
    let (recall, precision) = (all.found as f64 / all.gold as f64, all.right as f64 / all.reported as f64);
    (recall, precision, 5.0 * recall * precision / (4.0 * precision + recall))
}

#[test]
fn an_independent_corpus() {
    let Some(root) = test_data() else { skip!("an_independent_corpus") };
    let file = std::fs::read(root.join("data/pii/synth_dataset_v2.json")).expect("the corpus");
    let corpus: Vec<Value> = serde_json::from_slice(&file).expect("JSON");
    let detector = detector();
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for entry in &corpus {
        let text = entry["full_text"].as_str().expect("a text");
        let at = |value: &Value| usize::try_from(value.as_u64().expect("a position")).expect("a position");
        let gold: Vec<(usize, usize, &str)> = entry["spans"]
            .as_array()
            .expect("spans")
            .iter()
            .map(|s| {
                (at(&s["start_position"]), at(&s["end_position"]), renamed(s["entity_type"].as_str().expect("a kind")))
            })
            .collect();
        let found: Vec<(usize, usize, &str)> =
            in_characters(text, &detector.detect(text)).iter().map(|s| (s.start, s.end, s.kind.name())).collect();
        // Half of a span in common with one of the same kind counts.
        let half = |a: &(usize, usize, &str), others: &[(usize, usize, &str)]| {
            others.iter().any(|b| a.2 == b.2 && 2 * a.1.min(b.1).saturating_sub(a.0.max(b.0)) >= a.1 - a.0)
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
    for (kind, c) in &counts {
        println!(
            "{kind:18} {:4} in the corpus, {:4} found, {:4} reported, {:4} right",
            c.gold, c.found, c.reported, c.right
        );
    }
    let (recall, precision, _) = rates(&counts, &STRUCTURED);
    println!("structured: recall {recall:.3}, precision {precision:.3}");
    assert!(recall >= 0.97 && precision >= 0.95, "structured: recall {recall:.3}, precision {precision:.3}");
    let (recall, precision, f2) = rates(&counts, &[&STRUCTURED[..], &TAGGED[..]].concat());
    println!(
        "with names, addresses, places and organisations: recall {recall:.3}, precision {precision:.3}, F2 {f2:.3}"
    );
    assert!(f2 > 0.85 && precision >= 0.70, "all: recall {recall:.3}, precision {precision:.3}, F2 {f2:.3}");
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
