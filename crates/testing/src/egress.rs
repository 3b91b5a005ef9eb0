//! Looking for secrets in what a program has sent: in plain text and in every usual encoding.

use std::collections::HashSet;

/// The deepest nesting of encodings, such as base64 inside of JSON inside of percent encoding.
const DEPTH: usize = 3;
/// The shortest run of base64 that is decoded.
const SHORTEST: usize = 8;

/// A secret that was found in recorded bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// The secret.
    pub secret: String,
    /// The encodings through which it was found, the outermost first.
    pub through: Vec<&'static str>,
}

/// Looks for secrets in recorded bytes: as they are, and behind base64, percent encoding, JSON escapes, invisible
/// characters, compatibility forms (NFKC), any case, and other separators between digits, nested up to three deep. Give all
/// pieces of a stream joined, so that a secret split over them is found.
#[must_use]
pub fn leaks(secrets: &[&str], recorded: &[u8]) -> Vec<Leak> {
    let mut out = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![(String::from_utf8_lossy(recorded).into_owned(), Vec::new())];
    for depth in 0..=DEPTH {
        let mut next = Vec::new();
        for (text, through) in open {
            if !seen.insert(text.clone()) {
                continue;
            }
            let plain = folded(&text);
            let digits = compact(&plain);
            for secret in secrets {
                let (own, short) = (folded(secret), compact(&folded(secret)));
                let regrouped = short.bytes().filter(u8::is_ascii_digit).count() >= 8 && digits.contains(&short);
                let known = out.iter().any(|leak: &Leak| leak.secret == *secret);
                if !known && (plain.contains(&own) || regrouped) {
                    out.push(Leak { secret: (*secret).to_owned(), through: through.clone() });
                }
            }
            if depth < DEPTH {
                let inner = [
                    ("json", unescaped(&text)),
                    ("percent", unquoted(&text)),
                    ("base64", decoded(&text)),
                    ("hex", from_hex(&text)),
                ];
                for (name, inner) in inner {
                    if !inner.is_empty() && inner != text {
                        next.push((inner, [&through[..], &[name]].concat()));
                    }
                }
            }
        }
        open = next;
    }
    out
}

/// Removes invisible characters, folds compatibility forms of letters and digits, and lowers the case.
fn folded(text: &str) -> String {
    let invisible = |c: &char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}');
    let fold = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xff01 + 0x21).unwrap_or(c),
        '\u{1d7ce}'..='\u{1d7ff}' => char::from_u32((u32::from(c) - 0x1d7ce) % 10 + 0x30).unwrap_or(c),
        '\u{1d400}'..='\u{1d433}' => letter(u32::from(c) - 0x1d400),
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => ' ',
        '\u{2010}'..='\u{2015}' => '-',
        _ => c,
    };
    text.chars().filter(|c| !invisible(c)).map(fold).flat_map(char::to_lowercase).collect()
}

fn letter(number: u32) -> char {
    char::from_u32(number % 26 + u32::from('a')).unwrap_or('?')
}

fn compact(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Decodes JSON escapes wherever they occur, at one level.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let code = rest
            .get(at + 2..at + 6)
            .filter(|_| rest[at + 1..].starts_with('u'))
            .and_then(|hex| u16::from_str_radix(hex, 16).ok());
        if at > 0 || code.is_none() {
            out.push_str(&String::from_utf16_lossy(&units));
            units.clear();
            out.push_str(&rest[..at]);
        }
        if let Some(code) = code {
            units.push(code);
            rest = &rest[at + 6..];
            continue;
        }
        let mut after = rest[at + 1..].chars();
        match after.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => {}
        }
        rest = after.as_str();
    }
    out + &String::from_utf16_lossy(&units) + rest
}

/// Decodes percent encoding, and the plus sign of forms as a space.
fn unquoted(text: &str) -> String {
    if !text.contains('%') {
        return String::new();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code =
            text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(code.unwrap_or(if bytes[at] == b'+' { b' ' } else { bytes[at] }));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Decodes each run of base64 (either alphabet), beginning at each of its first four characters.
fn decoded(text: &str) -> String {
    let value = |b: u8| match b {
        b'A'..=b'Z' => Some(u32::from(b - b'A')),
        b'a'..=b'z' => Some(u32::from(b - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(b - b'0') + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let mut out = Vec::new();
    for run in text.as_bytes().split(|b| value(*b).is_none()).filter(|run| run.len() >= SHORTEST) {
        for start in 0..4 {
            for group in run[start..].chunks(4).filter(|group| group.len() > 1) {
                let bits =
                    group.iter().fold(0, |bits, b| bits << 6 | value(*b).unwrap_or(0)) << (6 * (4 - group.len()));
                out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
            }
            out.push(b'\n');
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Decodes each run of hexadecimal digits, beginning at each of its first two.
fn from_hex(text: &str) -> String {
    let mut out = Vec::new();
    for run in text.as_bytes().split(|b| !b.is_ascii_hexdigit()).filter(|run| run.len() >= 2 * SHORTEST) {
        for start in 0..2 {
            let pair = |pair: &[u8]| str::from_utf8(pair).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
            out.extend(run[start..].chunks(2).filter_map(pair));
            out.push(b'\n');
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_encoding_and_no_other() {
        let secret = "Zoë 4711";
        let encodings = [
            "say Zoë 4711!",
            "ZOË 4711",
            "Zo\\u00eb 4711",
            "Zo%C3%AB%204711",
            "Zo%C3%AB+4711",
            "xWm/DqyA0NzEx",
            "Wm_DqyA0NzEx",
            "5a6fc3ab2034373131",
            "Z\u{200b}oë 47\u{feff}11",
            "Zoë \u{ff14}\u{ff17}\u{ff11}\u{ff11}",
            "Zoë\u{a0}4711",
            "Zo\\\\u00eb 4711",
            "V20vRHF5QTBOekV4",
            "Wm%2FDqyA0NzEx",
        ];
        for text in encodings {
            assert_eq!(leaks(&[secret], text.as_bytes()).len(), 1, "{text}");
        }
        for text in ["Zoe 4711", "Zoë 4712", "Wm/DqyA0NzEy", ""] {
            assert_eq!(leaks(&[secret], text.as_bytes()), [], "{text}");
        }
        assert_eq!(leaks(&["4111 1111 1111 1111"], b"4111-1111-1111-1111").len(), 1);
    }
}
