//! `honelm eval --tasks`, and the gates of `honelm optimize`.

use crate::common::{assert_keys, document, honelm, run, status, stderr, stdout};
use serde_json::Value;

const TASKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../honelm/data/tasks.jsonl");

#[test]
fn the_sample_tasks_are_answered_and_the_original_is_kept() {
    let cache = tempfile::tempdir().expect("a folder");
    let eval = |more: &[&str]| {
        let arguments = ["eval", "--chunks", "1", "--tasks", TASKS, "--against", "pocket"];
        let mut command = honelm();
        command.args(arguments).args(more).env("XDG_CACHE_HOME", cache.path());
        command.output().expect("the command starts")
    };
    let first = eval(&["--json"]);
    let found = document(&first);
    assert!(stderr(&first).contains("original: answering"), "{}", stderr(&first));
    assert_eq!((&found["items"], &found["accuracy_retained_percent"]), (&Value::from(64), &Value::from(100.0)));
    assert_eq!(found["accuracy_retained_percent_lower95"], 100.0);
    assert!(found["accuracy_percent"].as_f64().is_some_and(|percent| percent > 50.0), "{found}");
    let tasks = found["tasks"].as_array().expect("tasks");
    assert_eq!(tasks.iter().map(|task| &task["task"]).collect::<Vec<_>>(), ["endings", "last word", "questions"]);
    assert_keys(&tasks[0], &["kinds", "items", "accuracy_norm_percent", "base_accuracy_percent"]);
    let second = eval(&[]);
    assert_eq!(status(&second), 0, "{}", stderr(&second));
    assert!(!stderr(&second).contains("original: "), "{}", stderr(&second));
    for part in ["perplexity", "last word", "cloze", "retained", "100.0% to 100.0%"] {
        assert!(stdout(&second).contains(part), "{part} is not in {}", stdout(&second));
    }
    let third = eval(&["--no-cache"]);
    assert!(stderr(&third).contains("original: scoring"), "{}", stderr(&third));
}

#[test]
fn bad_tasks_and_limits_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bad.jsonl");
    std::fs::write(&path, "{\"kind\": \"cloze\", \"context\": \"a\"}\n").expect("written");
    let bad = path.to_str().expect("UTF-8");
    let output = run(&["eval", "--tasks", bad]);
    assert_eq!(status(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("bad.jsonl: line 1: target: missing"), "{}", stderr(&output));
    for (arguments, said) in [
        (&["eval", "--chat"][..], "--tasks"),
        (&["optimize", "--max-accuracy-loss", "3%"], "--tasks"),
        (&["optimize", "--budget", "5%%"], "a percentage such as 5%"),
        (&["optimize", "--max-kl", "-1"], "at least 0"),
        (&["optimize", "--max-accuracy-loss", "101%", "--tasks", TASKS], "from 0% to 100%"),
    ] {
        let output = run(arguments);
        assert_eq!(status(&output), 2, "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}
