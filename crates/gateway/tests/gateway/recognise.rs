//! Identifiers of each kind, and texts that look like them.

use honelm_gateway::pii::{DetectOptions, Detector, Kind};

use crate::{detector, only, shown};

/// A text with the identifiers of a kind that are found in it at any score.
type Case = (&'static str, &'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "CREDIT_CARD",
        "4111 1111 1111 1111, 5500-0000-0000-0004; 378282246310005",
        &["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"],
    ),
    ("CREDIT_CARD", "4111111111111112 x4111111111111111 0000000000000000", &[]),
    (
        "IBAN_CODE",
        "GB82 WEST 1234 5698 7654 32 and de89370400440532013000.",
        &["GB82 WEST 1234 5698 7654 32", "de89370400440532013000"],
    ),
    ("IBAN_CODE", "GB83WEST12345698765432 GB82WEST1234569876543", &[]),
    (
        "CRYPTO",
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        &["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"],
    ),
    ("CRYPTO", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", &[]),
    (
        "EMAIL_ADDRESS",
        "Ann <ann.lee+x@mail.example.co.uk>, |a_b@x.io| 'c@d.org' “é@ü.org”.",
        &["ann.lee+x@mail.example.co.uk", "a_b@x.io", "c@d.org", "é@ü.org"],
    ),
    ("EMAIL_ADDRESS", "@home a@b .@x.com user@host", &[]),
    (
        "URL",
        "See https://a.example/p(1)?q=2#x, www.shop.example.com. (http://1.2.3.4:80/x)",
        &["https://a.example/p(1)?q=2#x", "www.shop.example.com", "http://1.2.3.4:80/x"],
    ),
    ("URL", "main.rs 1.5.com e.g.this i.e. https://localhost www.x", &[]),
    (
        "IP_ADDRESS",
        "10.0.0.7:80 2001:db8::8a2e:370:7334 fe80::1%eth0 10.1.0.0/16",
        &["10.0.0.7", "2001:db8::8a2e:370:7334", "fe80::1%eth0", "10.1.0.0/16"],
    ),
    ("IP_ADDRESS", "1.2.3 1.2.3.4.5 999.1.1.1 12:30 12:30:45 std::vec a::b", &[]),
    (
        "MAC_ADDRESS",
        "00:1A:2b:3C:4D:5E AA-BB-CC-DD-EE-01 0012.3456.789a",
        &["00:1A:2b:3C:4D:5E", "AA-BB-CC-DD-EE-01", "0012.3456.789a"],
    ),
    ("MAC_ADDRESS", "FF:FF:FF:FF:FF:FF 00:1A:2B:3C:4D 00:1A:2B-3C:4D:5E", &[]),
    (
        "DATE_TIME",
        "1978-04-13 12:20:39, 2/16/1942, 5-May-2021 and 3.12.1999",
        &["1978-04-13 12:20:39", "2/16/1942", "5-May-2021", "3.12.1999"],
    ),
    ("DATE_TIME", "1.2.3 13/32/2020 3-4 10.0.0.1", &[]),
    (
        "PHONE_NUMBER",
        "+44 20 7946 0958, (212) 555-0187 x12, 07700 900 123",
        &["+44 20 7946 0958", "(212) 555-0187 x12", "07700 900 123"],
    ),
    ("US_SSN", "536-90-4399 000-12-3456 536-00-4399", &["536-90-4399"]),
    ("US_ITIN", "912-70-1234 912-49-1234", &["912-70-1234"]),
    ("US_NPI", "1234567893 1234567890", &["1234567893"]),
    ("US_MBI", "1EG4-TE5-MK73 1EG4TE5MK73 1SG4TE5MK73", &["1EG4-TE5-MK73", "1EG4TE5MK73"]),
    ("ABA_ROUTING_NUMBER", "021000021 021000022", &["021000021"]),
    ("MEDICAL_LICENSE", "BB1388568 BB1388569", &["BB1388568"]),
    ("UK_NHS", "943 476 5919 943 476 5918", &["943 476 5919"]),
    ("UK_NINO", "AB 12 34 56 C, ZZ123456A", &["AB 12 34 56 C"]),
    ("UK_POSTCODE", "SW1A 1AA M1 1AE QV1 1AA", &["SW1A 1AA", "M1 1AE"]),
    ("UK_DRIVING_LICENCE", "MORGA657054SM9IJ MORGA999999SM9IJ", &["MORGA657054SM9IJ"]),
    ("DE_TAX_ID", "86095742719 86095742718", &["86095742719"]),
    ("DE_ID_CARD", "L01X00T471 T22000129", &["T22000129"]),
    ("DE_SOCIAL_SECURITY", "15070649C103 15070649C104", &["15070649C103"]),
    ("DE_HEALTH_INSURANCE", "A123456780 A123456781", &["A123456780"]),
    ("DE_KFZ", "M-AB 1234, HH-X-99E", &["M-AB 1234", "HH-X-99E"]),
    ("FR_NIR", "2 55 08 14 168 025 38 and 255081416802539", &["2 55 08 14 168 025 38"]),
    ("FR_SIRET", "732 829 320 00074, 732829321", &["732 829 320 00074"]),
    ("FR_VAT_ID", "FR 40 303 265 045; FR41303265045", &["FR 40 303 265 045"]),
    ("ES_NIF", "12345678Z 12345678A", &["12345678Z"]),
    ("ES_NIE", "X1234567L X1234567A", &["X1234567L"]),
    ("IT_FISCAL_CODE", "RSSMRA85T10A562S", &["RSSMRA85T10A562S"]),
    ("IT_VAT_CODE", "12345670017 12345670018", &["12345670017"]),
    ("IN_AADHAAR", "2345 6789 0124, 2345 6789 0125", &["2345 6789 0124"]),
    ("IN_PAN", "ABCPE1234F", &["ABCPE1234F"]),
    ("IN_GSTIN", "27AAPFU0939F1ZV 99", &["27AAPFU0939F1ZV"]),
    ("AU_ABN", "51 824 753 556, 51 824 753 557", &["51 824 753 556"]),
    ("AU_TFN", "123 456 782, 123 456 783", &["123 456 782"]),
    ("AU_ACN", "004 085 616, 004 085 617", &["004 085 616"]),
    ("AU_MEDICARE", "2123 45670 1, 2123 45671 1", &["2123 45670 1"]),
    ("CA_SIN", "046 454 286? 130 692 544, 130 692 545", &["130 692 544"]),
    ("CA_POSTAL_CODE", "K1A 0B1 D1A 0B1", &["K1A 0B1"]),
    ("NRP", "a German citizen", &["German"]),
];

#[test]
fn identifiers_are_found_where_their_check_digits_are_right() {
    for (name, text, expected) in CASES {
        let kind = Kind::named(name).expect("a kind");
        let found: Vec<&str> = shown(text, &only(kind).detect(text)).into_iter().map(|(_, text)| text).collect();
        assert_eq!(found, *expected, "{name} in {text:?}");
    }
}

#[test]
fn words_around_a_number_decide_what_it_is() {
    let cases = [
        ("My SSN is 536904399.", Some("US_SSN")),
        ("passport number: 536904399", Some("US_PASSPORT")),
        ("routing number 021000021", Some("ABA_ROUTING_NUMBER")),
        ("There are 536904399 stars.", None),
        ("Her NHS number is 9434765919", Some("UK_NHS")),
        ("tax file number 123456782", Some("AU_TFN")),
        ("Steuernummer 93815/08152", Some("DE_TAX_NUMBER")),
        ("Please call 467 3395", Some("PHONE_NUMBER")),
        ("driver's license F1628235", Some("US_DRIVER_LICENSE")),
        ("Aadhaar: 234567890124", Some("IN_AADHAAR")),
        ("date of birth 5 May 1971", Some("DATE_TIME")),
        ("the battle of 5 May 1471", None),
    ];
    for (text, expected) in cases {
        let spans = detector().detect(text);
        let found = spans.iter().find(|s| s.kind.is_structured()).map(|s| s.kind.name());
        assert_eq!(found, expected, "{text:?} {:?}", shown(text, &spans));
    }
}

#[test]
fn unknown_kinds_are_named_with_the_known_ones() {
    assert_eq!(Kind::named("iban_code").expect("a kind"), Kind::Iban);
    let error = Kind::named("IBAN").expect_err("no kind");
    assert!(error.to_string().starts_with("kind \"IBAN\"; expected one of PERSON, GPE"), "{error}");
    assert_eq!(error.code(), "unknown-kind");
}

#[test]
fn all_dates_are_found_where_they_are_wanted() {
    let detector = |all_dates| {
        Detector::new(DetectOptions { kinds: Some(vec![Kind::DateTime]), all_dates, ..DetectOptions::default() })
            .expect("a detector")
    };
    let cases: [(&str, &[&str]); 12] = [
        ("In 2014 and during 1973, a 2017 film; the Act of 2001.", &["2014", "1973", "2017", "2001"]),
        ("Room 2014-A, $1999, 1,950 men, 3.1999, part #1987, 1999%", &[]),
        (
            "She flew on Saturday morning; we meet next Tuesday, not on Sundays.",
            &["Saturday morning", "next Tuesday", "Sundays"],
        ),
        ("Yesterday it rained. Come tomorrow at noon or tonight.", &["Yesterday", "tomorrow", "noon", "tonight"]),
        ("It opens in May, closes in March 2021, and reopens last October.", &["May", "March 2021", "October"]),
        ("They may march on; an august house; December is cold.", &["December"]),
        (
            "Three days ago, 5 years ago, a week ago; last week, this morning.",
            &["Three days ago", "5 years ago", "a week ago", "last week", "this morning"],
        ),
        ("From 17:30 to 5:45 p.m., then 6pm, 11:20:05 and 7 AM.", &["17:30", "5:45 p.m.", "6pm", "11:20:05", "7 AM"]),
        ("Ratios 3:4 and 1:2:3:4, chapter 12:345, 13pm, 25:00.", &[]),
        ("12 June 2020, June 12, 2020 and 12 June.", &["12 June 2020", "June 12, 2020", "12 June"]),
        ("| Day | Year |\n|---|---|\n| Friday | 1988 |", &["Friday", "1988"]),
        ("{\"when\": \"Monday\", \"since\": \"1991\"}", &["Monday", "1991"]),
    ];
    for (text, expected) in cases {
        let found = detector(true).detect(text);
        let found: Vec<&str> = shown(text, &found).into_iter().map(|(_, value)| value).collect();
        assert_eq!(found, expected, "{text}");
        let usual = detector(false).detect(text);
        assert!(usual.iter().all(|span| span.score < 0.5 || text[span.start..span.end].len() > 8), "{text}: {usual:?}");
    }
}
