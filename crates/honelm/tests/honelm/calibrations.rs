//! Jobs with several calibration texts, and bad texts.

use std::fs;

use honelm::{Error, OptimizeOptions, TextSource};

use crate::resume::{optimize_options, optimize_until};
use crate::small::{folder, write_text};

/// Returns options with two calibration texts.
fn two_texts(dir: &std::path::Path) -> OptimizeOptions {
    let options = optimize_options(dir);
    let other = dir.join("other.jsonl");
    let line = |i: u8| format!("{{\"text\": \"{}\"}}\n", char::from(b'a' + i % 26).to_string().repeat(40));
    fs::write(&other, (0..30).map(line).collect::<String>()).unwrap();
    // Each half of the text has chunks enough for a verdict.
    let text = TextSource::File(write_text(&dir.join("long.txt"), 1200, 2));
    OptimizeOptions { calibrations: [&options.calibrations[..], &[TextSource::File(other)]].concat(), text, ..options }
}

#[test]
fn the_text_with_the_lowest_divergence_is_taken_and_the_other_half_judges() {
    let dir = folder();
    let options = two_texts(dir.path());
    let report = optimize_until(&options, None).unwrap().report;
    let choice = report.calibrations.clone().unwrap();
    assert_eq!((choice.candidate.as_str(), choice.trials.len()), ("Q4_0", 2));
    let lowest = choice.trials.iter().map(|trial| trial.kl_divergence).fold(f64::INFINITY, f64::min);
    let taken = choice.trials.iter().find(|trial| trial.taken).unwrap();
    assert_eq!((taken.kl_divergence, &report.calibration.sha256), (lowest, &taken.sha256));
    assert_ne!(choice.trials[0].kl_divergence, choice.trials[1].kl_divergence);
    // Both halves of the held-out text, and no chunk twice.
    let single = OptimizeOptions {
        calibrations: vec![options.calibrations[usize::from(choice.trials[1].taken)].clone()],
        out: dir.path().join("single"),
        ..options.clone()
    };
    let whole = optimize_until(&single, None).unwrap().report;
    assert_eq!(whole.rows[0].quality.chunks, report.rows[0].quality.chunks + choice.chunks);
    // The same file, whichever way the text was found.
    assert_eq!(whole.published[0].sha256, report.published[0].sha256);
    let markdown = report.markdown();
    for part in
        ["\n## Calibration\n\n| calibration |", " is the calibration text: Q4_0 made with it", "- Drift: the tokens"]
    {
        assert!(markdown.contains(part), "{part:?} is not in {markdown}");
    }
    assert!(whole.calibrations.is_none() && !whole.markdown().contains("## Calibration"));
    assert!(optimize_until(&options, None).unwrap().was_done);
    let drift = report.drift.unwrap();
    assert!(drift.divergence_bits > 0.0 && drift.divergence_bits <= 1.0 && drift.scale_bits >= 0.0, "{drift:?}");
    assert!(drift.calibration_perplexity.is_some_and(f64::is_finite) && drift.text_perplexity.is_finite(), "{drift:?}");
}

#[test]
fn a_choice_resumes_at_the_text_where_it_stopped() {
    let dir = folder();
    let options = two_texts(dir.path());
    let whole = optimize_until(&options, None).unwrap().report;
    fs::remove_dir_all(&options.out).unwrap();
    let name = options.calibrations[1].clone();
    let TextSource::File(path) = name else { panic!("a file") };
    let stage = format!("Q4_0 by {}: scoring", path.display());
    assert!(matches!(optimize_until(&options, Some((&stage, 2))), Err(Error::Interrupted)));
    let resumed = optimize_until(&options, None).unwrap().report;
    assert_eq!((resumed.calibrations, resumed.published), (whole.calibrations, whole.published));
}

#[test]
fn bad_texts_are_named_before_any_work() {
    let dir = folder();
    let options = optimize_options(dir.path());
    let file = |name: &str, contents: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, contents).unwrap();
        TextSource::File(path)
    };
    let chat = br#"{"messages": [{"role": "user", "content": "Hello there."}]}"#;
    let heldout = write_text(&dir.path().join("copy.txt"), 800, 2);
    for (wrong, said) in [
        (vec![file("empty.txt", b"")], "empty.txt: the file is empty"),
        (vec![file("binary.txt", b"ab\0c")], "binary.txt: byte 2 is 0"),
        (vec![file("short.txt", b"ab")], "too short: found 3 tokens, expected at least 16"),
        (vec![file("chat.jsonl", chat)], "chat.jsonl: line 1: holds `messages`"),
        (vec![file("bad.jsonl", b"{\"text\": \"a\"}\n{}")], "bad.jsonl: line 2: expected"),
        (vec![file("no.parquet", b"text")], "no.parquet: no Parquet file"),
        (vec![TextSource::File(heldout)], "overlap"),
        (vec![options.calibrations[0].clone(), options.calibrations[0].clone()], "twice"),
        (vec![options.calibrations[0].clone(), file("empty2.txt", b"")], "empty2.txt: the file is empty"),
        (Vec::new(), "--calibration: found no text"),
    ] {
        let wrong = OptimizeOptions { calibrations: wrong, ..options.clone() };
        let error = optimize_until(&wrong, None).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
        assert!(!wrong.out.exists(), "{said}");
    }
    let recipes = vec![honelm::NamedRecipe::new("rtn", honelm::Recipe::rtn())];
    let useless = OptimizeOptions { recipes, ..two_texts(dir.path()) };
    assert!(optimize_until(&useless, None).unwrap_err().to_string().contains("no recipe uses a calibration text"));
}
