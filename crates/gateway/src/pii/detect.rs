//! The detector: recognisers and tagger together, without overlaps.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use super::recognise::{self, Found};
use super::tagger::model::Model;
use super::tagger::{self, Tagged};
use super::view::View;
use super::{Kind, Span};
use crate::{GatewayError, Result};

/// Nationalities and religious groups, one a line, in lower case.
const GROUPS: &str = include_str!("../../data/groups.txt");
/// Words that make a nationality one of a person.
const GROUP_CONTEXT: [&str; 12] = [
    "nationality",
    "citizen",
    "citizenship",
    "religion",
    "religious",
    "ethnicity",
    "ethnic",
    "race",
    "faith",
    "believes",
    "passport",
    "denomination",
];

/// Words in front of private data that look like names of companies themselves.
const LABELS: &[&str] = &[
    "SSN", "IBAN", "BIC", "SWIFT", "VAT", "DOB", "ID", "PIN", "ZIP", "TIN", "ITIN", "EIN", "NHS", "NI", "PAN", "TFN",
    "ABN", "SIN", "IP", "MAC", "URL", "Tel", "Fax", "Email", "E-mail", "e-mail", "ATM", "ASAP", "CEO", "CEOs", "CFO",
    "CTO", "COO", "HR", "PR", "FAQ", "ETA", "RSVP", "PDF", "CV", "PO", "FYI", "TBD", "TBA", "NDA", "KPI", "API", "SQL",
    "JSON", "HTML", "HTTP", "USB", "CPU", "GPU", "RAM", "TV", "DVD", "DNA", "GPS", "SMS", "DIY", "VIP", "OK", "PS",
    "AM", "PM",
];

/// Settings of a [`Detector`].
#[derive(Debug, Clone)]
pub struct DetectOptions {
    /// The least score of a span, from 0 to 1.
    pub threshold: f32,
    /// The kinds to find; all if `None`.
    pub kinds: Option<Vec<Kind>>,
    /// `true` to find every date and time: years, days of the week, months, `yesterday`. Otherwise only complete dates count, and others near
    /// words such as `born`, because a text without its years says little.
    pub all_dates: bool,
}

impl Default for DetectOptions {
    fn default() -> Self {
        Self { threshold: 0.5, kinds: None, all_dates: false }
    }
}

/// Finds private data in texts. A detector has no state and can be shared.
#[derive(Debug, Clone)]
pub struct Detector {
    options: DetectOptions,
    wanted: [bool; Kind::ALL.len()],
    model: Option<&'static Model<'static>>,
}

impl Detector {
    /// Creates a detector.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Detector`] if the tagger cannot be read.
    pub fn new(options: DetectOptions) -> Result<Self> {
        let mut wanted = [options.kinds.is_none(); Kind::ALL.len()];
        options.kinds.iter().flatten().for_each(|kind| wanted[*kind as usize] = true);
        let tags = [Kind::Person, Kind::Place, Kind::Organization, Kind::Address, Kind::ZipCode];
        let model = if tags.iter().any(|kind| wanted[*kind as usize]) {
            Some(tagger::shipped().ok_or(GatewayError::Detector { reason: "the file of the tagger is broken" })?)
        } else {
            None
        };
        Ok(Self { options, wanted, model })
    }

    /// Finds the private data of a text, in order and without overlaps.
    #[must_use]
    pub fn detect(&self, text: &str) -> Vec<Span> {
        let view = View::new(text);
        let wanted = |kind: Kind| self.wanted[kind as usize];
        let mut found = recognise::scan(&view.text, self.options.threshold, &wanted, self.options.all_dates);
        if wanted(Kind::Nrp) {
            groups(&view.text, &mut found);
        }
        found.retain(|f| f.score >= self.options.threshold);
        let structured = best(found);
        let mut dropped = vec![false; structured.len()];
        let mut kept = Vec::new();
        if let Some(model) = self.model {
            for tagged in tagger::tag(model, &view.text) {
                self.add_tagged(&view.text, tagged, &structured, &mut dropped, &mut kept);
            }
        }
        kept.extend(structured.iter().zip(&dropped).filter(|(_, dropped)| !**dropped).map(|(f, _)| *f));
        kept.sort_by_key(|f| f.start);
        let spans = kept.into_iter().map(|f| {
            let (start, end) = view.source(f.start, f.end);
            Span { start, end, kind: f.kind, score: f.score.min(1.0) }
        });
        spans.collect()
    }

    /// Adds what the tagger found, without the parts that recognisers have found with more certainty.
    fn add_tagged(
        &self,
        text: &str,
        tagged: Tagged,
        structured: &[Found],
        dropped: &mut [bool],
        kept: &mut Vec<Found>,
    ) {
        let bare = !text[tagged.range.clone()].chars().any(char::is_alphabetic);
        let kind = match tagged.tag {
            1 => Kind::Person,
            2 => Kind::Place,
            3 => Kind::Organization,
            _ if bare && coded(text, tagged.range.start) => Kind::ZipCode,
            _ => Kind::Address,
        };
        let long = bare && tagged.range.len() > 10;
        if !self.wanted[kind as usize] || tagged.score < self.options.threshold || long {
            return;
        }
        let Tagged { range, score, .. } = tagged;
        let mut pieces = vec![range.clone()];
        let first = structured.partition_point(|f| f.end <= range.start);
        for (i, f) in structured.iter().enumerate().skip(first).take_while(|(_, f)| f.start < range.end) {
            // An address may contain a number that only looks like something else.
            let inside = range.start <= f.start && f.end <= range.end && 3 * (f.end - f.start) < range.len();
            if kind == Kind::Address && !bare && inside && f.score < 0.8 && !(f.kind == Kind::Phone && f.score > 0.5) {
                dropped[i] = true;
                continue;
            }
            let parts =
                |p: Range<usize>| [p.start..p.end.min(f.start.max(p.start)), p.start.max(f.end.min(p.end))..p.end];
            pieces = pieces.into_iter().flat_map(parts).filter(|p| p.start < p.end).collect();
        }
        for piece in pieces {
            let part = &text[piece.clone()];
            let trimmed = part.trim_matches(|c: char| !c.is_alphanumeric() && c != '.' && c != ')');
            let start = piece.start + (part.len() - part.trim_start_matches(|c: char| !c.is_alphanumeric()).len());
            let end = piece.start + part.find(trimmed).unwrap_or(0) + trimmed.len();
            if start >= end || is_group(&text[start..end].to_lowercase()) || LABELS.contains(&&text[start..end]) {
                continue;
            }
            if text[start..end].chars().filter(|c| c.is_alphanumeric()).count() > 1 {
                kept.push(Found { start, end, kind, score });
            }
        }
    }
}

/// Tells if the words before a number call it a postal code.
fn coded(text: &str, at: usize) -> bool {
    let from = (at.saturating_sub(16)..=at).find(|&i| text.is_char_boundary(i)).unwrap_or(at);
    let before = text[from..at].to_lowercase();
    ["zip", "postal", "postcode", "post code", "plz"].iter().any(|word| before.contains(word))
}

/// Keeps the matches with the highest scores, the longest first, that do not overlap.
fn best(mut found: Vec<Found>) -> Vec<Found> {
    let length = |f: &Found| f.end - f.start;
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(length(b).cmp(&length(a))).then(a.start.cmp(&b.start)));
    // The winners in order of their start, so that the neighbours tell of an overlap.
    let mut kept: BTreeMap<usize, Found> = BTreeMap::new();
    for f in found {
        let before = kept.range(..f.end).next_back().is_some_and(|(_, k)| k.end > f.start);
        if !before {
            kept.insert(f.start, f);
        }
    }
    kept.into_values().collect()
}

/// Tells if a word in lower case, or its singular, names a nationality or a religious group.
fn is_group(word: &str) -> bool {
    static SET: OnceLock<HashSet<&'static str>> = OnceLock::new();
    let set = SET.get_or_init(|| GROUPS.lines().collect());
    set.contains(word) || set.contains(word.strip_suffix('s').unwrap_or(word))
}

/// Finds nationalities and religious groups. Only words around them make them private.
fn groups(text: &str, found: &mut Vec<Found>) {
    let mut start = None;
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (at, c) in ends {
        if c.is_alphabetic() {
            start = start.or(Some(at));
        } else if let Some(from) = start.take()
            && at - from > 3
            && is_group(&text[from..at].to_lowercase())
        {
            let window = (from.saturating_sub(48)..=from).find(|&i| text.is_char_boundary(i)).unwrap_or(from);
            let before = text[window..from].to_lowercase();
            let near = GROUP_CONTEXT.iter().any(|word| before.contains(word));
            found.push(Found { start: from, end: at, kind: Kind::Nrp, score: if near { 0.65 } else { 0.3 } });
        }
    }
}
