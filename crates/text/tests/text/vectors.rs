//! llama.cpp's tokenizer vectors: 47 texts with the ids of the original tokenizers.

use std::path::Path;

use crate::common::{CHAT, PLAIN, TEXT, TEXTS, data, gguf};
use honelm_text::{DecodeStream, Tokenizer};

/// The number of texts in each file of vectors.
const VECTORS: usize = 47;

/// Checks a tokenizer with `<name>.inp` and `.out`, in both directions.
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
        assert_eq!(tokenizer.decode_bytes(expected), text.as_bytes(), "{name}");
        let mut stream = DecodeStream::new(tokenizer, true);
        let mut streamed: String = expected.iter().filter_map(|&id| stream.push(id)).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, *text, "{name}");
    }
}

/// Reads the tokenizer of a GGUF vocabulary.
fn from_gguf(path: &Path) -> Tokenizer {
    Tokenizer::from_gguf(&gguf(path.to_owned())).expect("a tokenizer")
}

/// Checks a GGUF vocabulary, its conversion to tokenizer.json, and the conversion of that back to GGUF.
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
fn smollm_from_tokenizer_json() {
    let test = "smollm_from_tokenizer_json";
    let Some(path) = data(test, "data/tokenizers/smollm/tokenizer.json") else { return };
    let tokenizer = Tokenizer::from_dir(&path).expect("reads");
    let vocab = tokenizer.to_gguf_vocab(tokenizer.vocab_size()).expect("can be written");
    assert_eq!(vocab.pre.as_deref(), Some("smollm"));
    let read = Tokenizer::from_vocab(&vocab).expect("reads back");
    for text in TEXTS {
        assert_eq!(read.encode(text, PLAIN).expect("encodes"), tokenizer.encode(text, PLAIN).expect("encodes"));
    }
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
        // The scores differ, but their order among the tokens that merges produce is the same.
        let original = honelm_text::GgufVocab::from_gguf(&gguf(path)).expect("a vocabulary").scores.expect("scores");
        let found = vocab.scores.expect("scores");
        let merged: Vec<usize> = (260..29_871).filter(|&id| found[id] < 0.0 && original[id] > -1e9).collect();
        assert!(merged.len() > 29_000);
        for pair in merged.windows(2) {
            assert_eq!(found[pair[0]] > found[pair[1]], original[pair[0]] > original[pair[1]], "{pair:?}");
        }
    }
}

/// Checks a folder, and its conversion to tokenizer.json and to GGUF under the name `pre`.
fn check_folder(test: &str, path: &str, name: &str, rows: usize, pre: &str) {
    let Some(path) = data(test, path) else { return };
    let tokenizer = Tokenizer::from_dir(&path).expect("reads");
    check(&tokenizer, test, name);
    let vocab = tokenizer.to_gguf_vocab(rows).expect("can be written");
    assert_eq!((vocab.pre.as_deref(), vocab.tokens.len()), (Some(pre), rows));
    let read = Tokenizer::from_vocab(&vocab).expect("reads back");
    check(&read, test, name);
    let json = tokenizer.to_tokenizer_json().expect("serialises");
    let config = tokenizer.to_tokenizer_config_json().expect("serialises");
    let exported = Tokenizer::from_json(json.as_bytes(), Some(config.as_bytes()), None).expect("reads back");
    check(&exported, test, name);
    for other in [read, exported] {
        assert_eq!(other.special_tokens(), tokenizer.special_tokens());
        assert_eq!(other.encode("", TEXT).expect("encodes"), tokenizer.encode("", TEXT).expect("encodes"));
    }
}

#[test]
fn qwen2_from_vocab_and_merges() {
    check_folder("qwen2_from_vocab_and_merges", "data/tokenizers/qwen2", "qwen2", 151_936, "qwen2");
    let Some(path) = data("qwen2_from_vocab_and_merges", "data/tokenizers/qwen2/vocab.json") else { return };
    let tokenizer = Tokenizer::from_dir(&path).expect("a file of the folder will do");
    assert_eq!(tokenizer.eos_ids(), [151_645, 151_643]);
    assert_eq!(tokenizer.encode("<|im_start|>", CHAT).expect("encodes"), [151_644]);
    assert!(tokenizer.chat_template().is_some());
}

#[test]
fn llama3_from_a_tiktoken_file() {
    let test = "llama3_from_a_tiktoken_file";
    check_folder(test, "data/tokenizers/llama3", "llama-bpe", 128_256, "llama-bpe");
    let Some(path) = data(test, "data/tokenizers/llama3/tokenizer.model") else { return };
    let tokenizer = Tokenizer::from_dir(&path).expect("the file alone will do");
    assert_eq!((tokenizer.vocab_size(), tokenizer.bos()), (128_256, Some(128_000)));
    assert_eq!(tokenizer.eos_ids(), [128_001, 128_008, 128_009]);
    let text = "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>";
    let ids = [128_000, 128_006, 882, 128_007, 271, 13_347, 128_009];
    let all = honelm_text::EncodeOptions { add_special: true, parse_special: true };
    assert_eq!(tokenizer.encode(text, all).expect("encodes"), ids);
}
