//! `honelm tokenize`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{assert_fails, document, run, run_with, status, stderr, stdout};
use serde_json::json;

fn data(test: &str, path: &str) -> Option<PathBuf> {
    let found = std::env::var_os("HONELM_TEST_DATA").map(|root| PathBuf::from(root).join(path)).filter(|p| p.exists());
    if found.is_none() {
        eprintln!("SKIPPED {test}: needs HONELM_TEST_DATA ({path})");
    }
    found
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn shows_ids_and_pieces() {
    let found = document(&run(&["tokenize", "pocket", "-p", "Hello \"you\"\n", "--json"]));
    assert_eq!(found["text"], "Hello \"you\"\n");
    let pieces: String = found["pieces"].as_array().expect("a list").iter().filter_map(|p| p.as_str()).collect();
    assert_eq!(pieces, "Hello \"you\"\\n");
    let ids = found["token_ids"].as_array().expect("a list");
    let plain = stdout(&run(&["tokenize", "pocket", "-p", "Hello \"you\"\n"]));
    assert_eq!(plain.lines().count(), ids.len());
    for (line, id) in plain.lines().zip(ids) {
        let (shown, piece) = line.trim_start().split_once("  ").expect("id and piece");
        assert_eq!(shown, id.to_string());
        assert!(piece.starts_with('"') && piece.ends_with('"'), "{line}");
    }
}

#[test]
fn stdin_is_read_to_the_byte_and_decoded_to_the_same_bytes() {
    for input in ["", "\n", "a\n\n", " Grüße\r\n\t🎉 \0\u{feff}x \n"] {
        let found = run_with(&["tokenize", "pocket", "-p", "-", "--json"], input.as_bytes());
        let found = document(&found);
        assert_eq!(found["text"], input);
        let ids = found["token_ids"].to_string();
        let back = run_with(&["tokenize", "pocket", "--decode"], ids.as_bytes());
        assert_eq!(back.stdout, input.as_bytes(), "{}", stderr(&back));
        let decoded = document(&run(&["tokenize", "pocket", "--decode", "-p", &ids, "--json"]));
        assert_eq!((&decoded["text"], &decoded["token_ids"]), (&json!(input), &found["token_ids"]));
    }
}

#[test]
fn special_tokens_are_plain_unless_asked_for() {
    let ids = |extra: &[&str]| {
        let arguments = [&["tokenize", "-p", "<|user|>Hi", "--json"], extra].concat();
        document(&run(&arguments))["token_ids"].as_array().expect("a list").clone()
    };
    let (plain, added, parsed) = (ids(&[]), ids(&["--add-special"]), ids(&["--parse-special"]));
    assert!(plain.iter().all(|id| id.as_u64() > Some(7)));
    assert_eq!((added[0].as_u64(), &added[1..]), (Some(0), &plain[..]));
    assert_eq!(parsed[0], 3);
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let ids = document(&run(&["tokenize", "-p", "🎉", "--json"]))["token_ids"].clone();
    let first = ids[0].to_string();
    let whole = run(&["tokenize", "--decode", "-p", &ids.to_string()]);
    let part = run(&["tokenize", "--decode", "-p", &first]);
    assert!(!part.stdout.is_empty() && whole.stdout.starts_with(&part.stdout) && whole.stdout != part.stdout);
    let found = document(&run(&["tokenize", "--decode", "-p", &first, "--json"]));
    assert_eq!(found["bytes"], json!(part.stdout));
}

#[test]
fn vocabularies_alone_are_enough() {
    let test = "vocabularies_alone_are_enough";
    let expected = |name: &str| {
        let read =
            |end: &str| fs::read_to_string(data(test, &format!("data/vocab/ggml-vocab-{name}.gguf.{end}"))?).ok();
        let (inputs, outputs) = (read("inp")?, read("out")?);
        let at = 20; // "Hello, y'all! How are you 😁 ?..." and the like: words, signs, emoji
        let ids = outputs.split('\n').nth(at)?.split_whitespace().map(|id| id.parse().expect("an id"));
        Some((inputs.split("\n__ggml_vocab_test__\n").nth(at)?.to_owned(), ids.collect::<Vec<u64>>()))
    };
    for (path, name) in [
        ("data/vocab/ggml-vocab-gpt-2.gguf", "gpt-2"),
        ("data/vocab/ggml-vocab-llama-spm.gguf", "llama-spm"),
        ("data/tokenizers/gpt2/tokenizer.json", "gpt-2"),
        ("data/tokenizers/llama3", "llama-bpe"),
        ("data/tokenizers/llama3/tokenizer.model", "llama-bpe"),
        ("data/tokenizers/qwen2", "qwen2"),
        ("data/tokenizers/qwen2/merges.txt", "qwen2"),
    ] {
        let (Some(path), Some((input, ids))) = (data(test, path), expected(name)) else { return };
        let found = run_with(&["tokenize", text(&path), "-p", "-", "--json"], input.as_bytes());
        assert_eq!(document(&found)["token_ids"], json!(ids), "{}", path.display());
        let ids = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let back = run(&["tokenize", text(&path), "--decode", "-p", &ids]);
        assert_eq!(back.stdout, input.as_bytes(), "{}", path.display());
    }
}

#[test]
fn says_what_is_wrong() {
    assert_fails(&run(&["tokenize", "--decode", "-p", "1 two"]), 2, &["\"two\""]);
    assert_fails(&run(&["tokenize", "--decode", "-p", "8192"]), 2, &["8192"]);
    assert_fails(&run(&["tokenize", "--decode", "--add-special", "-p", "1"]), 2, &["--add-special"]);
    assert_fails(&run_with(&["tokenize", "-p", "-"], b"caf\xe9"), 1, &["stdin", "byte 3"]);
    assert_fails(&run(&["tokenize", "no-such-model", "-p", "x"]), 1, &["no-such-model"]);
    let dir = tempfile::tempdir().expect("a folder");
    assert_fails(&run(&["tokenize", text(dir.path()), "-p", "x"]), 1, &["no tokenizer"]);
    let file = |name: &str, contents: &[u8]| {
        fs::write(dir.path().join(name), contents).expect("written");
        dir.path().join(name)
    };
    for (path, words) in [
        (file("prose.txt", b"It was a dark and stormy night."), ["prose.txt", "no tokenizer"]),
        (file("empty.gguf", b""), ["empty.gguf", ""]),
        (file("tokenizer.json", b"{"), ["tokenizer.json", "line 1"]),
        (file("t.tiktoken", b"IQ== 0\nIg== x\n"), ["line 2", "rank"]),
        (file("cut.model", b"\x0a\x20abc"), ["tokenizer.model", "pieces"]),
        (file("vocab.json", b"{}"), ["merges.txt", ""]),
    ] {
        assert_fails(&run(&["tokenize", text(&path), "-p", "x"]), 1, &words);
    }
    assert_eq!(status(&run(&["tokenize", "--help"])), 0);
}
