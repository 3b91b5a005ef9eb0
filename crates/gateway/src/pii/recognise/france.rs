//! France.

use super::checks::{luhn, modulo, uniform};
use super::{Check, Kind, Recogniser};

pub(super) const RECOGNISERS: &[Recogniser] = &[
    Recogniser {
        kind: Kind::FrNir,
        patterns: &[("[1-478]-9{2}-9{2}-9[0-9AB]-9{3}-9{3}-9{2}", 0.5)],
        check: |id| {
            // 97 minus the first 13 digits modulo 97; the departments of Corsica count as 19 and 18.
            let number = id[..13].replacen("2A", "19", 1).replacen("2B", "18", 1);
            let month: u32 = id[3..5].parse().unwrap_or(0);
            let right = number.bytes().all(|b| b.is_ascii_digit()) && id[13..].parse() == Ok(97 - modulo(&number, 97));
            Check::of(right && matches!(month, 1..=12 | 20..=42 | 50..=99), 0.95)
        },
        context: &["sécurité sociale", "nir", "insee", "numéro de sécu", "social security"],
    },
    Recogniser {
        kind: Kind::FrSiret,
        patterns: &[("9{3}-9{3}-9{3}-9{5}", 0.2), ("9{3}! 9{3}! 9{3}", 0.1), ("9{9}", 0.05)],
        check: |id| if !uniform(id) && luhn(id) { Check::Unknown } else { Check::Wrong },
        context: &["siret", "siren", "rcs"],
    },
    Recogniser {
        kind: Kind::FrVat,
        patterns: &[("FR=9{2}=9{3}=9{3}=9{3}", 0.4)],
        check: |id| {
            let key = (12 + 3 * modulo(&id[4..], 97)) % 97;
            Check::of(id[2..4].parse() == Ok(key), 0.9)
        },
        context: &["tva", "vat"],
    },
    Recogniser {
        kind: Kind::FrIdCard,
        patterns: &[("9{12}", 0.05), ("[A-Z0-9]9{2}[A-Z0-9]{5}9", 0.02)],
        check: |_| Check::Unknown,
        context: &["carte d'identité", "carte nationale d'identité", "cni", "carte nationale"],
    },
    Recogniser {
        kind: Kind::FrPassport,
        patterns: &[("9{2}A{2}9{5}", 0.2)],
        check: |_| Check::Unknown,
        context: &["passeport", "passport"],
    },
];
