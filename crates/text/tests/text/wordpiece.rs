//! BERT's tokenizer, compared with the `tokenizers` library.

use std::str::FromStr;

use honelm_text::{EncodeOptions, GgufVocab, Tokenizer, TokenizerFiles, TokenizerSource};
use serde_json::{Value, json};

const TOKENS: &[&str] = &[
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat", "un", "##aff", "##able", "cafe", "café",
    "na", "##ive", ".", ",", "!", "'", "don", "t", "s", "東", "京", "3", "##4", "[", "]", "the", "##the", "x", "##é",
    "ß", "##x",
];

/// Returns a tokenizer.json; the tokens that TOKENS repeats are left out.
fn file(lowercase: bool, strip_accents: Value) -> Value {
    let mut vocab = serde_json::Map::new();
    for token in TOKENS {
        let next = vocab.len();
        vocab.entry((*token).to_owned()).or_insert(json!(next));
    }
    let special = |id: usize| json!({"id": id, "content": TOKENS[id], "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let around = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let body = json!({"Sequence": {"id": "A", "type_id": 0}});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": (0..5).map(special).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": strip_accents, "lowercase": lowercase},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [around("[CLS]"), body, around("[SEP]")], "pair": [body],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 20, "vocab": vocab},
    })
}

const TEXTS: &[&str] = &[
    "",
    " ",
    "The cats sat.",
    "unaffable UNAFFABLE, CAFÉ café!",
    "don't  cat's\tthe\nsat",
    "東京 the東cat",
    "34 [MASK] the [unk] [UNK]",
    "naïve x\u{301}é \u{200b}the\u{0}cat\u{fffd}",
    "thethethethethethethe thethethethethe",
    "ẞ ß Ünaffable",
];

fn both(file: &Value) -> (Tokenizer, tokenizers::Tokenizer) {
    let text = file.to_string();
    let ours = Tokenizer::from_json(text.as_bytes(), None, None).expect("a tokenizer");
    (ours, tokenizers::Tokenizer::from_str(&text).expect("a tokenizer"))
}

const WHOLE: EncodeOptions = EncodeOptions { add_special: true, parse_special: true };

#[test]
fn texts_get_the_tokens_of_the_library() {
    for (lowercase, strip) in [(true, Value::Null), (false, Value::Null), (false, json!(true)), (true, json!(false))] {
        let (ours, library) = both(&file(lowercase, strip));
        for text in TEXTS {
            let expected = library.encode(*text, true).expect("tokens").get_ids().to_vec();
            assert_eq!(ours.encode(text, WHOLE).expect("tokens"), expected, "{lowercase} {text:?}");
            let decoded = library.decode(&expected, true).expect("a text");
            assert_eq!(ours.decode(&expected, true), decoded, "{text:?}");
        }
    }
}

#[test]
fn texts_of_special_tokens_are_text_unless_asked_for() {
    let (ours, _) = both(&file(true, Value::Null));
    let plain = ours.encode("[MASK]", EncodeOptions::default()).expect("tokens");
    assert_eq!(plain, [27, 1, 28], "brackets and an unknown word");
    assert_eq!((ours.suffix(), ours.leading_bos()), (&[3][..], Some(2)));
}

#[test]
fn gguf_holds_the_tokenizer_and_so_does_its_own_json() {
    for (lowercase, needs_key) in [(true, false), (false, true)] {
        let mut json = file(lowercase, Value::Null);
        json["model"]["max_input_chars_per_word"] = json!(100);
        let (ours, _) = both(&json);
        let vocab = ours.to_gguf_vocab(40).expect("it fits");
        assert_eq!((&vocab.model[..], vocab.pipeline.is_some()), ("bert", needs_key));
        assert_eq!((&vocab.tokens[5][..], &vocab.tokens[7][..], &vocab.tokens[2][..]), ("▁the", "s", "[CLS]"));
        assert_eq!((vocab.cls, vocab.sep, vocab.unk), (Some(2), Some(3), Some(1)));
        let read = Tokenizer::from_vocab(&vocab).expect("it reads");
        let again =
            Tokenizer::from_json(ours.to_tokenizer_json().expect("JSON").as_bytes(), None, None).expect("it reads");
        for text in TEXTS {
            let expected = ours.encode(text, WHOLE).expect("tokens");
            assert_eq!(read.encode(text, WHOLE).expect("tokens"), expected, "{text:?}");
            assert_eq!(again.encode(text, WHOLE).expect("tokens"), expected, "{text:?}");
        }
    }
    // llama.cpp's files may name the tokens around a text by their texts only.
    let tokens = TOKENS[..29].iter().map(|text| match text.strip_prefix("##") {
        Some(rest) => rest.to_owned(),
        None if text.starts_with('[') && text.ends_with(']') => (*text).to_owned(),
        None => format!("▁{text}"),
    });
    let vocab = GgufVocab { model: "bert".to_owned(), tokens: tokens.collect(), unk: Some(1), ..GgufVocab::default() };
    let read = Tokenizer::from_vocab(&vocab).expect("it reads");
    assert_eq!(read.encode("The cats", WHOLE).expect("tokens"), [2, 5, 6, 7, 3]);
    let (ours, _) = both(&file(true, Value::Null));
    assert_eq!(ours.to_gguf_vocab(40).expect_err("words of 20 characters").code(), "tokenizer-unsupported");
}

#[test]
fn a_list_of_tokens_is_enough() {
    let (ours, _) = both(&{
        let mut json = file(true, Value::Null);
        json["model"]["max_input_chars_per_word"] = json!(100);
        json
    });
    let mut lines: Vec<&str> = Vec::new();
    for token in TOKENS {
        if !lines.contains(token) {
            lines.push(token);
        }
    }
    let files = |config: &str| TokenizerFiles {
        tokenizer: TokenizerSource::VocabText(lines.join("\n").into_bytes()),
        tokenizer_config: Some(config.as_bytes().to_vec()),
        ..TokenizerFiles::default()
    };
    let read = Tokenizer::from_files(&files("{}")).expect("it reads");
    for text in TEXTS {
        assert_eq!(read.encode(text, WHOLE).expect("tokens"), ours.encode(text, WHOLE).expect("tokens"), "{text:?}");
    }
    let cased = Tokenizer::from_files(&files(r#"{"do_lower_case": false}"#)).expect("it reads");
    assert_eq!(cased.encode("The café", EncodeOptions::default()).expect("tokens"), [1, 13]);
}
