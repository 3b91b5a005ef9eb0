//! Spain.

use super::checks::modulo;
use super::{Check, Kind, Recogniser};

pub(super) const RECOGNISERS: &[Recogniser] = &[
    Recogniser {
        kind: Kind::EsNif,
        patterns: &[("9{7,8}-A", 0.5)],
        check: |id| control(id, ""),
        context: &["documento nacional de identidad", "dni", "nif", "identificación"],
    },
    Recogniser {
        kind: Kind::EsNie,
        patterns: &[("[XYZ]-9{7,8}-A", 0.5)],
        check: |id| control(&id[1..], ["0", "1", "2"][usize::from(id.as_bytes()[0] - b'X') % 3]),
        context: &["número de identificación de extranjero", "nie"],
    },
    Recogniser {
        kind: Kind::EsPassport,
        patterns: &[("A{3}9{6}", 0.05)],
        check: |_| Check::Unknown,
        context: &["pasaporte", "passport"],
    },
];

/// The letter is the number modulo 23; the first letter of a foreigner's number counts as a digit.
fn control(id: &str, prefix: &str) -> Check {
    let (number, letter) = id.split_at(id.len() - 1);
    let expected = b"TRWAGMYFPDXBNJZSQVHLCKE"[modulo(&format!("{prefix}{number}"), 23) as usize];
    Check::of(letter.as_bytes() == [expected], 0.7)
}
