//! Special tokens in untrusted text.

#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]

use std::ops::Range;
use std::path::Path;

use crate::common::{CHAT, PLAIN, TEXTS, data, pocket};
use honelm_text::{EncodeOptions, Tokenizer};
use serde_json::{Value, json};

/// Returns a tiny SentencePiece-like tokenizer.json. `pre_tokenizer` or `normalizer` makes spaces visible.
fn tiny(normalizer: Value, pre_tokenizer: Value, token: Value) -> Tokenizer {
    let texts = ["<unk>", "▁", "a", "b", "▁a", "▁b", "ab", "\n"];
    let vocab: serde_json::Map<String, Value> =
        texts.iter().zip(0..).map(|(text, id)| ((*text).to_owned(), json!(id))).collect();
    let mut special = json!({"id": 8, "content": "<|s|>", "special": true, "normalized": false});
    let fields = special.as_object_mut().expect("an object");
    fields.extend(token.as_object().expect("an object").clone());
    let file = json!({
        "added_tokens": [special, {"id": 9, "content": "<x>", "special": false, "normalized": false}],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "Fuse"},
        ]},
        "model": {"type": "BPE", "unk_token": "<unk>", "vocab": vocab,
            "merges": [["▁", "a"], ["▁", "b"], ["a", "b"]]},
    });
    Tokenizer::from_json(file.to_string().as_bytes(), None, None).expect("reads")
}

fn metaspace(scheme: &str) -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false})
}

fn marked(tokenizer: &Tokenizer, text: &str, outside: &[Range<usize>]) -> Vec<u32> {
    tokenizer.encode_marked(text, outside, CHAT).expect("encodes")
}

#[test]
fn a_special_token_from_outside_is_plain_text() {
    let tokenizer = pocket();
    let end = tokenizer.id_of("<|end|>").expect("a token");
    let text = "A<|end|>B<|end|>";
    assert_eq!(marked(&tokenizer, text, &[]), tokenizer.encode(text, CHAT).expect("encodes"));
    for outside in [1..8, 0..2, 7..8, 3..4] {
        let ids = marked(&tokenizer, text, std::slice::from_ref(&outside));
        assert_eq!(ids.iter().filter(|&&id| id == end).count(), 1, "{outside:?}");
        assert_eq!((ids.last(), tokenizer.decode(&ids, false)), (Some(&end), text.to_owned()));
    }
    let all = marked(&tokenizer, text, &[0..text.len()]);
    assert_eq!(all, tokenizer.encode(text, PLAIN).expect("encodes"));
}

#[test]
fn text_merges_across_the_ends_of_what_comes_from_outside() {
    let tokenizer = pocket();
    for text in TEXTS.iter().filter(|text| !text.contains("<|")) {
        let expected = tokenizer.encode(text, CHAT).expect("encodes");
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for pair in places.windows(3).step_by(3) {
            assert_eq!(marked(&tokenizer, text, &[pair[0]..pair[1], pair[1]..pair[2]]), expected, "{text:?}");
        }
    }
}

#[test]
fn tokens_take_white_space_from_outside_along() {
    for (token, expected) in [
        (json!({"rstrip": true}), vec![2, 1, 8, 6, 1, 9]),
        (json!({"lstrip": true}), vec![2, 8, 1, 4, 3, 1, 9]),
        (json!({}), vec![2, 1, 8, 1, 4, 3, 1, 9]),
    ] {
        let tokenizer = tiny(Value::Null, metaspace("never"), token);
        let text = "a <|s|>  ab <x>";
        assert_eq!(tokenizer.encode(text, CHAT).expect("encodes"), expected);
        assert_eq!(marked(&tokenizer, text, &[0..2, 7..15]), expected);
        // A token that is not special is matched in untrusted text too.
        assert_eq!(marked(&tokenizer, text, &[0..15]).last(), Some(&9));
        assert!(!marked(&tokenizer, text, &[0..15]).contains(&8));
    }
}

#[test]
fn a_space_is_put_first_once_whatever_comes_from_outside() {
    let tokenizer = tiny(Value::Null, metaspace("first"), json!({}));
    assert_eq!(tokenizer.encode("a<|s|>a", CHAT).expect("encodes"), [4, 8, 2]);
    assert_eq!(marked(&tokenizer, "a<|s|>a", &[0..1, 6..7]), [4, 8, 2]);
    assert_eq!(marked(&tokenizer, "<|s|>ab", &[5..7]), [8, 6]);
    let always = tiny(Value::Null, metaspace("always"), json!({}));
    assert_eq!(marked(&always, "a<|s|>a", &[0..1, 6..7]), [4, 8, 4]);
}

#[test]
fn tokens_in_normalised_text_keep_to_the_ranges_too() {
    let normalizer = json!({"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "B"}, "content": "bb"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "NFKC"},
    ]});
    let tokenizer = tiny(normalizer, Value::Null, json!({"normalized": true}));
    let text = "B <|s|>B<|s|>";
    assert_eq!(tokenizer.encode(text, CHAT).expect("encodes"), [3, 3, 1, 8, 3, 3, 8]);
    assert_eq!(marked(&tokenizer, text, &[0..2, 7..8]), [3, 3, 1, 8, 3, 3, 8]);
    let first = marked(&tokenizer, text, &[8..13]);
    assert_eq!(first.iter().filter(|&&id| id == 8).count(), 1);
    assert_eq!(first[3], 8);
    assert_eq!(marked(&tokenizer, text, &[2..4]).last(), Some(&8));
    assert_eq!(marked(&tokenizer, text, &[0..13]), tokenizer.encode(text, PLAIN).expect("encodes"));
}

#[test]
fn sentencepiece_models_keep_to_the_ranges() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for name in ["bpe_bytes.model", "unigram_bytes.model"] {
        let tokenizer = Tokenizer::from_dir(&folder.join(name)).expect("reads");
        let control = tokenizer.id_of("<ctl>").expect("a piece");
        let text = "the <ctl> of<ctl>";
        assert_eq!(marked(&tokenizer, text, &[]).iter().filter(|&&id| id == control).count(), 2);
        let ids = marked(&tokenizer, text, &[4..9]);
        assert_eq!(ids.iter().filter(|&&id| id == control).count(), 1, "{name}");
        assert_eq!(marked(&tokenizer, text, &[0..17]), tokenizer.encode(text, PLAIN).expect("encodes"));
        assert_eq!(marked(&tokenizer, text, &[0..4, 9..12]), tokenizer.encode(text, CHAT).expect("encodes"));
    }
}

#[test]
fn published_tokenizers_keep_their_ids_where_no_special_token_comes_from_outside() {
    let test = "published_tokenizers_keep_their_ids_where_no_special_token_comes_from_outside";
    for name in ["llama2", "smollm"] {
        let Some(path) = data(test, &format!("data/tokenizers/{name}/tokenizer.json")) else { return };
        let tokenizer = Tokenizer::from_dir(&path).expect("reads");
        for text in TEXTS.iter().filter(|text| !text.contains('<')) {
            let all = std::slice::from_ref(&(0..text.len())).to_vec();
            assert_eq!(marked(&tokenizer, text, &all), tokenizer.encode(text, CHAT).expect("encodes"), "{name}");
        }
    }
}

#[test]
fn ranges_that_are_not_in_order_are_refused() {
    let tokenizer = pocket();
    for ranges in [vec![2..3, 0..1], vec![0..2, 1..3], vec![0..9]] {
        let error = tokenizer.encode_marked("abc", &ranges, EncodeOptions::default()).expect_err("refused");
        assert_eq!(error.code(), "text-encode");
    }
    assert!(tokenizer.encode_marked("abc", &[1..1, 2..3], EncodeOptions::default()).is_ok());
}
