//! Dates and times of every kind, for whoever wants all of them: years, days of the week, months, times of day, and days relative to the
//! present.

use super::super::Scan;
use super::{MONTHS, number};

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Days relative to the present, in one word.
const RELATIVE: [&str; 5] = ["today", "yesterday", "tomorrow", "tonight", "overmorrow"];
/// Spans of time that `last`, `next`, `this` or `ago` make relative to the present.
const SPANS: [&str; 16] = [
    "day",
    "week",
    "weekend",
    "fortnight",
    "month",
    "quarter",
    "year",
    "decade",
    "century",
    "morning",
    "afternoon",
    "evening",
    "night",
    "spring",
    "summer",
    "winter",
];
/// Words in front of a span of time or a day that belong to the date.
const DETERMINERS: [&str; 6] = ["last", "next", "this", "past", "coming", "previous"];
/// Words that a name of a month follows which is also another word: `May`, `March`.
const BEFORE_MONTHS: [&str; 14] =
    ["in", "of", "since", "until", "till", "by", "from", "to", "early", "mid", "late", "every", "during", "and"];
/// Numbers before a span of time with `ago`.
const NUMBERS: [&str; 14] =
    ["a", "an", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "few", "several"];
/// The years that four digits without a month mean.
const YEARS: std::ops::RangeInclusive<u32> = 1800..=2099;
/// The score of these dates.
const SCORE: f32 = 0.6;

/// Looks for a time of day or a year that begins with the digits `start..end` of a word up to `word_end`, and returns its end.
pub(super) fn numeric(scan: &mut Scan<'_>, start: usize, end: usize, word_end: usize) -> Option<usize> {
    if let Some(stop) = time_of_day(scan, start, end).filter(|stop| *stop >= word_end) {
        scan.add_date(start, stop, SCORE);
        return Some(stop);
    }
    let (year, _) =
        number(scan, start).filter(|(year, _)| end == word_end && end - start == 4 && YEARS.contains(year))?;
    let before = start.checked_sub(1).map_or(b' ', |at| scan.bytes[at]);
    let marked = matches!(before, b'$' | b'#' | b'-' | b'/' | b'.' | b',' | b'+' | b'=' | b'_' | b':');
    let inside = matches!(scan.byte(end), b'-' | b'/' | b'.' | b',') && scan.byte(end + 1).is_ascii_alphanumeric();
    if marked || inside || matches!(scan.byte(end), b'%' | b':' | b'_' | b'@') {
        return None;
    }
    let known = BEFORE_MONTHS.contains(&&*word_before(scan, start)) || (1900..=2035).contains(&year);
    known.then(|| scan.add_date(start, end, SCORE))?;
    Some(end)
}

/// Returns the end of a time of day: `17:30`, `5:30 p.m.`, `5 pm`, `11:20:05`.
fn time_of_day(scan: &Scan<'_>, start: usize, end: usize) -> Option<usize> {
    let (hour, _) = number(scan, start).filter(|(hour, _)| *hour <= 24 && end - start <= 2)?;
    let pair = |at: usize| {
        let value = number(scan, at).filter(|(_, stop)| stop - at == 2)?;
        (value.0 < 60).then_some(value.1)
    };
    let mut stop = end;
    let minutes = (scan.byte(end) == b':').then(|| pair(end + 1)).flatten();
    if let Some(at) = minutes {
        stop = (scan.byte(at) == b':').then(|| pair(at + 1)).flatten().unwrap_or(at);
        if scan.byte(stop) == b':' {
            return None;
        }
    }
    let space = usize::from(scan.byte(stop) == b' ');
    let half = scan.text.get(stop + space..).and_then(|rest| {
        ["a.m.", "p.m.", "am", "pm"].into_iter().find(|half| {
            let same = rest.get(..half.len()).is_some_and(|text| text.eq_ignore_ascii_case(half));
            same && !scan.is_word(stop + space + half.len())
        })
    });
    match half {
        Some(half) if (1..=12).contains(&hour) => Some(stop + space + half.len()),
        _ => minutes.filter(|_| !scan.is_word(stop)).map(|_| stop),
    }
}

/// Adds the dates of a text that have no digit.
pub(in super::super) fn words(scan: &mut Scan<'_>) {
    let mut at = 0;
    while at < scan.bytes.len() {
        if !scan.bytes[at].is_ascii_alphabetic() || !scan.begins(at) {
            at += scan.bytes[at..].iter().take_while(|b| b.is_ascii_alphabetic()).count().max(1);
            continue;
        }
        let length = scan.bytes[at..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let end = at + length;
        if (3..=10).contains(&length) && !scan.is_word(end) && scan.text.is_char_boundary(end) {
            word(scan, at, end);
        }
        at = end;
    }
}

fn word(scan: &mut Scan<'_>, start: usize, end: usize) {
    let lower = scan.text[start..end].to_ascii_lowercase();
    let singular = lower.strip_suffix('s').unwrap_or(&lower);
    let capital = scan.bytes[start].is_ascii_uppercase();
    let before = word_before(scan, start);
    if WEEKDAYS.contains(&singular) {
        let first = if DETERMINERS.contains(&&*before) { start - 1 - before.len() } else { start };
        scan.add_date(first, part_of_day(scan, end), SCORE);
    } else if RELATIVE.contains(&&*lower) || lower == "noon" || lower == "midnight" {
        scan.add_date(start, end, SCORE);
    } else if MONTHS.contains(&&*lower) {
        let ambiguous = matches!(&*lower, "may" | "march" | "august");
        let placed = capital && BEFORE_MONTHS.contains(&&*before) || DETERMINERS.contains(&&*before);
        let dated = year_behind(scan, end);
        if dated.is_some() || placed || !ambiguous && capital {
            scan.add_date(start, dated.unwrap_or(end), SCORE);
        }
    } else if SPANS.contains(&singular) {
        if DETERMINERS.contains(&&*before) && before != "past" {
            scan.add_date(start - 1 - before.len(), end, SCORE);
        } else if scan.text[end..].starts_with(" ago") && !scan.is_word(end + 4) {
            let counted =
                NUMBERS.contains(&&*before) || before.bytes().all(|b| b.is_ascii_digit()) && !before.is_empty();
            scan.add_date(if counted { start - 1 - before.len() } else { start }, end + 4, SCORE);
        }
    }
}

/// Returns the end of ` morning` and the like behind a day that ends at `end`.
fn part_of_day(scan: &Scan<'_>, end: usize) -> usize {
    let rest = scan.text[end..].strip_prefix(' ').unwrap_or_default();
    let found = ["morning", "afternoon", "evening", "night"].into_iter().find(|part| rest.starts_with(part));
    found.map(|part| end + 1 + part.len()).filter(|stop| !scan.is_word(*stop)).unwrap_or(end)
}

/// Returns the end of a year behind the name of a month that ends at `end`: ` 2021`.
fn year_behind(scan: &Scan<'_>, end: usize) -> Option<usize> {
    let (year, stop) = (scan.byte(end) == b' ').then(|| number(scan, end + 1)).flatten()?;
    (YEARS.contains(&year) && !scan.is_word(stop)).then_some(stop)
}

/// Returns the word before `at` in lower case, if a single space lies between.
fn word_before(scan: &Scan<'_>, at: usize) -> String {
    let Some(gap) = at.checked_sub(1).filter(|&gap| scan.bytes[gap] == b' ') else { return String::new() };
    let length = scan.bytes[..gap].iter().rev().take(12).take_while(|b| b.is_ascii_alphanumeric()).count();
    scan.text.get(gap - length..gap).unwrap_or_default().to_ascii_lowercase()
}
