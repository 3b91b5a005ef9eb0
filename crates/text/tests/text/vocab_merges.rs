//! vocab.json with merges.txt: the files that they need, and their errors.

use crate::common::{CHAT, PLAIN};
use honelm_text::{TextError, Tokenizer, TokenizerFiles, TokenizerSource};

const VOCAB: &str = r###"{"a": 0, "b": 1, "ab": 2, "Ġ": 3, "#": 4, "##": 5, "<|endoftext|>": 6}"###;
const MERGES: &str = "#version: 0.2\na b\n# #\n";

fn files(vocab: &str, merges: &str) -> TokenizerFiles {
    TokenizerFiles {
        tokenizer: TokenizerSource::VocabAndMerges { vocab: vocab.into(), merges: merges.into() },
        tokenizer_config: Some(br#"{"tokenizer_class": "GPT2Tokenizer"}"#.to_vec()),
        ..TokenizerFiles::default()
    }
}

fn refusal(files: &TokenizerFiles) -> TextError {
    Tokenizer::from_files(files).expect_err("refused")
}

#[test]
fn the_tiny_files_are_fine() {
    let tokenizer = Tokenizer::from_files(&files(VOCAB, MERGES)).expect("reads");
    assert_eq!(tokenizer.encode("abab ##", PLAIN).expect("encodes"), [2, 2, 3, 5]);
    assert_eq!(tokenizer.encode("a<|endoftext|>", CHAT).expect("encodes"), [0, 6]);
    assert_eq!(tokenizer.eos_ids(), [6]);
    // Windows line ends do not belong to tokens.
    let windows = Tokenizer::from_files(&files(VOCAB, &MERGES.replace('\n', "\r\n"))).expect("reads");
    assert_eq!(windows.encode("abab ##", PLAIN).expect("encodes"), [2, 2, 3, 5]);
}

#[test]
fn lines_that_are_no_merges_are_named() {
    let malformed = |merges: &str, expected: &str| {
        let error = refusal(&files(VOCAB, merges));
        assert_eq!(error.code(), "tokenizer-malformed");
        assert!(error.to_string().starts_with(expected), "{error}");
    };
    malformed("#version: 0.2\na b\nab", "merges.txt, line 3: \"ab\"");
    malformed("a b\na ", "merges.txt, line 2: \"a \"");
    malformed("a x", "merges.txt, line 1: \"x\"");
    malformed("b a", "merges.txt, line 1: \"ba\"");
    malformed("a b\n#version: 0.2", "merges.txt, line 2");
    let mut broken = files(VOCAB, MERGES);
    let merges = b"a b\n\xff \xff".to_vec();
    broken.tokenizer = TokenizerSource::VocabAndMerges { vocab: VOCAB.into(), merges };
    assert_eq!(refusal(&broken).to_string(), "merges.txt, byte 4: not UTF-8");
}

#[test]
fn vocabularies_that_are_not_one_to_one_are_refused() {
    for (vocab, code) in [
        ("{}", "empty-vocabulary"),
        ("[]", "empty-vocabulary"),
        ("{", "tokenizer-json"),
        (r#"{"a": "0"}"#, "tokenizer-json"),
        (r#"{"a": -1}"#, "tokenizer-json"),
        (r#"{"a": 4294967296}"#, "tokenizer-json"),
        (r#"{"a": 0, "a": 1}"#, "duplicate-token"),
        (r#"{"a": 0, "b": 0}"#, "duplicate-token-id"),
        (r#"{"a": 4000000000}"#, "token-id-out-of-range"),
    ] {
        assert_eq!(refusal(&files(vocab, "")).code(), code, "{vocab}");
    }
}

#[test]
fn how_text_is_cut_is_never_guessed() {
    let with = |class: Option<&str>, model: Option<&str>| {
        let mut files = files(VOCAB, MERGES);
        files.tokenizer_config = class.map(|class| format!("{{\"tokenizer_class\": \"{class}\"}}").into());
        files.config = model.map(|model| format!("{{\"model_type\": \"{model}\"}}").into());
        Tokenizer::from_files(&files).err().map(|e| (e.code(), e.to_string()))
    };
    for (class, model) in [
        (Some("GPT2Tokenizer"), None),
        (Some("GPT2TokenizerFast"), Some("gpt2")),
        (Some("GPT2Tokenizer"), Some("opt")),
        (Some("Qwen2Tokenizer"), Some("qwen3")),
        (None, Some("qwen2")),
        (None, Some("gpt2")),
    ] {
        assert_eq!(with(class, model), None, "{class:?} {model:?}");
    }
    // SmolLM's folders name GPT-2's class but split digits, as only their tokenizer.json says.
    for (class, model) in [(None, None), (Some("GPT2Tokenizer"), Some("llama")), (Some("RobertaTokenizer"), None)] {
        let (code, message) = with(class, model).expect("refused");
        assert_eq!(code, "unknown-tokenizer-family");
        assert!(message.contains(class.unwrap_or("no tokenizer_class")), "{message}");
    }
    let mut spaced = files(VOCAB, MERGES);
    spaced.tokenizer_config = Some(br#"{"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true}"#.to_vec());
    assert_eq!(refusal(&spaced).code(), "tokenizer-unsupported");
}

#[test]
fn survives_any_one_byte_changed() {
    for at in 0..VOCAB.len() {
        for byte in *b"0\"}\\ #" {
            let mut vocab = VOCAB.as_bytes().to_vec();
            vocab[at] = byte;
            let mut changed = files(VOCAB, MERGES);
            changed.tokenizer = TokenizerSource::VocabAndMerges { vocab, merges: MERGES.into() };
            if let Ok(tokenizer) = Tokenizer::from_files(&changed) {
                let ids = tokenizer.encode("ab a<|endoftext|>", CHAT).expect("encodes");
                drop(tokenizer.decode(&ids, false));
            }
        }
    }
}
