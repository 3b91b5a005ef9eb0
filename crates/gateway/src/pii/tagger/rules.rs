//! Rules about what the random field found, which sees a few words at a time: names that the same text has elsewhere, lists of names,
//! street corners, military addresses, and words that are no names.

use std::collections::HashSet;
use std::ops::Range;

use super::features::Lexicon;
use super::tokens::Token;
use super::{ADDRESS, PERSON, PLACE, Tagged};

/// The endings of contractions: `I'll`, `don't`.
const CONTRACTIONS: [&str; 8] = ["'ll", "'m", "'ve", "'re", "'d", "n't", "'mon", "'all"];
/// Words of addresses: an address without a number has one of them.
const STREET_WORDS: &[&str] = &[
    "street",
    "st",
    "str",
    "road",
    "rd",
    "avenue",
    "ave",
    "lane",
    "ln",
    "drive",
    "dr",
    "court",
    "ct",
    "square",
    "sq",
    "place",
    "pl",
    "boulevard",
    "blvd",
    "way",
    "terrace",
    "close",
    "crescent",
    "highway",
    "hwy",
    "parkway",
    "alley",
    "row",
    "mews",
    "box",
    "suite",
    "apt",
    "apartment",
    "unit",
    "flat",
    "floor",
    "room",
    "rue",
    "via",
    "viale",
    "piazza",
    "calle",
    "avenida",
    "plaza",
    "paseo",
    "rua",
    "travessa",
    "ulica",
    "ul",
    "utca",
    "allee",
    "quai",
    "chemin",
    "postfach",
];
/// The ends of street names that are one word.
const STREET_ENDS: &[&str] = &[
    "straße", "strasse", "str", "weg", "platz", "gasse", "allee", "gade", "gata", "gatan", "gate", "vej", "veg",
    "vegen", "vägen", "katu", "tie", "straat", "laan", "plein", "utca",
];
/// Words that only say in which part of a place something is.
const DIRECTIONS: [&str; 5] = ["Southern", "Northern", "Eastern", "Western", "Central"];
/// Places whose names begin with such a word.
const NAMED_BY_DIRECTION: [&str; 9] =
    ["Ireland", "Australia", "Territory", "Territories", "Cape", "Sahara", "African", "Province", "Region"];
/// The words with which the line before a military post office begins.
const UNITS: [&str; 8] = ["psc", "unit", "cmr", "uss", "usns", "usnv", "uscgc", "hc"];
/// The most bytes of each street of a corner, and of the line before a military post office.
const MOST: usize = 60;
/// The score of what a rule finds.
const SCORE: f32 = 0.7;

/// Applies the rules to the entities of a text.
pub(super) fn apply(text: &str, tokens: &[Token], lexicon: &Lexicon, mut found: Vec<Tagged>) -> Vec<Tagged> {
    let mut whole: Vec<Range<usize>> = corners(text).into_iter().chain(military(text)).collect();
    whole.sort_by_key(|range| range.start);
    whole.dedup_by(|next, kept| next.start < kept.end);
    found.retain(|tagged| is_apart(&whole, &tagged.range));
    found.extend(whole.into_iter().map(|range| Tagged { range, tag: ADDRESS, score: SCORE }));
    found.sort_by_key(|tagged| tagged.range.start);
    known_people(text, tokens, lexicon, &mut found);
    listed_people(text, lexicon, &mut found);
    found.iter_mut().filter(|tagged| tagged.tag == PLACE).for_each(|tagged| without_direction(text, tagged));
    found.retain(|tagged| is_founded(&text[tagged.range.clone()], tagged.tag));
    found
}

/// Tells if a range has nothing in common with those of a list, which are in order and apart.
fn is_apart(list: &[Range<usize>], range: &Range<usize>) -> bool {
    let next = list.partition_point(|other| other.end <= range.start);
    list.get(next).is_none_or(|other| range.end <= other.start)
}

/// Returns the words of a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '’').filter(|word| !word.is_empty())
}

/// Tells if an entity can be what it was taken for.
fn is_founded(value: &str, tag: usize) -> bool {
    let lower = value.to_lowercase().replace('’', "'");
    if tag != ADDRESS {
        return !(CONTRACTIONS.iter().any(|end| lower.ends_with(end)) && words(&lower).count() == 1);
    }
    let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &lower[digits..];
    if digits > 0 && matches!(rest, "st" | "nd" | "rd" | "th" | "s") || digits == lower.len() && digits < 3 {
        return false;
    }
    let named = |word: &str| {
        STREET_WORDS.contains(&word) || STREET_ENDS.iter().any(|end| word.len() > end.len() && word.ends_with(end))
    };
    lower.bytes().any(|b| b.is_ascii_digit()) || words(&lower).any(named)
}

/// Makes people of names that a full name in the same text contains, whether or not they were found.
fn known_people(text: &str, tokens: &[Token], lexicon: &Lexicon, found: &mut Vec<Tagged>) {
    let mut known: HashSet<&str> = HashSet::new();
    for tagged in found.iter().filter(|tagged| tagged.tag == PERSON) {
        let parts: Vec<&str> = words(&text[tagged.range.clone()]).collect();
        let uncommon = |word: &&str| word.chars().count() > 2 && !lexicon.words.has(word);
        if parts.len() > 1 {
            known.extend(parts.into_iter().filter(uncommon));
        }
    }
    if known.is_empty() {
        return;
    }
    for tagged in found.iter_mut() {
        if known.contains(&text[tagged.range.clone()]) {
            tagged.tag = PERSON;
        }
    }
    let covered: Vec<Range<usize>> = found.iter().map(|tagged| tagged.range.clone()).collect();
    for token in tokens.iter().filter(|token| known.contains(&text[token.start..token.end])) {
        if is_apart(&covered, &(token.start..token.end)) {
            found.push(Tagged { range: token.start..token.end, tag: PERSON, score: SCORE });
        }
    }
    found.sort_by_key(|tagged| tagged.range.start);
}

/// Makes people of first names beside people in a list: `Ann, Brittany and Terri`.
fn listed_people(text: &str, lexicon: &Lexicon, found: &mut [Tagged]) {
    let joins = |a: &Tagged, b: &Tagged| {
        matches!(text.get(a.range.end..b.range.start), Some(", " | " and " | ", and " | " & " | " und "))
    };
    for at in 0..found.len() {
        let own = &found[at];
        let beside = |other: usize| found.get(other).filter(|other| other.tag == PERSON);
        let before = at.checked_sub(1).and_then(beside).is_some_and(|other| joins(other, own));
        let after = beside(at + 1).is_some_and(|other| joins(own, other));
        let first_names = || words(&text[own.range.clone()]).all(|word| word == "and" || lexicon.names[0].has(word));
        if own.tag != ADDRESS && (before || after) && first_names() {
            found[at].tag = PERSON;
        }
    }
}

/// Takes the direction from the front of a place: `Southern Poland`.
fn without_direction(text: &str, tagged: &mut Tagged) {
    let value = &text[tagged.range.clone()];
    let Some((first, rest)) = value.split_once(' ') else { return };
    if DIRECTIONS.contains(&first) && !NAMED_BY_DIRECTION.iter().any(|name| rest.starts_with(name)) {
        tagged.range.start = tagged.range.end - rest.len();
    }
}

/// Finds street corners: `the corner of 25 High Street and King Road`.
fn corners(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    for (at, mark) in text.match_indices("corner of ") {
        let first = at + mark.len();
        let most =
            (first..=text.len().min(first + 2 * MOST)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(first);
        let line = text[first..most].split('\n').next().unwrap_or_default();
        let Some(and) = line.find(" and ").filter(|and| *and > 0 && *and <= MOST) else { continue };
        let second = first + and + " and ".len();
        let length = name_length(&line[and + " and ".len()..]);
        let begins = |part: &str| part.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit());
        if length == 0 || !begins(line) && !line[..and].split(' ').any(begins) {
            continue;
        }
        let start = if text[..at].ends_with("the ") || text[..at].ends_with("The ") { at - "the ".len() } else { at };
        out.push(start..second + length);
    }
    out
}

/// Returns the length of the name at the start of a text: capitalised words and numbers, with small words between them.
fn name_length(text: &str) -> usize {
    let (mut at, mut end) = (0, 0);
    for word in text.split_inclusive(' ').take(6) {
        let bare = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        let begins = bare.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit());
        if !begins && (end > 0 || bare.len() > 4 || bare.is_empty()) {
            break;
        }
        if begins {
            end = at + bare.len();
        }
        at += word.len();
        if word.trim_end().len() > bare.len() && !word.trim_end().ends_with('.') {
            break;
        }
    }
    if end > MOST { 0 } else { end }
}

/// Finds military addresses: a unit or a ship, and `APO AE 12345`.
fn military(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices([' ', '\n', ',']) {
        // The office begins a word; three letters, a region and five digits follow.
        let office = at + 1;
        let Some(rest) = text.get(office..) else { continue };
        if !["APO ", "FPO ", "DPO ", "apo ", "fpo ", "dpo "].iter().any(|name| rest.starts_with(name)) {
            continue;
        }
        let region = rest.get(4..6).is_some_and(|region| ["AA", "AE", "AP"].contains(&&*region.to_ascii_uppercase()));
        let digits = rest.bytes().skip(7).take_while(u8::is_ascii_digit).count();
        if !region || rest.as_bytes().get(6) != Some(&b' ') || digits != 5 {
            continue;
        }
        let before = text[..at].trim_end_matches([' ', '\n', ',', '>']);
        let from = (before.len().saturating_sub(MOST)..=before.len())
            .find(|&i| before.is_char_boundary(i))
            .unwrap_or(before.len());
        let from = before[from..].rfind('\n').map_or(from, |line| from + line + 1);
        let unit = before[from..].split_inclusive([' ', '\n', ',']).scan(from, |next, word| {
            let start = *next;
            *next += word.len();
            Some((start, word.trim_end_matches([' ', '\n', ',']).to_lowercase()))
        });
        let start = unit.into_iter().find(|(_, word)| UNITS.contains(&&**word)).map_or(office, |(start, _)| start);
        out.push(start..office + 7 + digits);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_and_military_addresses_are_whole() {
        let cut = |text: &'static str, of: fn(&str) -> Vec<Range<usize>>| {
            of(text).into_iter().map(|range| &text[range]).collect::<Vec<_>>()
        };
        for (text, expected) in [
            (
                "Meet me at the corner of 12 High Street and King Road, please.",
                vec!["the corner of 12 High Street and King Road"],
            ),
            (
                "It is on the corner of Csabai kapu 39. and de Vries Lane?",
                vec!["the corner of Csabai kapu 39. and de Vries Lane"],
            ),
            ("corner of Kuusiku 7 and Mill Flat\nTel: 1", vec!["corner of Kuusiku 7 and Mill Flat"]),
            ("He sat in the corner of the room and slept.", vec![]),
            ("the corner of his eye and The", vec![]),
        ] {
            assert_eq!(cut(text, corners), expected, "{text}");
        }
        for (text, expected) in [
            ("it is USNS Vincent\nFPO AA 68422.", vec!["USNS Vincent\nFPO AA 68422"]),
            ("PSC 3294, Box 916\nAPO AP 04336", vec!["PSC 3294, Box 916\nAPO AP 04336"]),
            ("Ann Lee\n> unit 1009 box 0219\n> dpo ae 12345", vec!["unit 1009 box 0219\n> dpo ae 12345"]),
            ("the APO AE 1234 and APO XX 12345", vec![]),
            ("to APO AE 09012", vec!["APO AE 09012"]),
        ] {
            assert_eq!(cut(text, military), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_or_an_address_is_dropped() {
        for (value, tag, kept) in [
            ("I'll", PERSON, false),
            ("C’mon", PERSON, false),
            ("O'Neill", PERSON, true),
            ("10th", ADDRESS, false),
            ("60s", ADDRESS, false),
            ("15", ADDRESS, false),
            ("62488", ADDRESS, true),
            ("Carry Me Back To", ADDRESS, false),
            ("Baker Street", ADDRESS, true),
            ("Lindenstraße", ADDRESS, true),
            ("12 Rosenhof", ADDRESS, true),
        ] {
            assert_eq!(is_founded(value, tag), kept, "{value}");
        }
    }

    #[test]
    fn directions_are_no_part_of_a_place() {
        for (text, left) in
            [("Southern Poland", "Poland"), ("Northern Ireland", "Northern Ireland"), ("Central", "Central")]
        {
            let mut tagged = Tagged { range: 0..text.len(), tag: PLACE, score: 1.0 };
            without_direction(text, &mut tagged);
            assert_eq!(&text[tagged.range], left);
        }
    }
}
