//! Every pre-tokenizer that llama.cpp names, against llama.cpp (scripts/pre_tokenizers.cpp).

mod common;

use common::{PLAIN, data, gguf};
use honelm_text::{GgufVocab, Tokenizer};
use serde_json::Value;

/// Names whose rows follow the models' own tokenizer.json where llama.cpp's expressions differ from it.
const OTHERWISE: &[&str] = &[];

#[test]
fn every_name_cuts_text_as_llama_cpp_does() {
    let test = "every_name_cuts_text_as_llama_cpp_does";
    let Some(path) = data(test, "data/vocab/ggml-vocab-gpt-2.gguf") else { return };
    let text = include_str!("data/pre_tokenizers.txt");
    let expected: Value = serde_json::from_str(include_str!("data/pre_tokenizers.json")).expect("JSON");
    let mut vocab = GgufVocab::from_gguf(&gguf(path)).expect("a vocabulary");
    let mut differ = Vec::new();
    let mut names = 0;
    for row in expected.as_array().expect("a list") {
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).expect("ids");
        for name in row["names"].as_array().expect("a list").iter().filter_map(Value::as_str) {
            vocab.pre = Some(name.to_owned());
            let tokenizer = Tokenizer::from_vocab(&vocab).unwrap_or_else(|e| panic!("{name}: {e}"));
            let found = tokenizer.encode(text, PLAIN).expect("encodes");
            names += 1;
            if found == ids || OTHERWISE.contains(&name) {
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
