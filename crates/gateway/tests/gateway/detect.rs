//! The detector as a whole: tables, JSON, disguises, positions, overlaps.

use honelm_gateway::pii::{DetectOptions, Detector, in_characters};
use honelm_testing::egress::leaks;

use crate::{detector, shown};

const CARD: &str = "4111 1111 1111 1111";

#[test]
fn tables_have_their_headings_as_context() {
    let text = "| Name | SSN | Phone |\n|---|---|---|\n| Anna Schmidt | 536904399 | 467 3395 |\n| Peter Meyer | 536904398 | 467 3396 |\n";
    let spans = detector().detect(text);
    let found = shown(text, &spans);
    for expected in
        [("US_SSN", "536904399"), ("US_SSN", "536904398"), ("PHONE_NUMBER", "467 3395"), ("PERSON", "Anna Schmidt")]
    {
        assert!(found.contains(&expected), "{expected:?} in {found:?}");
    }
}

#[test]
fn json_is_text_with_escapes() {
    let text = r#"{"note": "first\nanna@example.org\tGB82WEST12345698765432", "q": "{\"ssn\": \"536904399\"}", "u": "a\u0040b.example"}"#;
    let spans = detector().detect(text);
    let found = shown(text, &spans);
    let expected = [
        ("EMAIL_ADDRESS", "anna@example.org"),
        ("IBAN_CODE", "GB82WEST12345698765432"),
        ("US_SSN", "536904399"),
        ("EMAIL_ADDRESS", "a\\u0040b.example"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn disguises_do_not_help() {
    let disguised = [
        "4111\u{a0}1111\u{2009}1111 1111",
        "41\u{200b}11 11\u{feff}11 1111 1111",
        "４１１１ １１１１ １１１１ １１１１",
        "4111\u{2011}1111\u{2011}1111\u{2011}1111",
        "4111%201111%201111%201111",
        "\u{1d7d2}111 1111 1111 1111",
    ];
    for number in disguised {
        let text = format!("My card is {number}, thanks.");
        let spans = detector().detect(&text);
        assert_eq!(shown(&text, &spans), [("CREDIT_CARD", number)]);
        let masked = text.replace(number, "<CREDIT_CARD>");
        assert_eq!((leaks(&[CARD], text.as_bytes()).len(), leaks(&[CARD], masked.as_bytes())), (1, vec![]), "{number}");
    }
}

#[test]
fn spans_are_in_order_apart_and_in_characters() {
    let text = "Grüße an Jörg Müller, jörg.müller@example.org, 4111111111111111 und GB82WEST12345698765432.";
    let spans = detector().detect(text);
    assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start), "{spans:?}");
    let characters: Vec<char> = text.chars().collect();
    for (span, inside) in spans.iter().zip(in_characters(text, &spans)) {
        let shown: String = characters[inside.start..inside.end].iter().collect();
        assert_eq!(shown, text[span.start..span.end]);
        assert!((0.5..=1.0).contains(&span.score), "{span:?}");
    }
    assert!(shown(text, &spans).contains(&("EMAIL_ADDRESS", "jörg.müller@example.org")), "{:?}", shown(text, &spans));
}

#[test]
fn any_text_comes_back() {
    let pieces = [
        "4",
        "@",
        ":",
        "::",
        ".",
        "-",
        "(",
        ")",
        "+",
        " ",
        "\n",
        "\\",
        "\"",
        "\\u",
        "d83d",
        "%4",
        "%40",
        "0x",
        "bc1",
        "1800",
        "äö",
        "\u{200b}",
        "https://",
        "www.",
        "May",
        "x",
        "GB82",
        "DE",
        "|",
        "🎉",
        "AB 12",
        "\0",
        "corner of ",
        "A and B ",
        "USS ",
        " APO AE 12345",
        "Ann Lee",
        "yesterday",
        "2014",
    ];
    let all_dates = Detector::new(DetectOptions { all_dates: true, ..DetectOptions::default() }).expect("a detector");
    let mut state = 1_u32;
    for length in 0..3000 {
        let mut text = String::new();
        for _ in 0..length % 40 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(pieces[(state >> 16) as usize % pieces.len()]);
        }
        let spans = if length % 2 == 0 { detector().detect(&text) } else { all_dates.detect(&text) };
        assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start), "{text:?} {spans:?}");
        for span in spans {
            assert!(span.start < span.end && text.get(span.start..span.end).is_some(), "{text:?} {span:?}");
        }
    }
}

#[test]
fn hostile_texts_end() {
    // Each would take minutes if any part looked at the rest of the text at each place.
    let pieces = [
        "http://",
        "a.com?",
        "a.com/b",
        ":",
        "f:",
        "1 ",
        "1-",
        "(1) ",
        "4111-",
        "@a.",
        "a@",
        "\\",
        "\"\\\\n",
        "1",
        "| 1 ",
        "|1|\n",
        "A ",
        "May 1 ",
        "é",
        "\u{200b}",
        "%40",
        "Ann, ",
        "Ann\n",
        "\n\n",
        "DE ",
        "GB82 ",
        "x1",
        "corner of A and B ",
        "corner of ",
        "Ann Lee and Ann ",
        "USS A APO AE 12345\n",
    ];
    for piece in pieces {
        let text = piece.repeat(400_000 / piece.len());
        let spans = detector().detect(&text);
        assert!(spans.iter().all(|s| s.end <= text.len()), "{piece:?}");
    }
}
