//! `honelm prune`, run with the shipped model.

use crate::common::{assert_fails, assert_keys, document, run, status, stderr, stdout, write_text};

const SMALL: [&str; 4] = ["--samples", "8", "--length", "32"];

#[test]
fn a_pruned_model_is_reported_and_answers() {
    let dir = tempfile::tempdir().expect("a folder");
    let (out, text) = (dir.path().join("pruned"), dir.path().join("held-out.txt"));
    let (out, text_path) = (out.to_str().expect("UTF-8"), text.to_str().expect("UTF-8"));
    write_text(&text, 1200, 3);
    let first = ["prune", "pocket", "--heads", "50%", "--ffn", "15%", "-o", out, "--json"];
    let more = ["--text", text_path, "--chunks", "1"];
    let found = document(&run(&[&first[..], &SMALL, &more].concat()));
    assert_keys(
        &found,
        &["path", "before", "after", "layers", "after_cutting", "after_restoration", "kl_after_cutting"],
    );
    assert_eq!(
        (&found["after"]["heads"], &found["after"]["kv_heads"], &found["after"]["ffn"]),
        (&2.into(), &1.into(), &640.into())
    );
    let kl = |key: &str| found[key]["kl_divergence"].as_f64().expect("a number");
    assert!(kl("after_restoration") > 0.0 && kl("after_cutting") > 0.0);
    let answer = run(&["run", out, "-p", "Once", "-n", "3"]);
    assert_eq!(status(&answer), 0, "{}", stderr(&answer));
    // An output stays unless it may be replaced.
    assert_fails(&run(&["prune", "pocket", "--ffn", "15%", "-o", out]), 1, &["--force"]);
    let again = run(&[&["prune", "pocket", "--layers", "1", "-o", out, "--force"][..], &SMALL].concat());
    assert_eq!(status(&again), 0, "{}", stderr(&again));
    let told = stdout(&again);
    assert!(told.contains("7 layers, 4 heads") && told.contains("layers removed"), "{told}");
}

#[test]
fn shares_that_cannot_be_met_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    let out = out.to_str().expect("UTF-8");
    let prune = |more: &[&str]| run(&[&["prune", "pocket", "-o", out], more].concat());
    assert_fails(&prune(&["--heads", "10%"]), 1, &["nearest possible share is 0.5"]);
    assert_fails(&prune(&["--ffn", "1%"]), 1, &["nearest possible share is 0.0416", "multiples of 32"]);
    assert_fails(&prune(&["--layers", "8"]), 1, &["fewer than the model's 8"]);
    assert_fails(&prune(&["--ffn", "100%"]), 2, &["below 100%"]);
    assert_fails(&prune(&["--sparsity", "2:4", "--ffn", "10%"]), 2, &["--sparsity"]);
    assert!(!std::path::Path::new(out).exists());
}
