//! United Kingdom.

use super::checks::{uniform, weighted};
use super::{Check, Kind, Recogniser};

pub(super) const RECOGNISERS: &[Recogniser] = &[
    Recogniser {
        kind: Kind::UkNhs,
        patterns: &[("9{3}~9{3}~9{4}", 0.45), ("9{10}", 0.2), ("9{6}~9{4}", 0.1), ("9{3}~9{7}", 0.1)],
        check: |id| {
            // Modulus 11 with weights 10 to 2.
            let check = (11 - weighted(&id[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
            if !uniform(id) && id[9..].parse() == Ok(check) { Check::Unknown } else { Check::Wrong }
        },
        context: &["national health service", "nhs", "health services authority", "health authority"],
    },
    Recogniser {
        kind: Kind::UkNino,
        patterns: &[("[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]_9{2}_9{2}_9{2}_[A-D]", 0.7)],
        check: |id| {
            let never = ["BG", "GB", "NK", "KN", "NT", "TN", "ZZ"].contains(&&id[..2]);
            if never { Check::Wrong } else { Check::Unknown }
        },
        context: &["national insurance", "ni number", "nino", "insurance"],
    },
    Recogniser {
        kind: Kind::UkPassport,
        patterns: &[("A{2}9{7}", 0.1)],
        check: |_| Check::Unknown,
        context: &["passport", "travel document", "hmpo"],
    },
    Recogniser {
        kind: Kind::UkPostcode,
        patterns: &[
            ("GIR_0AA", 0.4),
            ("[A-PR-UWYZ]9[ABCDEFGHJKPSTUW]{0,1}_9[ABD-HJLNP-UW-Z]{2}", 0.4),
            ("[A-PR-UWYZ]9{2}_9[ABD-HJLNP-UW-Z]{2}", 0.4),
            ("[A-PR-UWYZ][A-HK-Y]9[ABEHMNPRVWXY]{0,1}_9[ABD-HJLNP-UW-Z]{2}", 0.4),
            ("[A-PR-UWYZ][A-HK-Y]9{2}_9[ABD-HJLNP-UW-Z]{2}", 0.4),
        ],
        check: |_| Check::Unknown,
        context: &[
            "postcode",
            "post code",
            "postal code",
            "zip",
            "zip code",
            "address",
            "delivery",
            "mailing",
            "shipping",
        ],
    },
    Recogniser {
        kind: Kind::UkVehicle,
        patterns: &[
            ("[A-HJ-PR-Y]{2}9{2}-[A-HJ-PR-Z]{3}", 0.3),
            ("[A-HJ-NPR-TV-Y]9{1,3}-[A-HJ-PR-Y][A-HJ-PR-Z]{2}", 0.2),
            ("[A-HJ-PR-Z]{3}-9{1,3}-[A-HJ-NPR-TV-Y]", 0.15),
        ],
        check: |id| {
            // The current form has the half year as two digits: 02 to 29 and 51 to 79.
            let current = id.len() == 7 && id.as_bytes()[1].is_ascii_alphabetic() && id.as_bytes()[2].is_ascii_digit();
            let age = id[2..4].parse().unwrap_or(0);
            if current && !matches!(age, 1..=29 | 51..=79) { Check::Wrong } else { Check::Unknown }
        },
        context: &[
            "vehicle",
            "registration",
            "number plate",
            "licence plate",
            "license plate",
            "reg",
            "vrn",
            "dvla",
            "v5c",
            "logbook",
            "mot",
            "car",
        ],
    },
    Recogniser {
        kind: Kind::UkDriver,
        patterns: &[("[A-Z9]{5}9{6}[A-Z9]{2}XA{2}", 0.7)],
        check: |id| {
            // Five letters of the surname, filled up with 9; then decade, month (50 more for women), day, year.
            let surname = id[..5].trim_end_matches('9');
            let (month, day): (u32, u32) = (id[6..8].parse().unwrap_or(0), id[8..10].parse().unwrap_or(0));
            let dated = matches!(month, 1..=12 | 51..=62) && matches!(day, 1..=31);
            let named = !surname.is_empty() && !surname.contains('9');
            if dated && named { Check::Unknown } else { Check::Wrong }
        },
        context: &[
            "driving licence",
            "driving license",
            "driver's licence",
            "dvla",
            "licence number",
            "license number",
        ],
    },
];
