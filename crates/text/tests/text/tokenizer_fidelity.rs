//! Properties of a tokenizer.json that GGUF has no key for.

use crate::common::{CHAT, PLAIN};
use honelm_text::{GgufVocab, Tokenizer};
use serde_json::{Value, json};

/// Makes a tiny tokenizer like Phi-3's: SentencePiece BPE as merge rules, with special tokens.
fn phi(change: impl FnOnce(&mut Value)) -> Tokenizer {
    let texts = ["<unk>", "▁", "a", "b", "▁a", "▁b", "ab", "▁ab", "\n", "▁▁"];
    let mut vocab: serde_json::Map<String, Value> =
        texts.iter().zip(0..).map(|(text, id)| ((*text).to_owned(), json!(id))).collect();
    for byte in 0..256 {
        vocab.insert(format!("<0x{byte:02X}>"), json!(byte + 16));
    }
    let mut file = json!({
        "added_tokens": [
            {"id": 0, "content": "<unk>", "special": true},
            {"id": 300, "content": "<|end|>", "special": true},
            {"id": 301, "content": "<|user|>", "special": true},
            {"id": 302, "content": "<tool>", "special": false},
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
            "merges": [["▁", "▁"], ["▁", "a"], ["▁", "b"], ["a", "b"], ["▁a", "b"], ["▁", "ab"]]},
    });
    change(&mut file);
    Tokenizer::from_json(file.to_string().as_bytes(), None, None).expect("reads")
}

/// Returns the metadata, and the tokenizer that is read back from them.
fn through_gguf(tokenizer: &Tokenizer) -> (GgufVocab, Tokenizer) {
    let vocab = tokenizer.to_gguf_vocab(tokenizer.vocab_size() + 3).expect("can be written");
    let read = Tokenizer::from_vocab(&vocab).expect("reads back");
    for text in ["", "a b", " a  <|user|>  ab\n b <|end|> \n a", "x<tool>a <tool> ab", "  a", "\n  b", "é<|end|>é"] {
        for options in [PLAIN, CHAT] {
            let ids = tokenizer.encode(text, options).expect("encodes");
            assert_eq!(read.encode(text, options).expect("encodes"), ids, "{text:?}");
            assert_eq!(read.decode(&ids, false), tokenizer.decode(&ids, false), "{text:?}");
        }
    }
    (vocab, read)
}

#[test]
fn what_gguf_can_say_needs_no_keys_of_our_own() {
    let (vocab, _) = through_gguf(&phi(|_| {}));
    assert_eq!((vocab.added_tokens, vocab.pipeline), (None, None));
}

#[test]
fn how_added_tokens_are_found_survives_gguf() {
    for flag in ["rstrip", "lstrip", "single_word", "normalized"] {
        let tokenizer = phi(|file| {
            file["added_tokens"][2][flag] = json!(true);
            file["added_tokens"][3][flag] = json!(true);
        });
        let (vocab, _) = through_gguf(&tokenizer);
        assert!(vocab.added_tokens.is_some(), "{flag}");
        // Without the key, the ids of a chat differ.
        let stock = Tokenizer::from_vocab(&GgufVocab { added_tokens: None, pipeline: None, ..vocab }).expect("reads");
        let text = "a <|user|>\n <tool>ab";
        let ids = |tokenizer: &Tokenizer| tokenizer.encode(text, CHAT).expect("encodes");
        assert!(flag == "normalized" || ids(&stock) != ids(&tokenizer), "{flag}");
    }
}

#[test]
fn a_space_before_the_first_piece_only_survives_gguf() {
    for scheme in ["first", "always", "never"] {
        let tokenizer = phi(|file| {
            file["normalizer"] = Value::Null;
            file["pre_tokenizer"] =
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
            if scheme == "never" {
                file["decoder"]["decoders"].as_array_mut().expect("a list").pop();
            }
        });
        let (vocab, _) = through_gguf(&tokenizer);
        assert_eq!(vocab.pipeline.is_some(), scheme != "never", "{scheme}");
        assert_eq!(vocab.model, "llama");
    }
}

#[test]
fn decoder_steps_are_followed_and_survive_gguf() {
    let replace = json!({"type": "Replace", "pattern": {"String": "\n "}, "content": "\n"});
    let tokenizer = phi(|file| file["decoder"]["decoders"].as_array_mut().expect("a list").push(replace));
    let ids = tokenizer.encode("a\n b\n", PLAIN).expect("encodes");
    assert_eq!(tokenizer.decode(&ids, false), "a\nb\n");
    let (vocab, read) = through_gguf(&tokenizer);
    assert!(vocab.pipeline.is_some());
    assert_eq!(read.decode(&ids, false), "a\nb\n");
}

#[test]
fn keys_of_our_own_go_through_the_metadata() {
    let tokenizer = phi(|file| file["added_tokens"][2]["rstrip"] = json!(true));
    let vocab = tokenizer.to_gguf_vocab(303).expect("can be written");
    let keys: Vec<_> = vocab.to_metadata().into_iter().map(|(key, _)| key).collect();
    assert!(keys.iter().any(|key| key == "honelm.tokenizer.added_tokens"));
    assert!(!keys.iter().any(|key| key == "honelm.tokenizer.pipeline"));
}

#[test]
fn keys_that_were_tampered_with_are_refused() {
    let tokenizer = phi(|file| file["added_tokens"][2]["rstrip"] = json!(true));
    let vocab = tokenizer.to_gguf_vocab(303).expect("can be written");
    let broken = GgufVocab { added_tokens: Some(r#"[{"id": 3, "content": "<|user|>"}]"#.to_owned()), ..vocab.clone() };
    assert_eq!(Tokenizer::from_vocab(&broken).expect_err("refused").code(), "tokenizer-malformed");
    for pipeline in ["{}", "[", r#"{"normalizer": 1}"#] {
        let broken = GgufVocab { pipeline: Some(pipeline.to_owned()), ..vocab.clone() };
        assert_eq!(Tokenizer::from_vocab(&broken).expect_err("refused").code(), "tokenizer-malformed");
    }
}

#[test]
fn what_would_be_lost_is_named() {
    let vocab = GgufVocab {
        model: "gpt2".to_owned(),
        pre: Some("llama-bpe".to_owned()),
        tokens: ["a", "b", "z", "zz"].map(str::to_owned).to_vec(),
        token_types: vec![1, 1, 1, 3],
        merges: Some(Vec::new()),
        ..GgufVocab::default()
    };
    let json = Tokenizer::from_vocab(&vocab).expect("reads").to_tokenizer_json().expect("serialises");
    let mut json: Value = serde_json::from_str(&json).expect("JSON");
    // Readers of GGUF use a word that is a token as that token, even if no merge rule produces it.
    json["model"]["vocab"].as_object_mut().expect("an object").remove("zz");
    let tokenizer = Tokenizer::from_json(json.to_string().as_bytes(), None, None).expect("reads");
    assert_eq!(tokenizer.encode("zz", PLAIN).expect("encodes"), [2, 2]);
    let error = tokenizer.to_gguf_vocab(4).expect_err("refused");
    assert_eq!(error.code(), "lossy-tokenizer");
    assert!(error.to_string().contains(r#""zz" becomes [3], expected [2, 2]"#), "{error}");
    let (lossy, loss) = tokenizer.to_lossy_gguf_vocab(4).expect("can be written");
    assert_eq!((lossy.tokens.len(), loss.map(|loss| loss.code())), (4, Some("lossy-tokenizer")));
}

#[test]
fn how_added_tokens_are_found_survives_a_tokenizer_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bpe_bytes.model");
    std::fs::copy(model, folder.path().join("tokenizer.model")).expect("copied");
    let plain = Tokenizer::from_dir(folder.path()).expect("reads");
    let id = plain.vocab_size();
    let config =
        json!({"added_tokens_decoder": {id.to_string(): {"content": "<|u|>", "rstrip": true, "special": true}}});
    std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).expect("written");
    let tokenizer = Tokenizer::from_dir(folder.path()).expect("reads");
    let text = "the <|u|>  of";
    let ids = tokenizer.encode(text, CHAT).expect("encodes");
    let json = tokenizer.to_tokenizer_json().expect("serialises");
    let read = Tokenizer::from_json(json.as_bytes(), None, None).expect("reads back");
    assert_eq!(read.encode(text, CHAT).expect("encodes"), ids);
    let vocab = tokenizer.to_gguf_vocab(id + 1).expect("can be written");
    assert!(vocab.added_tokens.is_some());
    let read = Tokenizer::from_vocab(&vocab).expect("reads back");
    assert_eq!(read.encode(text, CHAT).expect("encodes"), ids);
}
