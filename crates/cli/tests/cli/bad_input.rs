//! Broken models, texts and folders: exit status 1, a message with the file name, no panic, no partial output.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{assert_fails, run, write_text};
#[cfg(unix)]
use crate::common::{run_on_a_full_disk, status, stderr};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/pocket")
}

/// Copies the folder of the shipped model.
fn copy(to: &Path) -> PathBuf {
    let folder = to.join("copy");
    fs::create_dir(&folder).expect("a folder");
    for entry in fs::read_dir(shipped()).expect("the shipped model") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, folder.join(path.file_name().expect("a name"))).expect("copied");
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn files_that_are_not_models() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, contents: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, contents).expect("written");
        path
    };
    for path in [
        file("prose.txt", b"It was a dark and stormy night."),
        file("empty.gguf", b""),
        file("header.gguf", b"GGUF\x03\0\0\0"),
        file("lying.gguf", &[&b"GGUF\x03\0\0\0"[..], &[0xff; 16]].concat()),
        file("page.gguf", b"<!DOCTYPE html><html></html>"),
    ] {
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name");
        for command in [&["run", text(&path), "-p", "x"][..], &["inspect", text(&path)], &["bench", text(&path)]] {
            assert_fails(&run(command), 1, &[name]);
        }
    }
    assert_fails(&run(&["run", text(dir.path()), "-p", "x"]), 1, &["config.json"]);
    assert_fails(&run(&["run", "no/such/model", "-p", "x"]), 1, &["no/such/model"]);
    assert_fails(&run(&["run", "no-such-model", "-p", "x"]), 1, &["no-such-model", "looked in"]);
}

#[test]
fn damaged_folders() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = copy(dir.path());
    let weights = folder.join("model.safetensors");
    let whole = fs::read(&weights).expect("weights");
    fs::write(&weights, &whole[..whole.len() / 2]).expect("written");
    assert_fails(&run(&["run", text(&folder), "-p", "x"]), 1, &["model.safetensors"]);
    fs::write(&weights, &whole).expect("written");

    let config = folder.join("config.json");
    let json = fs::read_to_string(&config).expect("a configuration");
    for (from, to, word) in [
        ("\"llama\"", "\"mystery\"", "mystery"),
        ("\"hidden_size\": 256", "\"hidden_size\": 255", "255"),
        ("\"num_hidden_layers\": 8", "\"num_hidden_layers\": 9", "model.layers.8"),
        ("\"hidden_size\": 256", "\"hidden_size\": \"wide\"", "hidden_size"),
        ("{", "", "config.json"),
    ] {
        assert!(json.contains(from), "{from}");
        fs::write(&config, json.replacen(from, to, 1)).expect("written");
        assert_fails(&run(&["run", text(&folder), "-p", "x"]), 1, &[word]);
    }
    fs::write(&config, &json).expect("written");

    fs::remove_file(folder.join("tokenizer.json")).expect("removed");
    assert_fails(&run(&["run", text(&folder), "-p", "x"]), 1, &["tokenizer.json"]);
    // `inspect` shows what can be read.
    assert_eq!(status(&run(&["inspect", text(&folder)])), 0);
    fs::write(&config, json.replacen("\"llama\"", "\"mystery\"", 1)).expect("written");
    let shown = run(&["inspect", text(&folder), "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("a document");
    assert_eq!((status(&shown), &found["architecture"]), (1, &"mystery".into()));
    assert!(found["tensors"].as_array().is_some_and(|tensors| tensors.len() > 50), "{found}");
    assert!(found["error"]["message"].as_str().is_some_and(|m| m.contains("mystery")), "{found}");
}

#[test]
fn weights_that_are_not_numbers() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = copy(dir.path());
    let weights = folder.join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&[0x00, 0x7e]); // a half-precision NaN
    fs::write(&weights, bytes).expect("written");
    assert_fails(&run(&["run", text(&folder), "-p", "x"]), 1, &["model.safetensors", "tensor"]);
}

#[test]
fn unusable_texts() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, contents: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, contents).expect("written");
        path
    };
    for (path, word) in [
        (file("empty.txt", b""), "empty"),
        (file("binary.txt", b"ab\0c"), "binary"),
        (file("latin.txt", b"caf\xe9"), "UTF-8"),
        (file("tiny.txt", b"A few words."), "tokens"),
        (dir.path().join("none.txt"), "none.txt"),
    ] {
        assert_fails(&run(&["eval", "--text", text(&path)]), 1, &[word]);
    }
    let out = dir.path().join("small.gguf");
    let lines = file("lines.jsonl", b"{\"text\": \"fine\"}\n{broken\n");
    for path in [&lines, &dir.path().join("empty.txt")] {
        let arguments = ["quantize", "pocket", "--to", "q4_0", "--calibration", text(path), "-o", text(&out)];
        assert_fails(&run(&arguments), 1, &[text(path)]);
        assert!(!out.exists());
    }
    // Too little text for a verdict has a status of its own.
    let tiny = dir.path().join("tiny.txt");
    let folder = dir.path().join("out");
    assert_fails(&run(&["optimize", "--text", text(&tiny), "-o", text(&folder)]), 4, &["tokens"]);
    assert!(!folder.join("model.gguf").exists());
}

#[test]
fn a_context_longer_than_the_models() {
    let refused = ["1024", "4096"];
    for command in [&["run", "-p", "x"][..], &["inspect"], &["bench"], &["eval", "--protocol", "llama.cpp-64"]] {
        assert_fails(&run(&[command, &["--context", "4096"]].concat()), 1, &refused);
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("text.txt");
    write_text(&path, 3000, 1);
    assert_fails(&run(&["eval", "--text", text(&path), "--protocol", "llama.cpp-2048"]), 1, &["2048", "1024"]);
}

#[test]
fn places_that_cannot_be_written_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    fs::write(&file, "not a folder").expect("written");
    let below = file.join("small.gguf");
    assert_fails(&run(&["quantize", "pocket", "--to", "q8_0", "-o", text(&below)]), 1, &["file"]);
    assert_fails(&run(&["optimize", "-o", text(&below)]), 1, &["file"]);
    assert_eq!(fs::read(&file).expect("still there"), b"not a folder");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
}

#[cfg(unix)]
#[test]
fn a_full_disk_loses_nothing_and_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, folder) = (dir.path().join("small.gguf"), dir.path().join("gptq"));
    fs::write(&model, "GGUF of an earlier model").expect("written");
    let (to_file, to_folder) = (
        ["quantize", "pocket", "--to", "q8_0", "--force", "-o", text(&model)],
        ["quantize", "pocket", "--to", "gptq", "--force", "-o", text(&folder)],
    );
    assert_fails(&run_on_a_full_disk(1024, &to_file), 1, &["small"]);
    assert_fails(&run_on_a_full_disk(1024, &to_folder), 1, &["gptq"]);
    assert_eq!(fs::read(&model).expect("still there"), b"GGUF of an earlier model");
    assert!(!folder.exists());
    // The finished file is kept, hidden, until there is room.
    assert_eq!(status(&run(&to_file)), 0);
    assert_eq!(status(&run(&to_folder)), 0);
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2, "the two models and nothing else");
}

#[cfg(unix)]
#[test]
fn a_job_that_the_disk_stopped_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    let (out, calibration, words) = (path("out"), path("calibration.txt"), path("words.txt"));
    write_text(&calibration, 400, 1);
    write_text(&words, 2400, 2);
    let texts = ["--calibration", text(&calibration), "--text", text(&words)];
    let settings = "--recipe rtn --bits 8 --budget 1000000 --samples 2 --length 64 --protocol llama.cpp-64";
    let settings: Vec<&str> = settings.split(' ').collect();
    let job = [&["optimize", "-o", text(&out)], &texts[..], &settings].concat();
    assert_fails(&run_on_a_full_disk(1536, &job), 1, &["out"]);
    assert!(!out.join("model.gguf").exists());
    let again = run(&job);
    assert_eq!(status(&again), 0, "{}", stderr(&again));
    assert!(out.join("model.gguf").exists());
}
