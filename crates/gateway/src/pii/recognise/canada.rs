//! Canada.

use super::checks::{luhn, uniform};
use super::{Check, Kind, Recogniser};

pub(super) const RECOGNISERS: &[Recogniser] = &[
    Recogniser {
        kind: Kind::CaSin,
        patterns: &[("[1-79]9{8}", 0.05), ("[1-79]9{2}!-9{3}!-9{3}", 0.6), ("[1-79]9{2}! 9{3}! 9{3}", 0.4)],
        check: |id| if !uniform(id) && luhn(id) { Check::Unknown } else { Check::Wrong },
        context: &["sin", "sin number", "social insurance", "nas", "assurance sociale"],
    },
    Recogniser {
        kind: Kind::CaPassport,
        patterns: &[("A{2}9{6}", 0.1)],
        check: |_| Check::Unknown,
        context: &["canadian passport", "passport", "passeport"],
    },
    Recogniser {
        kind: Kind::CaPostalCode,
        patterns: &[("[ABCEGHJ-NPRSTVXY]9[ABCEGHJ-NPRSTV-Z]_9[ABCEGHJ-NPRSTV-Z]9", 0.4)],
        check: |_| Check::Unknown,
        context: &["postal code", "code postal", "postcode", "zip"],
    },
];
