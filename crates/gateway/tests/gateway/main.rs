//! Tests of the crate.

mod detect;
mod evaluate;
mod recognise;
mod redact;
mod restore;
mod tagger;

use honelm_gateway::pii::{DetectOptions, Detector, Kind, Span};

/// A detector with the default settings.
pub fn detector() -> Detector {
    Detector::new(DetectOptions::default()).expect("a detector")
}

/// A detector of one kind that reports everything.
pub fn only(kind: Kind) -> Detector {
    Detector::new(DetectOptions { threshold: 0.0, kinds: Some(vec![kind]), ..DetectOptions::default() })
        .expect("a detector")
}

/// The kinds and texts of spans.
pub fn shown<'a>(text: &'a str, spans: &[Span]) -> Vec<(&'static str, &'a str)> {
    spans.iter().map(|s| (s.kind.name(), &text[s.start..s.end])).collect()
}
