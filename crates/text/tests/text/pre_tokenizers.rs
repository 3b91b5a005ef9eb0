//! Every pre-tokenizer that llama.cpp names, compared with llama.cpp (scripts/pre_tokenizers.cpp).

use std::collections::HashSet;

use crate::common::{PLAIN, data, gguf};
use honelm_text::{GgufVocab, Tokenizer};
use serde_json::Value;

/// Names for which llama.cpp gives other ids, and the reason.
const OTHERWISE: &[(&str, &[&str])] = &[
    (
        "its expressions have no letter case here, those of the models' own tokenizer.json do",
        &["kimi-k2", "youtu", "tiny_aya", "cohere2moe"],
    ),
    ("every digit is a piece in the model's own tokenizer.json; no token of it has two", &["deepseek-llm"]),
    ("pieces are not GPT-2's: see the other test", &["gemma4", "granite-embed-multi-311m", "sarvam-moe"]),
];

/// Makes a vocabulary of a token for each byte and each pair of adjacent bytes of the text, in order of appearance.
fn pairs(text: &str) -> GgufVocab {
    let mut shifted = (0x100..).filter_map(char::from_u32);
    let char_of = |byte: u8| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
        _ => shifted.next().expect("68 of them"),
    };
    let chars: Vec<char> = (0..=255).map(char_of).collect();
    let mut vocab = GgufVocab {
        model: "gpt2".to_owned(),
        tokens: chars.iter().map(char::to_string).collect(),
        ..GgufVocab::default()
    };
    let mut seen = HashSet::new();
    let mut merges = Vec::new();
    for pair in text.as_bytes().windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|byte| chars[usize::from(byte)]);
        if seen.insert((a, b)) {
            vocab.tokens.push(format!("{a}{b}"));
            merges.push(format!("{a} {b}"));
        }
    }
    vocab.merges = Some(merges);
    vocab
}

#[test]
fn every_name_cuts_text_as_llama_cpp_does() {
    let text = include_str!("../data/pre_tokenizers.txt");
    let expected: Value = serde_json::from_str(include_str!("../data/pre_tokenizers.json")).expect("JSON");
    let mut vocab = pairs(text);
    let mut differ = Vec::new();
    let mut names = 0;
    for row in expected.as_array().expect("a list") {
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).expect("ids");
        for name in row["names"].as_array().expect("a list").iter().filter_map(Value::as_str) {
            vocab.pre = Some(name.to_owned());
            let tokenizer = Tokenizer::from_vocab(&vocab).unwrap_or_else(|e| panic!("{name}: {e}"));
            let found = tokenizer.encode(text, PLAIN).expect("encodes");
            names += 1;
            let otherwise = OTHERWISE.iter().any(|(_, names)| names.contains(&name));
            assert!(!(otherwise && found == ids), "{name} is like llama.cpp");
            if found == ids || otherwise {
                continue;
            }
            let at = found.iter().zip(&ids).position(|(a, b)| a != b).unwrap_or(found.len().min(ids.len()));
            let show = |ids: &[u32]| tokenizer.decode(&ids[at.saturating_sub(2)..(at + 4).min(ids.len())], false);
            differ.push(format!("{name}: {:?}, llama.cpp {:?}", show(&found), show(&ids)));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert_eq!(names, 90);
}

#[test]
fn gemma4_merges_as_llama_cpp_does() {
    let test = "gemma4_merges_as_llama_cpp_does";
    let Some(path) = data(test, "data/vocab/ggml-vocab-llama-spm.gguf") else { return };
    let Some(rules) = data(test, "data/tokenizers/llama2/tokenizer.json") else { return };
    let rules: Value = serde_json::from_slice(&std::fs::read(rules).expect("readable")).expect("JSON");
    let merges = rules["model"]["merges"].as_array().expect("a list").iter().filter_map(Value::as_str);
    let vocab = GgufVocab {
        model: "gemma4".to_owned(),
        pre: None,
        scores: None,
        merges: Some(merges.map(str::to_owned).collect()),
        ..GgufVocab::from_gguf(&gguf(path)).expect("a vocabulary")
    };
    let tokenizer = Tokenizer::from_vocab(&vocab).expect("a tokenizer");
    let text = include_str!("../data/pre_tokenizers.txt");
    let expected: Value = serde_json::from_str(include_str!("../data/gemma4.json")).expect("JSON");
    let ids = tokenizer.encode(text, PLAIN).expect("encodes");
    assert_eq!(serde_json::json!(ids), expected[0]["ids"]);
    assert_eq!(tokenizer.decode_bytes(&ids), text.as_bytes());
    let again = tokenizer.to_gguf_vocab(32_000).expect("can be written");
    assert_eq!((again.model.as_str(), again.merges.as_ref()), ("gemma4", vocab.merges.as_ref()));
}
