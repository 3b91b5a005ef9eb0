//! United States.

use super::checks::{digits, luhn, uniform, weighted};
use super::{Check, Kind, Recogniser};

pub(super) const RECOGNISERS: &[Recogniser] = &[
    Recogniser {
        kind: Kind::UsSsn,
        patterns: &[
            ("9{3}!-9{2}!-9{4}", 0.6),
            ("9{3}! 9{2}! 9{4}", 0.5),
            ("9{3}!.9{2}!.9{4}", 0.5),
            ("9{5}!-9{4}", 0.05),
            ("9{3}!-9{6}", 0.05),
            ("9{9}", 0.05),
        ],
        check: ssn,
        context: &["social security", "ssn", "ssid", "social", "ssn#", "soc sec"],
    },
    Recogniser {
        kind: Kind::UsItin,
        patterns: &[("[9]9{2}~9{2}~9{4}", 0.5), ("[9]9{8}", 0.2), ("[9]9{2}~9{6}", 0.05), ("[9]9{4}~9{4}", 0.05)],
        check: itin,
        context: &["itin", "taxpayer", "tax id", "taxid", "individual taxpayer", "tin"],
    },
    Recogniser {
        kind: Kind::UsPassport,
        patterns: &[("9{9}", 0.05), ("A9{8}", 0.1)],
        check: |_| Check::Unknown,
        context: &["passport", "travel document"],
    },
    Recogniser {
        kind: Kind::UsBank,
        patterns: &[("9{8,17}", 0.05)],
        check: |_| Check::Unknown,
        context: &["bank account", "account", "acct", "checking", "savings account", "account#", "debit"],
    },
    Recogniser {
        kind: Kind::UsDriver,
        patterns: &[
            ("A9{5,14}", 0.3),
            ("A9{3,4}", 0.05),
            ("A{2}9{3,7}", 0.2),
            ("9{2}A{3}9{5,6}", 0.3),
            ("9{6,14}", 0.01),
            ("9{16}", 0.01),
            ("A9{3}-9{3}-9{2}-9{3}-9", 0.4),
            ("9{4}!-9{2}!-9{4}", 0.2),
            ("A9{3}-9{4}-9{4}", 0.3),
        ],
        check: |_| Check::Unknown,
        context: &[
            "driver",
            "driver's",
            "driver’s",
            "drivers license",
            "license",
            "licence",
            "driving",
            "permit",
            "dl",
            "cdl",
            "dls",
            "lic#",
            "driver license",
        ],
    },
    Recogniser {
        kind: Kind::UsMbi,
        patterns: &[
            (
                "[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]9[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]9[AC-HJKMNP-RT-Y]{2}9{2}",
                0.5,
            ),
            (
                "[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]9!-[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]9!-[AC-HJKMNP-RT-Y]{2}9{2}",
                0.7,
            ),
        ],
        check: |_| Check::Unknown,
        context: &["medicare", "mbi", "beneficiary", "medicaid", "cms", "hic", "hicn"],
    },
    Recogniser {
        kind: Kind::UsNpi,
        patterns: &[("[12]9{9}", 0.1), ("[12]9{3}~9{3}~9{3}", 0.4)],
        check: |id| {
            let right = !uniform(id) && luhn(&format!("80840{id}"));
            if right { Check::Unknown } else { Check::Wrong }
        },
        context: &["npi", "national provider", "provider", "provider id", "provider identifier", "taxonomy"],
    },
    Recogniser {
        kind: Kind::AbaRouting,
        patterns: &[("[0123678]9{8}", 0.05), ("[0123678]9{3}!-9{4}!-9", 0.3)],
        check: |id| {
            let right = weighted(id, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10);
            if right { Check::Unknown } else { Check::Wrong }
        },
        context: &["aba", "routing", "routing number", "abarouting", "bankrouting", "wire", "bank"],
    },
    Recogniser {
        kind: Kind::MedicalLicense,
        patterns: &[("[ABCDEFGHJKLMPRSTUX]A9{7}", 0.4), ("[ABCDEFGHJKLMPRSTUX][9]9{7}", 0.4)],
        check: dea,
        context: &["medical", "certificate", "dea", "prescriber", "doctor", "physician"],
    },
];

/// Numbers that were never issued: all alike, a group of zeros, the areas 000 and 666, and examples of the administration.
fn ssn(id: &str) -> Check {
    let never = uniform(id)
        || id[3..5] == *"00"
        || id[5..] == *"0000"
        || ["000", "666", "123456789", "987654321", "078051120"].iter().any(|p| id.starts_with(p));
    if never { Check::Wrong } else { Check::Unknown }
}

/// The fourth and fifth digits are 50 to 65, 70 to 88, 90 to 92 or 94 to 99.
fn itin(id: &str) -> Check {
    let group: u32 = id[3..5].parse().unwrap_or(0);
    if matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99) { Check::Unknown } else { Check::Wrong }
}

/// The first, third and fifth digits and twice the others sum to the last digit.
fn dea(id: &str) -> Check {
    let d: Vec<u32> = digits(&id[id.len() - 7..]).collect();
    let sum = d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5]);
    Check::of(sum % 10 == d[6], 0.5)
}
