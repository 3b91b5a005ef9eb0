//! Surrogates: invented values of the same form. Numbers with check digits are invalid, names are no one's, and addresses of
//! networks come from the ranges reserved for documentation.

use super::Kind;
use super::recognise;

/// Words that say of which sort a name is; they stay.
const KEPT: &[&str] = &[
    "of",
    "and",
    "the",
    "de",
    "la",
    "le",
    "du",
    "des",
    "van",
    "von",
    "der",
    "den",
    "di",
    "da",
    "del",
    "al",
    "bin",
    "st",
    "street",
    "road",
    "rd",
    "avenue",
    "ave",
    "lane",
    "ln",
    "drive",
    "dr",
    "boulevard",
    "blvd",
    "court",
    "ct",
    "place",
    "square",
    "way",
    "apt",
    "suite",
    "unit",
    "flat",
    "floor",
    "box",
    "po",
    "rue",
    "via",
    "calle",
    "rua",
    "strasse",
    "straße",
    "platz",
    "weg",
    "inc",
    "llc",
    "ltd",
    "limited",
    "corp",
    "corporation",
    "company",
    "co",
    "plc",
    "gmbh",
    "ag",
    "kg",
    "sa",
    "sas",
    "sarl",
    "srl",
    "spa",
    "bv",
    "nv",
    "ab",
    "as",
    "oy",
    "group",
    "bank",
    "university",
    "hospital",
    "institute",
    "school",
    "mr",
    "mrs",
    "ms",
    "dr",
    "prof",
    "north",
    "south",
    "east",
    "west",
];

/// A stream of bytes that follows from a hash.
pub(super) struct Source {
    seed: [u8; 32],
    at: usize,
}

impl Source {
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, at: 0 }
    }

    fn next(&mut self, below: usize) -> usize {
        let i = self.at;
        self.at += 1;
        let byte = |i: usize| usize::from(self.seed[i % 32].wrapping_add((i / 32 * 97) as u8));
        (byte(i) << 8 | byte(i * 7 + 13)) % below
    }
}

/// Makes a surrogate. `source` gives the bytes for a label and a text; `words` gets the words of names with theirs.
pub(super) fn make(
    value: &str,
    kind: Kind,
    nonce: u32,
    source: &mut dyn FnMut(&[u8], &str) -> Source,
    words: &mut Vec<(String, String)>,
) -> String {
    // The letters and digits alone decide, so that a number has one surrogate however it is grouped.
    let compact: String = value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let mut own = source(b"whole", &format!("{nonce} {compact}"));
    match kind {
        Kind::Person | Kind::Place | Kind::Organization | Kind::Address | Kind::Nrp => {
            name(value, nonce, source, words)
        }
        Kind::Email => {
            let top = ["com", "net", "org"][own.next(3)];
            format!("{}.{}{}@example.{top}", word(&mut own, 3), word(&mut own, 2), own.next(90) + 10)
        }
        Kind::Url => format!("https://{}.example/{}", word(&mut own, 3), word(&mut own, 3)),
        Kind::Ip if value.contains(':') => format!("2001:db8::{:x}:{:x}", own.next(0xffff) + 1, own.next(0xffff) + 1),
        Kind::Ip => format!("198.18.{}.{}", own.next(256), own.next(254) + 1),
        Kind::Mac => {
            let separator = value.chars().find(|c| !c.is_alphanumeric()).unwrap_or(':');
            let pairs: Vec<String> = (0..4).map(|_| format!("{:02x}", own.next(256))).collect();
            let pairs = ["02".to_owned(), "00".to_owned()].into_iter().chain(pairs).collect::<Vec<_>>();
            if separator == '.' {
                pairs.chunks(2).map(<[String]>::concat).collect::<Vec<_>>().join(".")
            } else {
                pairs.join(&separator.to_string())
            }
        }
        Kind::DateTime => date(value, &mut own),
        _ => digits(value, kind, &mut own),
    }
}

/// Tells if a surrogate could be a real identifier: its check digits are right, or such numbers are issued.
pub(super) fn is_valid(surrogate: &str, kind: Kind) -> bool {
    use Kind as K;
    let checked = matches!(
        kind,
        K::CreditCard
            | K::Iban
            | K::Crypto
            | K::UsSsn
            | K::UsNpi
            | K::AbaRouting
            | K::MedicalLicense
            | K::UkNhs
            | K::DeTaxId
            | K::DePassport
            | K::DeIdCard
            | K::DeSocial
            | K::DeHealth
            | K::DeLanr
            | K::DeVat
            | K::FrNir
            | K::FrSiret
            | K::FrVat
            | K::EsNif
            | K::EsNie
            | K::ItFiscal
            | K::ItVat
            | K::InAadhaar
            | K::AuAbn
            | K::AuAcn
            | K::AuTfn
            | K::AuMedicare
            | K::CaSin
    );
    checked && recognise::scan(surrogate, 0.0, &|k| k == kind, false).iter().any(|f| f.end - f.start == surrogate.len())
}

/// Replaces digits by digits and letters by letters. What says of which sort a number is stays: the country of an IBAN, the
/// plus sign of a telephone number.
fn digits(value: &str, kind: Kind, own: &mut Source) -> String {
    let kept = match kind {
        Kind::Iban | Kind::DeVat | Kind::FrVat => 2,
        Kind::Crypto => 3.min(value.len()),
        Kind::Phone if value.starts_with('+') => 3,
        _ => 0,
    };
    let mut out: String = value
        .chars()
        .enumerate()
        .map(|(i, c)| match c {
            _ if i < kept => c,
            '0'..='9' => char::from(b'0' + own.next(10) as u8),
            _ if c.is_alphabetic() => {
                let base = if c.is_lowercase() { b'a' } else { b'A' };
                char::from(base + own.next(26) as u8)
            }
            _ => c,
        })
        .collect();
    if kind == Kind::UsSsn && out.is_char_boundary(3) {
        // No number begins with 000.
        out.replace_range(..3, "000");
    }
    out
}

/// Changes the numbers of a date so that it is still one, and leaves the names of months and days.
fn date(value: &str, own: &mut Source) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let number: usize = rest[..length].parse().unwrap_or(0);
        let new = match length {
            4 => 1950 + own.next(60),
            1 | 2 if number == 0 => own.next(10),
            1 => 1 + own.next(9),
            2 if number <= 12 => 1 + own.next(12),
            2 if number <= 31 => 13 + own.next(16),
            2 => 32 + own.next(28),
            _ => own.next(10usize.pow(length.min(9) as u32)),
        };
        out.push_str(&format!("{new:0length$}"));
        rest = &rest[length..];
    }
    out
}

/// Replaces the words of a name one by one, so that a part of it has the same surrogate wherever it occurs.
fn name(
    value: &str,
    nonce: u32,
    source: &mut dyn FnMut(&[u8], &str) -> Source,
    words: &mut Vec<(String, String)>,
) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        let length: usize = rest.chars().take_while(|c| c.is_alphanumeric()).map(char::len_utf8).sum();
        if length == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let (own, after) = rest.split_at(length);
        rest = after;
        let lower = own.to_lowercase();
        let mut bytes = source(b"word", &format!("{nonce} {lower}"));
        if KEPT.contains(&lower.as_str()) || lower == "s" {
            out.push_str(own);
        } else if own.bytes().all(|b| b.is_ascii_digit()) {
            own.bytes().enumerate().for_each(|(i, _)| out.push(char::from(b'1' + (bytes.next(9) as u8 + i as u8) % 9)));
        } else {
            let size = if own.chars().count() == 1 { 1 } else { own.chars().count().div_ceil(2).clamp(2, 4) };
            let new = if size == 1 { word(&mut bytes, 1)[..1].to_owned() } else { word(&mut bytes, size) };
            let new = match own.chars().find(|c| c.is_alphabetic()) {
                Some(first)
                    if own.chars().filter(|c| c.is_alphabetic()).all(char::is_uppercase)
                        && (size > 1 || first.is_uppercase()) =>
                {
                    new.to_uppercase()
                }
                Some(first) if first.is_uppercase() => new[..1].to_uppercase() + &new[1..],
                _ => new,
            };
            words.push((own.to_owned(), new.clone()));
            out.push_str(&new);
        }
    }
    out
}

/// Makes a word of syllables that is no common word of the languages of the tagger.
fn word(bytes: &mut Source, syllables: usize) -> String {
    const FIRST: &[u8] = b"bdfgklmnprstvz";
    const SECOND: &[u8] = b"aeiou";
    let mut out = String::new();
    for _ in 0..syllables {
        out.push(char::from(FIRST[bytes.next(FIRST.len())]));
        out.push(char::from(SECOND[bytes.next(SECOND.len())]));
    }
    out.push(char::from(b"lnrx"[bytes.next(4)]));
    out
}
