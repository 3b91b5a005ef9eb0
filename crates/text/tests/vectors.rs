//! llama.cpp's tokenizer vectors: 47 texts with the ids that the original tokenizers give them.

mod common;

use std::path::Path;

use common::{PLAIN, data, gguf};
use honelm_text::Tokenizer;
use serde_json::json;

/// Number of texts in each file of vectors.
const VECTORS: usize = 47;

/// Checks one tokenizer against `<name>.inp` and `.out`, both ways.
fn check(tokenizer: &Tokenizer, test: &str, name: &str) {
    let path = |end: &str| format!("data/vocab/ggml-vocab-{name}.gguf.{end}");
    let (Some(inputs), Some(outputs)) = (data(test, &path("inp")), data(test, &path("out"))) else { return };
    let inputs = std::fs::read_to_string(inputs).expect("readable");
    let outputs = std::fs::read_to_string(outputs).expect("readable");
    let texts: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<Vec<u32>> = outputs
        .split('\n')
        .map(|line| line.split_whitespace().map(|id| id.parse().expect("an id")).collect())
        .collect();
    assert_eq!((ids.len(), texts.len()), (VECTORS, VECTORS));
    for (text, expected) in texts.iter().zip(&ids) {
        assert_eq!(&tokenizer.encode(text, PLAIN).expect("encodes"), expected, "{name}: {text:?}");
        assert_eq!(tokenizer.decode(expected, false), *text, "{name}");
    }
}

/// The tokenizer of a GGUF vocabulary.
fn from_gguf(path: &Path) -> Tokenizer {
    Tokenizer::from_gguf(&gguf(path.to_owned())).expect("a tokenizer")
}

/// Checks a GGUF vocabulary, what it becomes as tokenizer.json, and that as GGUF again.
fn check_gguf(test: &str, name: &str) {
    let Some(path) = data(test, &format!("data/vocab/ggml-vocab-{name}.gguf")) else { return };
    let tokenizer = from_gguf(&path);
    check(&tokenizer, test, name);

    let json = tokenizer.to_tokenizer_json().expect("serialises");
    let config = tokenizer.to_tokenizer_config_json().expect("serialises");
    let exported = Tokenizer::from_json(json.as_bytes(), Some(config.as_bytes()), None).expect("reads back");
    check(&exported, test, name);
    assert_eq!(exported.bos(), tokenizer.bos());
    assert_eq!(exported.adds_bos(), tokenizer.adds_bos());

    let vocab = exported.to_gguf_vocab(exported.vocab_size()).expect("can be written");
    check(&Tokenizer::from_vocab(&vocab).expect("reads back"), test, name);
}

#[test]
fn gpt2_from_gguf() {
    check_gguf("gpt2_from_gguf", "gpt-2");
}

#[test]
fn deepseek_llm_from_gguf() {
    check_gguf("deepseek_llm_from_gguf", "deepseek-llm");
}

#[test]
fn llama_spm_from_gguf() {
    check_gguf("llama_spm_from_gguf", "llama-spm");
}

#[test]
fn phi3_from_gguf() {
    check_gguf("phi3_from_gguf", "phi-3");
}

#[test]
fn gpt2_from_tokenizer_json() {
    let test = "gpt2_from_tokenizer_json";
    let Some(path) = data(test, "data/tokenizers/gpt2/tokenizer.json") else { return };
    let bytes = std::fs::read(path).expect("readable");
    let tokenizer = Tokenizer::from_json(&bytes, None, None).expect("reads");
    check(&tokenizer, test, "gpt-2");
    let vocab = tokenizer.to_gguf_vocab(tokenizer.vocab_size()).expect("can be written");
    assert_eq!(vocab.pre.as_deref(), Some("gpt-2"));
    check(&Tokenizer::from_vocab(&vocab).expect("reads back"), test, "gpt-2");
}

#[test]
fn llama2_from_tokenizer_json() {
    let test = "llama2_from_tokenizer_json";
    let Some(path) = data(test, "data/tokenizers/llama2/tokenizer.json") else { return };
    let bytes = std::fs::read(path).expect("readable");
    let tokenizer = Tokenizer::from_json(&bytes, None, None).expect("reads");
    check(&tokenizer, test, "llama-spm");
    check(&tokenizer, test, "phi-3");
    let vocab = tokenizer.to_gguf_vocab(32_064).expect("can be written");
    assert_eq!((vocab.model.as_str(), vocab.add_space_prefix), ("llama", Some(true)));
    check(&Tokenizer::from_vocab(&vocab).expect("reads back"), test, "llama-spm");
    if let Some(path) = data(test, "data/vocab/ggml-vocab-llama-spm.gguf") {
        // Not the same numbers, but the same order, among the tokens that merges make.
        let original = honelm_text::GgufVocab::from_gguf(&gguf(path)).expect("a vocabulary").scores.expect("scores");
        let found = vocab.scores.expect("scores");
        let merged: Vec<usize> = (260..29_871).filter(|&id| found[id] < 0.0 && original[id] > -1e9).collect();
        assert!(merged.len() > 29_000);
        for pair in merged.windows(2) {
            assert_eq!(found[pair[0]] > found[pair[1]], original[pair[0]] > original[pair[1]], "{pair:?}");
        }
    }
}

#[test]
fn qwen2_from_vocab_and_merges() {
    let test = "qwen2_from_vocab_and_merges";
    let Some(dir) = data(test, "data/tokenizers/qwen2") else { return };
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("readable");
    let vocab: serde_json::Value = serde_json::from_str(&read("vocab.json")).expect("JSON");
    let added: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&read("added_tokens.json")).expect("JSON");
    let merges: Vec<String> =
        read("merges.txt").lines().filter(|l| !l.starts_with("#version") && !l.is_empty()).map(str::to_owned).collect();
    let mut added: Vec<_> =
        added.iter().map(|(text, id)| json!({"id": id, "content": text, "special": true})).collect();
    added.sort_by_key(|token| token["id"].as_u64());
    let split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let file = json!({
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        ]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    });
    let config = read("tokenizer_config.json");
    let tokenizer = Tokenizer::from_json(file.to_string().as_bytes(), Some(config.as_bytes()), None).expect("reads");
    check(&tokenizer, test, "qwen2");
    let vocab = tokenizer.to_gguf_vocab(151_936).expect("can be written");
    assert_eq!(vocab.pre.as_deref(), Some("qwen2"));
    assert_eq!(vocab.tokens.len(), 151_936);
    check(&Tokenizer::from_vocab(&vocab).expect("reads back"), test, "qwen2");
}
