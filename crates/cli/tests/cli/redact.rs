//! `honelm redact`.

use std::fs;

use serde_json::Value;

use crate::common::{assert_fails, document, run, run_with, status, stderr, stdout};

const TEXT: &str = "Yes — my card is 4111 1111 1111 1111.\n\nMail anna@example.org — or call +44 20 7946 0958.\n";

#[test]
fn a_filter_masks_and_keeps_everything_else() {
    let output = run_with(&["redact"], TEXT.as_bytes());
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let expected = "Yes — my card is <CREDIT_CARD>.\n\nMail <EMAIL_ADDRESS> — or call <PHONE_NUMBER>.\n";
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), (expected, ""));
    assert_eq!(stdout(&run_with(&["redact"], b"")), "");
}

#[test]
fn positions_are_characters_of_the_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("text.txt");
    fs::write(&path, TEXT).expect("a file");
    let found = document(&run(&["redact", path.to_str().expect("a path"), "--json", "--report"]));
    let characters: Vec<char> = TEXT.chars().collect();
    let at = |value: &Value| usize::try_from(value.as_u64().expect("a number")).expect("a position");
    let shown: Vec<(String, String)> = found["spans"]
        .as_array()
        .expect("spans")
        .iter()
        .map(|s| (s["kind"].to_string(), characters[at(&s["start"])..at(&s["end"])].iter().collect()))
        .collect();
    let expected = [
        ("\"CREDIT_CARD\"", "4111 1111 1111 1111"),
        ("\"EMAIL_ADDRESS\"", "anna@example.org"),
        ("\"PHONE_NUMBER\"", "+44 20 7946 0958"),
    ];
    assert_eq!(shown, expected.map(|(kind, text)| (kind.to_owned(), text.to_owned())));
    assert_eq!(found["text"], stdout(&run_with(&["redact"], TEXT.as_bytes())));
    assert_eq!(found["found"][0]["count"], 1);
}

#[test]
fn surrogates_have_the_same_form_and_differ_between_runs() {
    let texts: Vec<String> =
        (0..2).map(|_| stdout(&run_with(&["redact", "--mode", "surrogate"], TEXT.as_bytes()))).collect();
    for text in &texts {
        assert!(!text.contains("4111 1111") && !text.contains("anna@"), "{text}");
        assert_eq!(
            text.find("card is ").map(|at| text[at + 8..].chars().filter(char::is_ascii_digit).take(16).count()),
            Some(16)
        );
    }
    assert_ne!(texts[0], texts[1]);
}

#[test]
fn block_fails_and_prints_no_text() {
    let output = run_with(&["redact", "--mode", "block"], TEXT.as_bytes());
    assert_fails(&output, 1, &["1 CREDIT_CARD", "1 EMAIL_ADDRESS", "expected none"]);
    assert!(stdout(&output).is_empty() && !stderr(&output).contains("4111"));
    let harmless = b"It rained the whole day.\n";
    assert_eq!(run_with(&["redact", "--mode", "block"], harmless).stdout, harmless);
    let report = run_with(&["redact", "--report"], harmless);
    assert!(stderr(&report).contains("nothing private was found"));
}

#[test]
fn kinds_and_threshold_choose() {
    let output = run_with(&["redact", "--kinds", "email_address,IBAN_CODE"], TEXT.as_bytes());
    assert!(stdout(&output).contains("4111 1111 1111 1111") && stdout(&output).contains("<EMAIL_ADDRESS>"));
    assert_fails(&run_with(&["redact", "--kinds", "MAIL"], b""), 2, &["--kinds: kind \"MAIL\"", "EMAIL_ADDRESS"]);
    assert_fails(&run_with(&["redact", "--threshold", "2"], b""), 2, &["found 2, expected a number from 0 to 1"]);
    assert_fails(&run(&["redact", "no-such-file"]), 1, &["no-such-file"]);
    assert_fails(&run_with(&["redact"], b"a\xff"), 1, &["stdin: not UTF-8 from byte 1 on"]);
}
