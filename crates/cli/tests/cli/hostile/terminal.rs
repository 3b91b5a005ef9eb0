//! No text from outside can move the cursor, write the clipboard or control the terminal in another way.

use std::fs;
use std::process::Output;

use honelm_formats::acts_on_terminals;
use honelm_testing::hub::HubServer;

use super::gguf::Tiny;
use crate::common::{assert_fails, honelm, on_a_terminal, run, run_with, status};

/// Sequences that write the clipboard (OSC 52), in both forms, and one that reverses the direction of text.
const COPIES: &str = "\x1b]52;c;QUJD\x07\u{9d}52;c;QUJD\u{9c}\u{202e}";
/// The form in which a part of them is shown. (clap drops sequences that begin with an escape character.)
const SHOWN: &str = "\\u{9d}52;c;QUJD\\u{9c}";

/// Checks that the output has the sequences as escapes, and none that a terminal obeys.
fn assert_shown(output: &Output) {
    let said = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8(said).expect("text");
    assert!(!text.contains(acts_on_terminals), "{text:?}");
    assert!(text.contains(SHOWN), "{text}");
}

#[test]
fn names_templates_and_errors_of_a_model_are_shown_as_escapes() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    let path = path.to_str().expect("UTF-8");
    let template = format!("{{# {COPIES} #}}{{{{ raise_exception('{COPIES}') }}}}");
    Tiny { name: COPIES, template: &template, ..Tiny::default() }.write(path.as_ref());
    assert_shown(&run(&["inspect", path, "-v"]));
    let raised = run_with(&["prompt", path, "-m", "-"], b"[]");
    assert_fails(&raised, 1, &["refuses this conversation"]);
    assert_shown(&raised);
    assert_shown(&run_with(&["chat", path, "--no-history"], b""));
    Tiny { odd_tensor: Some(COPIES), ..Tiny::default() }.write(path.as_ref());
    let odd = run(&["run", path, "--raw", "-p", "a", "-n", "1"]);
    let text = String::from_utf8_lossy(&odd.stderr);
    assert!(!text.contains(acts_on_terminals), "{text:?}");
}

#[test]
fn paths_arguments_and_files_in_errors_are_shown_as_escapes() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = dir.path().join("lines.jsonl");
    fs::write(&text, format!("{{\"text\": \"fine\"}}\n{COPIES}\n")).expect("written");
    let template = dir.path().join("odd.jinja");
    fs::write(&template, format!("{{{{ messages | {COPIES} }}}}")).expect("written");
    for arguments in [
        &["inspect", COPIES][..],
        &["run", "-p", "x", "--template", COPIES],
        &["prompt", "pocket", "-m", COPIES],
        &["eval", "--text", COPIES],
        &["eval", "--protocol", COPIES],
        &["pull", COPIES],
        &["run", &format!("--{COPIES}")],
    ] {
        let output = run(arguments);
        assert!(status(&output) > 0, "{arguments:?}");
        assert_shown(&output);
    }
    let odd = run_with(&["prompt", template.to_str().expect("UTF-8"), "-m", "-"], b"[]");
    assert!(!String::from_utf8_lossy(&odd.stderr).contains(acts_on_terminals));
    assert_eq!(status(&odd), 1);
}

#[test]
fn names_of_a_hub_are_shown_as_escapes() {
    // As JSON has them in the listing.
    let name = "evil-\\u001b]52;c;QUJD\\u0007\\u009d52;c;QUJD\\u009c\\u202e.txt";
    let server = HubServer::start("org/tiny", &[(name, b"x".to_vec())]);
    let dir = tempfile::tempdir().expect("a folder");
    for arguments in [&["pull", "org/tiny"][..], &["pull", "org/tiny", "--include", "*.json"]] {
        let mut command = honelm();
        command.args(arguments).env("HF_ENDPOINT", server.endpoint()).env("HF_HOME", dir.path());
        let output = command.output().expect("it runs");
        assert_eq!(status(&output), 1);
        assert_shown(&output);
    }
}

#[test]
fn an_answer_is_exact_in_a_pipe_and_shown_as_escapes_on_a_terminal() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    let path = path.to_str().expect("UTF-8");
    Tiny { says: b"a\x1b]52;\x07", ..Tiny::default() }.write(path.as_ref());
    let arguments = ["run", path, "--raw", "-p", "a", "--temperature", "0", "-q"];
    assert_eq!(run(&arguments).stdout, b"\x1b]52;\x07\n", "each byte is a token of its own");
    let document = run(&[&arguments[..], &["--json"]].concat());
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).expect("a document");
    assert_eq!(document["text"], "\x1b]52;\x07");
    let decoded = ["tokenize", path, "--decode", "-p", "30 96 58"];
    assert_eq!(run(&decoded).stdout, b"\x1b]7");

    for (arguments, shown) in [(&arguments[..], "\\u{1b}]52;\\u{7}"), (&decoded[..], "\\u{1b}]7")] {
        let Some(seen) = on_a_terminal(80, arguments) else {
            honelm_testing::skip!("an_answer_is_exact_in_a_pipe_and_shown_as_escapes_on_a_terminal", "script")
        };
        assert!(!seen.contains('\x1b') && seen.contains(shown), "{seen:?}");
    }
}
