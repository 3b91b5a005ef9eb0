//! Telephone numbers: the international form, national forms with a trunk prefix or an area code, and other groups of digits
//! near words such as "call".

use super::{Kind, Scan};

/// The country codes of the international numbering plan (ITU-T E.164) with two and three digits, but for 1 and 7.
const TWO: &str = "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 \
    94 95 98";
const THREE: [char; 5] = ['2', '3', '5', '6', '8'];

const CONTEXT: &[&str] = &[
    "phone",
    "telephone",
    "tel",
    "mobile",
    "cell",
    "cellphone",
    "fax",
    "call",
    "calling",
    "called",
    "dial",
    "ring",
    "text",
    "sms",
    "whatsapp",
    "contact",
    "reach",
    "hotline",
    "landline",
    "handy",
    "telefon",
    "téléphone",
    "teléfono",
    "telefono",
    "portable",
    "móvil",
    "rufen",
];

/// The digits of a number and how they are grouped.
#[derive(Debug, Default)]
struct Shape {
    digits: String,
    groups: Vec<usize>,
    /// The number of digits in brackets at the start.
    area: usize,
    international: bool,
    /// The separators, without those beside brackets.
    separators: Vec<u8>,
    end: usize,
}

/// Looks for a telephone number whose first digits are at `at`, and returns its end if it certainly is one.
pub(super) fn number(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let mut start = at;
    let before = |back: usize| at.checked_sub(back).map_or(0, |i| scan.bytes[i]);
    let bracket = before(1) == b'(';
    start -= usize::from(bracket);
    let plus = start > 0 && scan.bytes[start - 1] == b'+';
    let spaced = start > 1 && bracket && scan.bytes[start - 1] == b' ' && scan.bytes[start - 2] == b'+';
    start -= usize::from(plus) + 2 * usize::from(spaced);
    if !bracket && !continues(scan, at) {
        return None;
    }
    let mut shape = read(scan, at, bracket);
    shape.international = plus || spaced || shape.digits.starts_with("00") && shape.digits.len() > 10;
    // A full stop, a comma or a letter beside it makes it part of something else; currency signs make it an amount.
    let digit = |at: Option<usize>| at.is_some_and(|at| scan.byte(at).is_ascii_digit());
    let inside = match start.checked_sub(1).map(|at| scan.bytes[at]) {
        Some(b'.' | b',' | b'/' | b'-') => digit(start.checked_sub(2)),
        Some(b'$' | b'#' | b'=') => true,
        _ => !scan.begins(start),
    };
    if inside || scan.byte(shape.end) == b',' && digit(Some(shape.end + 1)) {
        return None;
    }
    let (mut score, raised) = score(&shape)?;
    let end = extension(scan, shape.end);
    let before = scan.text[..start].trim_end_matches([' ', '>', '|']);
    // A number before a capital is a house number, but for whole forms.
    let named = scan.text[end..].strip_prefix(' ').is_some_and(|rest| rest.starts_with(char::is_uppercase));
    if named && shape.groups.len() == 2 && score <= 0.5 && shape.area == 0 {
        score = 0.2;
    }
    let alone = before.is_empty() || before.ends_with('\n');
    if alone && !named && shape.groups.len() > 1 && score >= 0.3 {
        score += 0.25;
    }
    if raised && shape.groups.len() > 1 {
        scan.add_in_context(start, end, Kind::Phone, score, &["number", "no"]);
    }
    scan.add_in_context(start, end, Kind::Phone, score, if raised { CONTEXT } else { &[] });
    (score >= 0.5).then_some(end)
}

/// Tells if the digits at `at` are enough for a number, or more may follow: most numbers are neither.
fn continues(scan: &Scan<'_>, at: usize) -> bool {
    let digits = scan.bytes[at..].iter().take(8).take_while(|b| b.is_ascii_digit()).count();
    let next = at + digits;
    let more = |at: usize| scan.byte(at).is_ascii_digit() || scan.byte(at) == b'(';
    digits >= 7
        || match scan.byte(next) {
            b' ' | b'-' | b'.' | b'/' => more(next + 1),
            b'(' => true,
            _ => false,
        }
}

/// Reads groups of digits with single separators between them.
fn read(scan: &Scan<'_>, at: usize, bracket: bool) -> Shape {
    let mut shape = Shape::default();
    let mut next = at;
    let mut open = false;
    loop {
        let from = next;
        while scan.byte(next).is_ascii_digit() && shape.digits.len() < 16 {
            shape.digits.push(char::from(scan.byte(next)));
            next += 1;
        }
        shape.groups.push(next - from);
        shape.end = next;
        if scan.byte(next) == b')' && (open || bracket && shape.groups.len() == 1) {
            if shape.groups.len() == 1 {
                shape.area = next - from;
            }
            next += 1;
            shape.end = next;
            if matches!(scan.byte(next), b' ' | b'-' | b'.') {
                next += 1;
            }
        } else if matches!(scan.byte(next), b' ' | b'-' | b'.' | b'/') {
            next += 1;
        } else if scan.byte(next) != b'(' {
            return shape;
        }
        // An area code, or the 0 of calls at home, in brackets.
        open = scan.byte(next) == b'(';
        next += usize::from(open);
        let digits = scan.bytes[next.min(scan.bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
        let closed = !open || scan.byte(next + digits) == b')';
        let word = scan.is_word(next + digits) && extension(scan, next + digits) == next + digits;
        if digits == 0 || !closed || word || shape.digits.len() + digits > 15 || shape.groups.len() > 6 {
            return shape;
        }
        if !open && matches!(scan.byte(next - 1), b' ' | b'-' | b'.' | b'/') && shape.end + 1 == next {
            shape.separators.push(scan.byte(next - 1));
        }
    }
}

/// Returns the score of a number, and if words around it raise the score; `None` if it is no telephone number.
fn score(shape: &Shape) -> Option<(f32, bool)> {
    let Shape { digits, groups, area, international, separators, .. } = shape;
    let (n, parts) = (digits.len(), groups.len());
    if !(7..=15).contains(&n) || groups.iter().any(|g| *g > 12) {
        return None;
    }
    let same = separators.windows(2).all(|pair| pair[0] == pair[1]);
    // Dots and slashes separate dates and versions more often than telephone numbers.
    let dotted = separators.iter().any(|s| matches!(s, b'.' | b'/'));
    if *international {
        let code = digits.trim_start_matches('0');
        let known = code.starts_with(['1', '7']) && matches!(code.len(), 10 | 11)
            || code.get(..2).is_some_and(|two| TWO.split(' ').any(|c| c.trim() == two))
            || code.starts_with(THREE) && n >= 9;
        return (known && n >= 8).then_some((0.8, false));
    }
    let trunk = digits.starts_with('0') && !digits.starts_with("00");
    let national = n == 10 && american(digits, 0) || n == 11 && digits.starts_with('1') && american(digits, 1);
    let shaped = match groups[..] {
        [3, 3, 4] | [1, 3, 3, 4] => national,
        _ => false,
    };
    if shaped && same && parts > 1 {
        return Some((if separators.contains(&b' ') && *area == 0 { 0.5 } else { 0.6 }, true));
    }
    if *area > 0 && (2..=5).contains(area) && (7..=11).contains(&n) && groups[1..].iter().all(|g| (2..=8).contains(g)) {
        return Some((0.6, true));
    }
    // At home, with the trunk prefix: 0490 75 40 81, 07700 063 966, 09-7625400.
    let long = groups[1..].iter().all(|g| *g >= 2) && groups[0] >= 2 && groups[0] <= 6;
    if trunk && (9..=11).contains(&n) && (2..=6).contains(&parts) && long && !dotted {
        return Some((0.5, true));
    }
    if trunk && (9..=11).contains(&n) {
        return Some((0.3, true));
    }
    let spread = parts > 1 && groups.iter().all(|g| (2..=4).contains(g)) && n <= 11;
    let years =
        groups[..] == [4, 4] && groups.len() == 2 && digits[..2].parse::<u32>().is_ok_and(|c| (10..=20).contains(&c));
    // Groups of two digits separated by spaces are a list of numbers more often.
    let listed = groups.last().is_some_and(|g| *g < 3) && separators.contains(&b' ');
    if spread && !dotted && same {
        return Some((
            if years {
                0.1
            } else if listed {
                0.3
            } else {
                0.5
            },
            true,
        ));
    }
    Some((if dotted { 0.05 } else { 0.1 }, true))
}

/// Tells if an area code and an exchange of the North American Numbering Plan begin at `at`.
fn american(digits: &str, at: usize) -> bool {
    let bytes = digits.as_bytes();
    bytes[at] >= b'2' && bytes[at + 3] >= b'2'
}

/// Returns the end of an extension, such as ` x123` or ` ext. 12`.
fn extension(scan: &Scan<'_>, at: usize) -> usize {
    let rest = &scan.text[at..];
    let trimmed = rest.trim_start_matches(' ');
    let mark = ["extension", "ext.", "ext", "x"]
        .into_iter()
        .find(|m| trimmed.get(..m.len()).is_some_and(|t| t.eq_ignore_ascii_case(m)));
    let Some(mark) = mark else { return at };
    let number = trimmed[mark.len()..].trim_start_matches(' ');
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    let end = scan.text.len() - number.len() + digits;
    if (1..=6).contains(&digits) && !scan.is_word(end) { end } else { at }
}
