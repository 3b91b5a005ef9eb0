//! `honelm optimize`, with settings that take seconds.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::{assert_keys, document, run, status, stderr, stdout, write_text};
use serde_json::Value;

struct Job {
    _dir: tempfile::TempDir,
    out: PathBuf,
    calibration: PathBuf,
    text: PathBuf,
}

impl Job {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        let (out, calibration, text) = (path("out"), path("calibration.txt"), path("text.txt"));
        write_text(&calibration, 400, 1);
        write_text(&text, 2400, 2);
        Self { _dir: dir, out, calibration, text }
    }

    fn run(&self, more: &[&str]) -> Output {
        fn text(path: &Path) -> &str {
            path.to_str().expect("a path in UTF-8")
        }
        let arguments = [
            &["optimize", "-o", text(&self.out), "--calibration", text(&self.calibration), "--text", text(&self.text)],
            &["--samples", "2", "--length", "64", "--protocol", "llama.cpp-64"][..],
            more,
        ];
        run(&arguments.concat())
    }
}

#[test]
fn a_candidate_that_holds_the_budget_is_published_and_done_once() {
    let job = Job::new();
    let output = job.run(&["--bits", "8", "--budget", "1000000"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    for part in ["original", "Q8_0 *", "perplexity", "tok/s", "peak memory", "holds the budget", "model.gguf"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    for name in ["model.gguf", "report.json", "report.md"] {
        assert!(job.out.join(name).is_file(), "{name}");
    }
    let again = job.run(&["--bits", "8", "--budget", "1000000", "--json"]);
    let found = document(&again);
    assert_eq!((&found["was_done"], &found["chosen"]), (&Value::from(true), &Value::from("Q8_0")));
    let row = &found["rows"][1];
    assert_keys(
        row,
        &[
            "size_bytes",
            "bits_per_weight",
            "perplexity",
            "perplexity_stderr",
            "perplexity_difference",
            "perplexity_difference_upper95",
            "kl_divergence",
            "same_top_percent",
            "load_seconds",
            "prefill_tokens_per_second",
            "decode_tokens_per_second",
            "first_token_seconds",
            "peak_memory_bytes",
        ],
    );
    // Other options are other work: not overwritten unasked.
    let other = job.run(&["--bits", "8", "--budget", "999"]);
    assert_eq!(status(&other), 1, "{}", stderr(&other));
    assert!(stderr(&other).contains("--restart"), "{}", stderr(&other));
    // Without its report nobody knows whose model it is: neither is it replaced.
    let model = std::fs::read(job.out.join("model.gguf")).expect("published");
    std::fs::remove_file(job.out.join("report.json")).expect("removed");
    let unknown = job.run(&["--bits", "8", "--budget", "1000000"]);
    assert_eq!(status(&unknown), 1, "{}", stderr(&unknown));
    assert!(stderr(&unknown).contains("model.gguf") && stderr(&unknown).contains("--force"), "{}", stderr(&unknown));
    assert_eq!(std::fs::read(job.out.join("model.gguf")).expect("still there"), model);
}

#[test]
fn a_broken_budget_has_status_3_and_publishes_nothing() {
    let job = Job::new();
    let output = job.run(&["--bits", "4", "--budget", "-1000", "--json", "-q"]);
    assert_eq!(status(&output), 3, "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!((&found["chosen"], &found["error"]["code"]), (&Value::Null, &Value::from("budget-exceeded")));
    assert_eq!(found["rows"].as_array().map(Vec::len), Some(2));
    assert!(!job.out.join("model.gguf").exists());
    assert!(job.out.join("report.json").is_file());
    assert!(stderr(&output).is_empty(), "{}", stderr(&output));
}

#[test]
fn too_few_chunks_have_status_4() {
    let job = Job::new();
    write_text(&job.text, 300, 2);
    let output = job.run(&["--bits", "8"]);
    assert_eq!(status(&output), 4, "{}", stderr(&output));
    assert!(!job.out.join("model.gguf").exists());
}
