//! Italy.

use super::checks::{luhn, uniform};
use super::{Check, Kind, Recogniser};

pub(super) const RECOGNISERS: &[Recogniser] = &[
    Recogniser {
        kind: Kind::ItFiscal,
        patterns: &[("A{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}A[0-9LMNP-V]{3}A", 0.6)],
        check: |id| if id.as_bytes()[15] == b'A' + fiscal(&id[..15]) { Check::Right(0.95) } else { Check::Unknown },
        context: &["codice fiscale", "cf"],
    },
    Recogniser {
        kind: Kind::ItDriver,
        patterns: &[("A{2}9{7}A", 0.2), ("U1[BCDEFGHLJKMNPRSTUWYXZ0-9]{7}A", 0.3)],
        check: |_| Check::Unknown,
        context: &["patente", "patente di guida", "licenza"],
    },
    Recogniser {
        kind: Kind::ItVat,
        patterns: &[("9{11}", 0.1), ("IT=9{11}", 0.5)],
        check: |id| {
            let number = &id[id.len() - 11..];
            if !uniform(number) && luhn(number) { Check::Unknown } else { Check::Wrong }
        },
        context: &["partita iva", "piva", "p.iva", "p. iva"],
    },
    Recogniser {
        kind: Kind::ItPassport,
        patterns: &[("A{2}9{7}", 0.05)],
        check: |_| Check::Unknown,
        context: &["passaporto", "passport"],
    },
    Recogniser {
        kind: Kind::ItIdCard,
        patterns: &[("A{2}_9{7}", 0.05), ("9{7}A{2}", 0.05), ("A{2}9{5}A{2}", 0.05)],
        check: |_| Check::Unknown,
        context: &["carta d'identità", "identità", "carta di identità", "cie", "carta d’identità"],
    },
];

/// The check character of a tax code: characters at odd positions count by a table, the others by their order.
fn fiscal(id: &str) -> u8 {
    const ODD: [u8; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let order = |b: u8| if b.is_ascii_digit() { b - b'0' } else { b - b'A' };
    let sum: u32 = id
        .bytes()
        .enumerate()
        .map(|(i, b)| u32::from(if i % 2 == 0 { ODD[usize::from(order(b))] } else { order(b) }))
        .sum();
    (sum % 26) as u8
}
