//! Dates and times.

mod any;

use super::{Kind, Scan};

pub(super) use any::words;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// Words near a date that make it one of a person's life.
const CONTEXT: &[&str] = &[
    "born",
    "birth",
    "birthday",
    "dob",
    "d.o.b",
    "birthdate",
    "date of birth",
    "geboren",
    "geburtsdatum",
    "né le",
    "née le",
    "nato il",
    "nacido",
];

/// Looks for a date that begins with, or contains, the word `start..end`, and returns its end.
pub(super) fn word(scan: &mut Scan<'_>, start: usize, end: usize) -> Option<usize> {
    let digits = scan.bytes[start..end].iter().take_while(|b| b.is_ascii_digit()).count();
    let numeric = start + digits == end && digits <= 4;
    let dated = if numeric { numbers(scan, start).or_else(|| named(scan, start, end)) } else { None };
    dated.or_else(|| if scan.all_dates { any::numeric(scan, start, start + digits, end) } else { None })
}

impl Scan<'_> {
    /// Adds a date whose score depends on the words around it, unless all dates are wanted.
    fn add_date(&mut self, start: usize, end: usize, score: f32) {
        let score = if self.all_dates && score > 0.05 { score.max(0.6) } else { score };
        self.add_in_context(start, end, Kind::DateTime, score, CONTEXT);
    }
}

/// Reads up to four digits.
fn number(scan: &Scan<'_>, at: usize) -> Option<(u32, usize)> {
    let digits = scan.bytes[at..].iter().take(5).take_while(|b| b.is_ascii_digit()).count();
    let value = scan.text.get(at..at + digits)?.parse().ok()?;
    (1..=4).contains(&digits).then_some((value, at + digits))
}

fn day(n: u32) -> bool {
    (1..=31).contains(&n)
}

fn month(n: u32) -> bool {
    (1..=12).contains(&n)
}

/// A date of numbers: `2021-05-21`, `21.5.2021`, `5/21/21`, `05/2021`, `5/21`, with a time behind it.
fn numbers(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    let (a, at) = number(scan, start)?;
    let separator = scan.byte(at);
    if !matches!(separator, b'-' | b'/' | b'.')
        || start > 0 && matches!(scan.bytes[start - 1], b'-' | b'/' | b'.' | b'$')
    {
        return None;
    }
    let Some((b, middle)) = number(scan, at + 1) else { return abbreviated(scan, start, at + 1) };
    let year = |width: usize, n: u32| width == 4 && (1000..=2999).contains(&n);
    let third = if scan.byte(middle) == separator { number(scan, middle + 1) } else { None };
    let (first, second) = (at - start, middle - at - 1);
    let (end, score) = if let Some((c, end)) = third {
        let last = end - middle - 1;
        let ordered = day(a) && month(b) || month(a) && day(b);
        let right = year(first, a) && (month(b) && day(c)) && second <= 2 && last <= 2
            || first <= 2 && second <= 2 && ordered && (year(last, c) || last == 2);
        let score = if first.max(last) == 4 { 0.6 } else { 0.4 };
        (right && !(scan.byte(end) == separator && scan.byte(end + 1).is_ascii_digit())).then_some((end, score))?
    } else {
        let right = separator == b'/' && first <= 2 && (month(a) && (year(second, b) || second <= 2 && day(b)));
        right.then_some((middle, 0.05))?
    };
    let end = time(scan, end);
    if scan.is_word(end) {
        return None;
    }
    scan.add_date(start, end, score);
    Some(end)
}

/// A day or year, a hyphen and the name of a month: `5-May-2021`, `21-May`.
fn abbreviated(scan: &mut Scan<'_>, start: usize, at: usize) -> Option<usize> {
    let mut end = month_name(scan, at)?;
    let mut score = 0.1;
    if scan.byte(end) == b'-'
        && let Some((_, stop)) = number(scan, end + 1)
    {
        (end, score) = (stop, 0.6);
    }
    if scan.is_word(end) {
        return None;
    }
    scan.add_date(start, end, score);
    Some(end)
}

/// Returns the end of the name of a month at `at`, whole or with three letters.
fn month_name(scan: &Scan<'_>, at: usize) -> Option<usize> {
    let letters = scan.bytes[at..].iter().take(10).take_while(|b| b.is_ascii_alphabetic()).count();
    let word = scan.text.get(at..at + letters).filter(|word| word.len() >= 3)?;
    let same = |month: &&str| {
        (letters == 3 || letters == month.len()) && month.get(..letters).is_some_and(|m| m.eq_ignore_ascii_case(word))
    };
    let known = MONTHS.into_iter().any(|month| same(&month)) || word.eq_ignore_ascii_case("sept");
    known.then_some(at + letters)
}

/// A day or year beside the name of a month: `5 May 2021`, `May 5, 2021`, `May-2021`.
fn named(scan: &mut Scan<'_>, start: usize, end: usize) -> Option<usize> {
    let spaced = |at: usize| matches!(scan.byte(at), b' ').then_some(at + 1);
    if let Some(stop) = spaced(end).and_then(|at| month_name(scan, at)) {
        // A comma may stand before the year.
        let year = if scan.byte(stop) == b',' { stop + 1 } else { stop };
        let year = spaced(year).and_then(|at| number(scan, at)).filter(|(y, _)| *y >= 1000).map(|(_, end)| end);
        let end = time(scan, year.unwrap_or(stop));
        if number(scan, start).is_some_and(|(n, _)| day(n)) && !scan.is_word(end) {
            scan.add_date(start, end, if year.is_some() { 0.3 } else { 0.1 });
            return Some(end);
        }
    }
    let gap = start.checked_sub(1).filter(|&g| matches!(scan.bytes[g], b' ' | b'-'))?;
    let mut name = gap;
    while name > 0 && scan.bytes[name - 1].is_ascii_alphabetic() && gap - name < 10 {
        name -= 1;
    }
    if month_name(scan, name) != Some(gap) || !scan.begins(name) {
        return None;
    }
    let year = if scan.byte(end) == b',' {
        spaced(end + 1).and_then(|at| number(scan, at)).filter(|(y, _)| *y >= 1000)
    } else {
        None
    };
    let stop = year.map_or(end, |(_, end)| end);
    let hyphen = scan.bytes[gap] == b'-' && end - start == 4;
    let score = if hyphen || year.is_some() { 0.3 } else { 0.1 };
    scan.add_date(name, stop, score);
    Some(stop)
}

/// Returns the end of the time of day behind a date that ends at `at`: ` 11:34:35`, `T09:15:30.500-07:00`.
fn time(scan: &Scan<'_>, at: usize) -> usize {
    let bytes = scan.bytes;
    let pair = |at: usize| scan.byte(at).is_ascii_digit() && scan.byte(at + 1).is_ascii_digit();
    if !matches!(scan.byte(at), b' ' | b'T' | b't') || !pair(at + 1) || scan.byte(at + 3) != b':' || !pair(at + 4) {
        return at;
    }
    let mut end = at + 6;
    if scan.byte(end) == b':' && pair(end + 1) {
        end += 3;
        if scan.byte(end) == b'.' {
            end += 1 + bytes[end + 1..].iter().take(9).take_while(|b| b.is_ascii_digit()).count();
        }
    }
    match scan.byte(end) {
        b'Z' | b'z' => end + 1,
        b'+' | b'-' if pair(end + 1) && scan.byte(end + 3) == b':' && pair(end + 4) => end + 6,
        _ => end,
    }
}
