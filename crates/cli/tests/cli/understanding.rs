//! `honelm classify` and `honelm extract`.

use serde_json::json;

use crate::common::{document, run, run_with, status, stderr, stdout};

#[test]
fn labels_are_listed_by_their_probabilities() {
    let output = run(&["classify", "-p", "The dog slept.", "--labels", "animal: a living thing,weather"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("log-likelihood") && text.contains("animal") && text.contains("weather"), "{text}");
    assert_eq!(text.matches('*').count(), 1, "{text}");
    let input = "The dog slept.\n\nRain fell.\n";
    let found = document(&run_with(&["classify", "--lines", "--labels", "animal,weather", "--json"], input.as_bytes()));
    let results = found["results"].as_array().expect("results");
    assert_eq!((results.len(), &found["multi"]), (2, &json!(false)));
    let sum: f64 =
        results[1]["scores"].as_array().expect("scores").iter().filter_map(|s| s["probability"].as_f64()).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    let examples = r#"[{"text": "Snow", "labels": ["weather"]}]"#;
    let multi = ["classify", "-p", "Rain", "--labels", "weather", "--multi", "--examples", examples, "--json"];
    let found = document(&run(&multi));
    assert_eq!(found["results"][0]["scores"].as_array().map(Vec::len), Some(1));
}

#[test]
fn facts_are_printed_with_their_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let (text, schema) = (folder.path().join("text.txt"), folder.path().join("schema.json"));
    std::fs::write(&text, "Zoë slept.").expect("a file");
    let rule = json!({"type": "object", "properties": {"name": {"enum": ["Zoë"]}, "text": {"const": "old"}}, "required": ["name", "text"]});
    std::fs::write(&schema, rule.to_string()).expect("a file");
    let arguments = ["extract", "-f", text.to_str().expect("a path"), "--schema", schema.to_str().expect("a path")];
    let found = document(&run(&[&arguments[..], &["--json"]].concat()));
    let one = &found["results"][0];
    assert_eq!(one["data"], json!({"name": "Zoë", "text": "old"}));
    assert_eq!(one["mentions"][0], json!({"path": "/name", "text": "Zoë", "start": 0, "end": 3}));
    assert_eq!(one["mentions"][1], json!({"path": "/text", "text": "old", "start": null, "end": null}));
    let shown = stdout(&run(&arguments));
    assert!(shown.contains("/name") && shown.contains("0-3") && shown.contains("not in the text"), "{shown}");
    let cut = run(&["extract", "-p", "Ann", "--kinds", "PERSON", "-n", "1"]);
    assert!(status(&cut) == 1 && stderr(&cut).contains("--max-tokens"), "{}", stderr(&cut));
}

#[test]
fn wrong_options_are_refused() {
    for (arguments, place) in [
        (&["classify", "-p", "a"][..], "--labels"),
        (&["classify", "-p", "a", "--labels", "a,a"], "labels"),
        (&["classify", "-p", "a", "--labels", "a,b", "--threshold", "2"], "--multi"),
        (&["classify", "-p", "a", "--labels", "a,b", "--examples", "[{}]"], "--examples"),
        (&["extract", "-p", "a"], "--schema"),
        (&["extract", "-p", "a", "--schema", "{", "--json"], "--schema"),
        (&["extract", "-p", "a", "--schema", "no-such-file"], "no-such-file"),
        (&["extract", "-p", "a", "--schema", "{}", "--kinds", "A"], "--kinds"),
        (&["extract", "-p", "", "--kinds", "A"], "empty"),
    ] {
        let output = run(arguments);
        let told = format!("{}{}", stdout(&output), stderr(&output));
        assert!(status(&output) != 0 && told.contains(place), "{arguments:?}: {told}");
    }
}
