//! Speculative decoding on the command line.

use std::fs;
use std::path::Path;

use crate::common::{assert_documented, assert_fails, document, run, status, stderr, stdout};

const STORY: [&str; 8] = ["run", "-p", "Tell me a story.", "-n", "24", "--temperature", "0", "--json"];

#[test]
fn drafts_change_no_answer() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/pocket");
    let shipped = shipped.to_str().expect("a path in UTF-8");
    let plain = document(&run(&[&STORY[..], &["--speculate", "off"]].concat()));
    assert_eq!(plain["drafted_tokens"], 0);
    // The model drafts for itself.
    let drafted = document(&run(&[&STORY[..], &["--draft", shipped, "--speculate", "draft"]].concat()));
    let by_text = document(&run(&[&STORY[..], &["--speculate", "ngram"]].concat()));
    for found in [&drafted, &by_text] {
        assert_eq!((&found["token_ids"], &found["text"]), (&plain["token_ids"], &plain["text"]));
        assert!(found["accepted_tokens"].as_u64() <= found["drafted_tokens"].as_u64());
    }
}

#[test]
fn unusable_draft_models_are_errors() {
    let dir = tempfile::tempdir().expect("a folder");
    let broken = dir.path().join("broken.gguf");
    fs::write(&broken, b"GGUF\x03\0\0\0").expect("written");
    let broken = broken.to_str().expect("a path in UTF-8");
    assert_fails(&run(&[&STORY[..7], &["--draft", broken]].concat()), 1, &["broken.gguf"]);
    assert_fails(&run(&[&STORY[..7], &["--draft", "no-such-model"]].concat()), 1, &["no-such-model", "looked in"]);
    assert_fails(&run(&[&STORY[..7], &["--speculate", "draft"]].concat()), 2, &["--draft MODEL"]);
    assert_fails(&run(&[&STORY[..7], &["--speculate", "ngram", "--draft", "pocket"]].concat()), 2, &["not be used"]);
    assert_fails(&run(&[&STORY[..7], &["--speculate", "magic"]].concat()), 2, &["magic", "ngram"]);
    assert_fails(&run(&["bench", "--draft", "pocket"]), 2, &["--speculate"]);
}

#[test]
fn the_benchmark_compares_every_class_with_plain_decoding() {
    let output = run(&["bench", "--speculate", "ngram", "-n", "6", "-r", "1", "--json", "--quiet"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let rows: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    rows.iter().for_each(assert_documented);
    assert_eq!(rows.iter().map(|row| &row["class"]).collect::<Vec<_>>(), ["story", "repetition", "code", "extraction"]);
    for row in &rows {
        assert_eq!((&row["equal"], &row["rounds"], &row["tokens"]), (&1.into(), &1.into(), &5.into()), "{row}");
        assert!(row["speedup"].as_f64().is_some_and(|speedup| speedup > 0.0), "{row}");
    }
}
