//! Broken and hostile tokenizers: a clear error, no panic, no endless work.

use crate::common::{PLAIN, pocket};
use honelm_text::{GgufVocab, Tokenizer};
use serde_json::{Value, json};

/// Returns a tiny byte-level tokenizer.json.
fn tiny() -> Value {
    json!({
        "added_tokens": [{"id": 4, "content": "<s>", "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": [["a", "b"]]},
    })
}

/// Returns the error code of a changed tiny tokenizer.
fn code(change: impl FnOnce(&mut Value)) -> &'static str {
    let mut file = tiny();
    change(&mut file);
    read(file.to_string().as_bytes())
}

fn read(bytes: &[u8]) -> &'static str {
    Tokenizer::from_json(bytes, None, None).err().map_or("none", |e| e.code())
}

#[test]
fn the_tiny_tokenizer_itself_is_fine() {
    assert_eq!(code(|_| {}), "none");
    assert_eq!(code(|file| file["model"]["merges"] = json!(["a b"])), "none");
    let tokenizer = Tokenizer::from_json(tiny().to_string().as_bytes(), None, None).expect("reads");
    assert_eq!(tokenizer.encode("abab <s>c", PLAIN).expect("encodes"), [2, 2, 3]);
}

#[test]
fn rejects_broken_json() {
    let whole = tiny().to_string();
    for cut in 0..whole.len() {
        assert_eq!(read(&whole.as_bytes()[..cut]), "tokenizer-json", "cut at {cut}");
    }
    for bytes in [&b"null"[..], b"[]", b"{}", b"\xff\xfe", b"{\"model\": 3}", b"{\"model\": {\"vocab\": {\"a\": -1}}}"]
    {
        assert_eq!(read(bytes), "tokenizer-json");
    }
}

#[test]
fn survives_any_one_byte_changed() {
    let whole = tiny().to_string();
    for at in 0..whole.len() {
        for byte in [b'0', b'"', b'}', b'\\', 0xff] {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] = byte;
            if let Ok(tokenizer) = Tokenizer::from_json(&bytes, None, None) {
                let ids = tokenizer.encode("ab a<s>", PLAIN);
                drop(ids.map(|ids| tokenizer.decode(&ids, false)));
                drop(tokenizer.to_gguf_vocab(8));
            }
        }
    }
}

#[test]
fn rejects_vocabularies_that_are_not_one_to_one() {
    let twice = tiny().to_string().replace("\"b\":1", "\"b\":0");
    assert_eq!(read(twice.as_bytes()), "duplicate-token-id");
    let twice = tiny().to_string().replace("\"b\":1", "\"a\":1");
    assert_eq!(read(twice.as_bytes()), "duplicate-token");
    assert_eq!(code(|file| file["added_tokens"][0]["content"] = json!("a")), "duplicate-token");
    assert_eq!(code(|file| file["added_tokens"][0]["id"] = json!(1)), "duplicate-token-id");
    assert_eq!(code(|file| file["model"]["vocab"]["a"] = json!(4_000_000_000_u32)), "token-id-out-of-range");
}

#[test]
fn accepts_holes_between_ids() {
    let mut file = tiny();
    file["added_tokens"] = json!([{"id": 9, "content": "<s>", "special": true}, {"id": 7, "content": "<x>"}]);
    let tokenizer = Tokenizer::from_json(file.to_string().as_bytes(), None, None).expect("reads");
    assert_eq!(tokenizer.vocab_size(), 10);
    let parsed = honelm_text::EncodeOptions { parse_special: true, ..PLAIN };
    assert_eq!(tokenizer.encode("a<s><x>", parsed).expect("encodes"), [0, 9, 7]);
    assert_eq!(tokenizer.token_bytes(8), Some(Vec::new()));
}

#[test]
fn rejects_merges_of_unknown_tokens() {
    assert_eq!(code(|file| file["model"]["merges"] = json!([["a", "z"]])), "unknown-merge-token");
    assert_eq!(code(|file| file["model"]["merges"] = json!([["b", "a"]])), "unknown-merge-token");
    assert_eq!(code(|file| file["model"]["merges"] = json!(["ab"])), "bad-merge");
    assert_eq!(code(|file| file["model"]["merges"] = json!(["a "])), "bad-merge");
    assert_eq!(code(|file| file["model"]["merges"] = json!([""])), "bad-merge");
    assert_eq!(code(|file| file["model"]["merges"] = json!([["a"]])), "tokenizer-json");
    assert_eq!(code(|file| file["model"]["merges"] = json!([["a", "b", "c"]])), "tokenizer-json");
}

#[test]
fn rejects_an_empty_vocabulary() {
    assert_eq!(code(|file| file["model"] = json!({"type": "BPE", "vocab": {}, "merges": []})), "empty-vocabulary");
}

#[test]
fn rejects_kinds_that_are_not_read() {
    assert_eq!(code(|file| file["model"] = json!({"type": "Unigram", "vocab": [["a", 0.0]]})), "tokenizer-unsupported");
    assert_eq!(code(|file| file["model"]["type"] = json!("WordPiece")), "tokenizer-field-missing");
    assert_eq!(code(|file| file["model"]["continuing_subword_prefix"] = json!("##########")), "tokenizer-unsupported");
    assert_eq!(code(|file| file["model"]["dropout"] = json!(0.5)), "tokenizer-unsupported");
    assert_eq!(code(|file| file["decoder"] = json!({"type": "CTC"})), "tokenizer-unsupported");
    assert_eq!(code(|file| file["decoder"] = Value::Null), "tokenizer-unsupported");
    assert_eq!(
        code(|file| file["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "AAA="})),
        "tokenizer-unsupported"
    );
    assert_eq!(code(|file| file["normalizer"] = json!({"type": "Nonsense"})), "tokenizer-json");
    assert_eq!(code(|file| file["post_processor"] = json!({"type": "Nonsense"})), "tokenizer-unsupported");
}

#[test]
fn rejects_ids_that_are_out_of_range() {
    let processor = |id: u32| {
        json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [id], "tokens": ["<s>"]}},
        })
    };
    assert_eq!(code(|file| file["post_processor"] = processor(4)), "none");
    assert_eq!(code(|file| file["post_processor"] = processor(5)), "token-id-out-of-range");
    let mut vocab = tiny_vocab();
    vocab.eos = Some(4);
    assert_eq!(gguf_code(vocab), "token-id-out-of-range");
}

#[test]
fn rejects_a_split_expression_that_is_none() {
    let split = |regex: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]})
    };
    assert_eq!(code(|file| file["pre_tokenizer"] = split("(")), "tokenizer-json");
    // It can be read, but has no name in GGUF.
    let mut file = tiny();
    file["pre_tokenizer"] = split("[a-z]");
    let tokenizer = Tokenizer::from_json(file.to_string().as_bytes(), None, None).expect("reads");
    assert_eq!(tokenizer.to_gguf_vocab(8).expect_err("no name").code(), "unknown-split-expression");
}

/// Returns a tiny byte-level GGUF vocabulary.
fn tiny_vocab() -> GgufVocab {
    GgufVocab {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        tokens: ["a", "b", "ab", "<s>"].map(str::to_owned).to_vec(),
        token_types: vec![1, 1, 1, 3],
        merges: Some(vec!["a b".to_owned()]),
        bos: Some(3),
        ..GgufVocab::default()
    }
}

fn gguf_code(vocab: GgufVocab) -> &'static str {
    Tokenizer::from_vocab(&vocab).err().map_or("none", |e| e.code())
}

#[test]
fn rejects_gguf_vocabularies_that_contradict_themselves() {
    let with = |change: &dyn Fn(&mut GgufVocab)| {
        let mut vocab = tiny_vocab();
        change(&mut vocab);
        gguf_code(vocab)
    };
    assert_eq!(with(&|_| {}), "none");
    assert_eq!(with(&|v| v.tokens.clear()), "tokenizer-count-mismatch");
    assert_eq!(with(&|v| (v.tokens, v.token_types) = (Vec::new(), Vec::new())), "empty-vocabulary");
    assert_eq!(with(&|v| v.token_types.truncate(2)), "tokenizer-count-mismatch");
    assert_eq!(with(&|v| v.scores = Some(vec![0.0; 9])), "tokenizer-count-mismatch");
    assert_eq!(with(&|v| v.tokens[1] = "a".to_owned()), "duplicate-token");
    assert_eq!(with(&|v| v.merges = Some(vec!["a x".to_owned()])), "unknown-merge-token");
    assert_eq!(with(&|v| v.merges = Some(vec!["ab".to_owned()])), "bad-merge");
    assert_eq!(with(&|v| v.merges = None), "tokenizer-field-missing");
    assert_eq!(with(&|v| v.pre = None), "tokenizer-field-missing");
    assert_eq!(with(&|v| v.pre = Some("whitespace".to_owned())), "unknown-pre-tokenizer");
    assert_eq!(with(&|v| v.model = "rwkv".to_owned()), "tokenizer-unsupported");
    assert_eq!(with(&|v| v.model = "llama".to_owned()), "tokenizer-field-missing");
    assert_eq!(with(&|v| (v.model, v.scores) = ("llama".to_owned(), Some(vec![f32::NAN; 4]))), "bad-token-score");
    assert_eq!(
        with(&|v| (v.tokens[2], v.model, v.scores) = ("x".repeat(5000), "llama".to_owned(), Some(vec![0.0; 4]))),
        "token-too-long"
    );
    assert_eq!(with(&|v| v.tokens[1] = String::new()), "unknown-merge-token");
    assert_eq!(with(&|v| v.token_types = vec![99; 4]), "none");
}

#[test]
fn rejects_unigram_vocabularies_that_contradict_themselves() {
    let with = |change: &dyn Fn(&mut GgufVocab)| {
        let mut vocab = tiny_vocab();
        (vocab.model, vocab.scores) = ("t5".to_owned(), Some(vec![-1.0; 4]));
        change(&mut vocab);
        gguf_code(vocab)
    };
    assert_eq!(with(&|_| {}), "none");
    assert_eq!(with(&|v| v.scores = None), "tokenizer-field-missing");
    assert_eq!(with(&|v| v.scores = Some(vec![-1.0; 3])), "tokenizer-count-mismatch");
    assert_eq!(with(&|v| v.scores = Some(vec![f32::NAN; 4])), "bad-token-score");
    assert_eq!(with(&|v| v.scores = Some(vec![f32::NEG_INFINITY; 4])), "none");
    assert_eq!(with(&|v| v.precompiled_charsmap = Some(vec![0xFF; 64])), "tokenizer-malformed");
    assert_eq!(with(&|v| v.precompiled_charsmap = Some(vec![1])), "tokenizer-malformed");
    assert_eq!(with(&|v| v.tokens[2] = "x".repeat(5000)), "token-too-long");
    assert_eq!(with(&|v| v.unk = Some(4)), "token-id-out-of-range");
}

/// Encodes and decodes a text that is expensive for the tokenizer. Returns the error code.
fn encode_code(tokenizer: &Tokenizer, text: &str) -> &'static str {
    let parsed = honelm_text::EncodeOptions { parse_special: true, ..PLAIN };
    tokenizer.encode(text, parsed).err().map_or("none", |error| error.code())
}

#[test]
fn steps_that_grow_the_text_end_in_an_error() {
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let prepend = json!({"type": "Prepend", "prepend": "a".repeat(200)});
    let insert = json!({"type": "Replace", "pattern": {"Regex": "(?=a)"}, "content": "ab"});
    for steps in [vec![double.clone(); 40], vec![prepend, double.clone(), double], vec![insert; 60]] {
        let mut file = tiny();
        file["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
        let mut tokenizer = Tokenizer::from_json(file.to_string().as_bytes(), None, None).expect("reads");
        tokenizer.set_work_limit(1 << 22);
        let text = format!("a{}", "<s>a".repeat(20_000));
        assert_eq!(encode_code(&tokenizer, &text), "text-work-limit");
    }
}

#[test]
fn expressions_that_search_again_and_again_end_in_an_error() {
    for expression in ["(?=a*$)", "a*b|a", "(?:(?=a*)a)*b|a", "(a|a)*(?!b)c", r"(a+)+(?=\s*$)x"] {
        let mut file = tiny();
        file["pre_tokenizer"] =
            json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
        let mut tokenizer = Tokenizer::from_json(file.to_string().as_bytes(), None, None).expect("reads");
        tokenizer.set_work_limit(1 << 22);
        assert_eq!(encode_code(&tokenizer, &"a".repeat(100_000)), "text-work-limit", "{expression}");
        assert_eq!(encode_code(&tokenizer, "ab ab a"), "none", "{expression}");
    }
}

#[test]
fn expressions_that_are_too_large_are_refused() {
    let split = |expression: &str| json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
    let with =
        |steps: Vec<Value>| code(|file| file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": steps}));
    assert_eq!(with(vec![split("((((a{999}){999}){999}){999}){999}")]), "tokenizer-json");
    assert_eq!(with(vec![split(r"\w{500}"); 200]), "tokenizer-json");
    assert_eq!(with(vec![split("(?<=a)b"); 2000]), "tokenizer-json");
    assert_eq!(with(vec![split(r"\p{L}+|\s+(?!\S)"); 20]), "none");
}

#[test]
fn a_charsmap_that_grows_the_text_ends_in_an_error() {
    // `a` becomes 256 bytes. The root is at 0 and its children begin at 1, so `a` (0x61) is at 0x60.
    let mut units = vec![0_u32; 0x62];
    (units[0], units[0x60], units[0x61]) = (1 << 10, u32::from(b'a') | 1 << 8 | 1 << 10, 1 << 31);
    let mut map = 0x188_u32.to_le_bytes().to_vec();
    map.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    map.extend([b'x'; 256]);
    map.push(0);
    let mut vocab = tiny_vocab();
    (vocab.model, vocab.scores, vocab.precompiled_charsmap) = ("t5".to_owned(), Some(vec![-1.0; 4]), Some(map));
    let mut tokenizer = Tokenizer::from_vocab(&vocab).expect("reads");
    tokenizer.set_work_limit(1 << 22);
    assert_eq!(encode_code(&tokenizer, &"a".repeat(100)), "none");
    assert_eq!(encode_code(&tokenizer, &"a".repeat(100_000)), "text-work-limit");
}

#[test]
fn an_added_token_as_long_as_the_text_ends_in_an_error() {
    let mut file = tiny();
    file["added_tokens"][0]["content"] = json!("a".repeat(16_000));
    let mut tokenizer = Tokenizer::from_json(file.to_string().as_bytes(), None, None).expect("reads");
    tokenizer.set_work_limit(1 << 20);
    assert_eq!(encode_code(&tokenizer, &"a".repeat(15_999)), "text-work-limit");
    file["added_tokens"][0]["content"] = json!("a".repeat(20_000));
    assert_eq!(read(file.to_string().as_bytes()), "token-too-long");
}

#[test]
fn refuses_to_pad_to_fewer_rows_than_tokens() {
    assert_eq!(pocket().to_gguf_vocab(8191).expect_err("too few").code(), "vocabulary-too-long");
}

#[test]
fn long_runs_of_one_character_are_cut_alike() {
    // An expression that stopped in a long run would leave the rest unsplit.
    let tokenizer = pocket();
    for text in
        [" ".repeat(300_000), "\n".repeat(100_000), "a".repeat(100_000), "!".repeat(100_000), "7".repeat(100_000)]
    {
        let ids = tokenizer.encode(&(text.clone() + "x 12345"), PLAIN).expect("encodes");
        assert_eq!(tokenizer.decode(&ids, false), text + "x 12345");
        let tail = tokenizer.encode("  12345", PLAIN).expect("encodes");
        assert_eq!(ids[ids.len() - 2..], tail[tail.len() - 2..]);
    }
}
