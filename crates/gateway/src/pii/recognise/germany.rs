//! Germany.

use super::checks::{digits, icao, mod_11_10, uniform};
use super::{Check, Kind, Recogniser};

pub(super) const RECOGNISERS: &[Recogniser] = &[
    Recogniser {
        kind: Kind::DeTaxId,
        patterns: &[("[1-9]9{10}", 0.3), ("[1-9]9! 9{3}! 9{3}! 9{3}", 0.45)],
        check: |id| if !uniform(id) && mod_11_10(id) { Check::Unknown } else { Check::Wrong },
        context: &[
            "steueridentifikationsnummer",
            "steuer-id",
            "steuerid",
            "identifikationsnummer",
            "idnr",
            "steuer-idnr",
            "steuernummer",
            "bzst",
            "tax id",
        ],
    },
    Recogniser {
        kind: Kind::DeTaxNumber,
        patterns: &[("9{13}", 0.2), ("9{3}!/9{3}!/9{5}", 0.5), ("9{2,3}!/9{3,4}!/9{4,5}", 0.2), ("9{5}!/9{5}", 0.2)],
        check: |id| {
            let state: u32 = id[..2].parse().unwrap_or(0);
            if id.len() == 13 && !matches!(state, 1..=16) { Check::Wrong } else { Check::Unknown }
        },
        context: &[
            "steuernummer",
            "steuer-nr",
            "steuer nr",
            "st.-nr",
            "st-nr",
            "finanzamt",
            "steuerbescheid",
            "tax number",
        ],
    },
    Recogniser {
        kind: Kind::DePassport,
        patterns: &[("[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{7}9", 0.2)],
        check: document,
        context: &[
            "reisepass",
            "pass",
            "passnummer",
            "reisepassnummer",
            "passport",
            "pass-nr",
            "dokumentennummer",
            "mrz",
        ],
    },
    Recogniser {
        kind: Kind::DeIdCard,
        patterns: &[("[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{7}9", 0.2), ("T9{8}", 0.2)],
        check: |id| {
            // Cards before 2010 have no check digit: T and eight digits.
            if id.starts_with('T') && digits(id).count() == 8 { Check::Unknown } else { document(id) }
        },
        context: &[
            "personalausweis",
            "ausweis",
            "personalausweisnummer",
            "ausweisnummer",
            "dokumentennummer",
            "seriennummer",
            "npa",
            "identity card",
            "national id",
        ],
    },
    Recogniser {
        kind: Kind::DeSocial,
        patterns: &[("9{8}A9{3}", 0.3), ("9{2}! 9{6}! A! 9{3}", 0.5)],
        check: social,
        context: &[
            "rentenversicherungsnummer",
            "sozialversicherungsnummer",
            "versicherungsnummer",
            "rvnr",
            "svnr",
            "sv-nummer",
            "rentenversicherung",
            "sozialversicherung",
        ],
    },
    Recogniser {
        kind: Kind::DeHealth,
        patterns: &[("A9{9}", 0.3)],
        check: health,
        context: &[
            "krankenversicherungsnummer",
            "krankenversichertennummer",
            "versichertennummer",
            "kvnr",
            "krankenkasse",
            "krankenversicherung",
            "gesundheitskarte",
            "egk",
        ],
    },
    Recogniser {
        kind: Kind::DeVehicle,
        patterns: &[
            ("A{1,3}!-A{1,2}!-9{1,4}[EH]{0,1}", 0.3),
            ("A{1,3}!-A{1,2}! 9{1,4}[EH]{0,1}", 0.3),
            ("A{1,3}! A{1,2}! 9{1,4}[EH]{0,1}", 0.2),
        ],
        check: |_| Check::Unknown,
        context: &[
            "kennzeichen",
            "kfz-kennzeichen",
            "nummernschild",
            "zulassung",
            "kfz",
            "fahrzeug",
            "pkw",
            "lkw",
            "fahrzeugschein",
        ],
    },
    Recogniser {
        kind: Kind::DeRegister,
        patterns: &[("HR[AB]_9{1,6}", 0.5)],
        check: |_| Check::Unknown,
        context: &["handelsregister", "amtsgericht", "registergericht", "handelsregisternummer", "gmbh"],
    },
    Recogniser {
        kind: Kind::DePlz,
        patterns: &[("9{5}", 0.05)],
        check: |id| if matches!(id.parse(), Ok(1001..=99998)) { Check::Unknown } else { Check::Wrong },
        context: &["plz", "postleitzahl"],
    },
    Recogniser {
        kind: Kind::DeLanr,
        patterns: &[("9{9}", 0.2)],
        check: |id| {
            let sum: u32 = digits(&id[..6]).zip([4, 9].iter().cycle()).map(|(d, w)| d * w).sum();
            if id[6..7].parse() == Ok((10 - sum % 10) % 10) { Check::Unknown } else { Check::Wrong }
        },
        context: &[
            "arztnummer",
            "lanr",
            "arzt-nr",
            "arzt nr",
            "vertragsarzt",
            "kassenarzt",
            "kbv",
            "hausarzt",
            "facharzt",
        ],
    },
    Recogniser {
        kind: Kind::DeBsnr,
        patterns: &[("9{9}", 0.1)],
        check: |id| {
            // The first two digits are the region of an association of physicians.
            let region = id[..2].parse().unwrap_or(0u32);
            if matches!(region, 1..=3 | 6..=21 | 24..=31 | 35..=99) && id != "000000000" {
                Check::Unknown
            } else {
                Check::Wrong
            }
        },
        context: &[
            "betriebsstättennummer",
            "bsnr",
            "betriebsstätte",
            "praxisnummer",
            "arztpraxis",
            "hauptbetriebsstätte",
        ],
    },
    Recogniser {
        kind: Kind::DeDriver,
        patterns: &[("A{2}9{8}X", 0.3)],
        check: |_| Check::Unknown,
        context: &[
            "führerschein",
            "führerscheinnummer",
            "fahrerlaubnis",
            "fahrerlaubnisnummer",
            "driving licence",
            "driver's license",
        ],
    },
    Recogniser {
        kind: Kind::DeVat,
        patterns: &[("DE9{9}", 0.5), ("DE=9{3}=9{3}=9{3}", 0.4)],
        check: |id| if mod_11_10(&id[2..]) { Check::Right(0.9) } else { Check::Unknown },
        context: &["umsatzsteuer", "ust-idnr", "ust-id", "vat", "vat id", "finanzamt", "rechnung"],
    },
];

/// The check digit of identity documents. There is at least one digit besides it, as words have none.
fn document(id: &str) -> Check {
    if digits(id).count() > 1 && icao(id) { Check::Unknown } else { Check::Wrong }
}

/// Area, day (50 more for second numbers), month, year, initial, serial number, and a sum of digit sums.
fn social(id: &str) -> Check {
    let (day, month): (u32, u32) = (id[2..4].parse().unwrap_or(0), id[4..6].parse().unwrap_or(0));
    let initial = u32::from(id.as_bytes()[8] - b'A') + 1;
    let spelled = format!("{}{initial:02}{}", &id[..8], &id[9..11]);
    let sum: u32 =
        digits(&spelled).zip([2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1]).map(|(d, w)| d * w / 10 + d * w % 10).sum();
    let dated = matches!(day, 1..=31 | 51..=81) && matches!(month, 1..=12);
    Check::of(dated && id[11..].parse() == Ok(sum % 10), 0.8)
}

/// The letter as two digits, then Luhn's weights from the left.
fn health(id: &str) -> Check {
    let letter = u32::from(id.as_bytes()[0] - b'A') + 1;
    let spelled = format!("{letter:02}{}", &id[1..9]);
    let sum: u32 = digits(&spelled).zip([1, 2].iter().cycle()).map(|(d, w)| d * w / 10 + d * w % 10).sum();
    Check::of(!uniform(&id[1..]) && id[9..].parse() == Ok(sum % 10), 0.5)
}
