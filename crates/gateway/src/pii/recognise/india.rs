//! India.

use super::checks::verhoeff;
use super::{Check, Kind, Recogniser};

pub(super) const RECOGNISERS: &[Recogniser] = &[
    Recogniser {
        kind: Kind::InPan,
        patterns: &[("A{3}[ABCFGHJLPT]A9{4}A", 0.6), ("A{5}9{4}A", 0.1)],
        check: |_| Check::Unknown,
        context: &["permanent account number", "pan", "pan card", "income tax"],
    },
    Recogniser {
        kind: Kind::InAadhaar,
        patterns: &[("[2-9]9{11}", 0.3), ("[2-9]9{3}[- :]9{4}[- :]9{4}", 0.5)],
        check: |id| {
            let palindrome = id.bytes().eq(id.bytes().rev());
            if !palindrome && verhoeff(id) { Check::Unknown } else { Check::Wrong }
        },
        context: &["aadhaar", "aadhar", "uidai", "uid"],
    },
    Recogniser {
        kind: Kind::InVehicle,
        patterns: &[
            ("A9{4}", 0.02),
            ("A{2}9{4}", 0.02),
            ("I9{5}", 0.02),
            ("A{3}9{4}", 0.2),
            ("9{1,3}[C][DC][1-9]9{1,3}", 0.3),
            ("9{1,3}[U][N][1-9]9{1,3}", 0.3),
            ("A{2}9A{1,3}9{4}", 0.5),
            ("A{2}9{2}A{1,2}9{4}", 0.5),
            ("[2-9][1-9]BH9{4}[A-HJ-NP-Z]{2}", 0.7),
            ("9{2}[ABCDEFHKPRX]9{6}A", 0.4),
            ("A{2}~9{1,2}~A{1,3}~9{4}", 0.5),
        ],
        check: |id| if id.contains("0000") { Check::Wrong } else { Check::Unknown },
        context: &["rto", "vehicle", "plate", "registration", "number plate"],
    },
    Recogniser {
        kind: Kind::InVoter,
        patterns: &[("A[ABCDGHJKMNPRSY]A9{7}", 0.4), ("A{3}9{7}", 0.3)],
        check: |_| Check::Unknown,
        context: &["voter", "epic", "elector photo identity card", "election"],
    },
    Recogniser {
        kind: Kind::InPassport,
        patterns: &[("A[1-9]9_9{4}[1-9]", 0.1)],
        check: |_| Check::Unknown,
        context: &["passport", "indian passport"],
    },
    Recogniser {
        kind: Kind::InGstin,
        patterns: &[("9{2}A{5}9{4}AXZX", 0.8)],
        check: |id| if matches!(id[..2].parse(), Ok(1..=37 | 97 | 99)) { Check::Unknown } else { Check::Wrong },
        context: &["gstin", "gst", "goods and services tax"],
    },
];
