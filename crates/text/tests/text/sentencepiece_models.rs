//! SentencePiece's `tokenizer.model` compared with the `sentencepiece` library (scripts/make_sentencepiece.py).

use std::path::{Path, PathBuf};

use crate::common::{CHAT, PLAIN, TEXT};
use honelm_text::{DecodeStream, TokenKind, Tokenizer, TokenizerFiles, TokenizerSource};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("a model")
}

fn read(bytes: Vec<u8>) -> Result<Tokenizer, honelm_text::TextError> {
    Tokenizer::from_files(&TokenizerFiles { tokenizer: TokenizerSource::Model(bytes), ..TokenizerFiles::default() })
}

fn model(name: &str) -> Tokenizer {
    read(bytes(name)).expect("reads")
}

/// Returns (model, text, ids) of a folder's sentencepiece.json.
fn expected(folder: &Path) -> Vec<(String, String, Vec<u32>)> {
    let json = std::fs::read(folder.join("sentencepiece.json")).expect("written by the script");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    let mut out = Vec::new();
    for (name, rows) in json.as_object().expect("an object") {
        for row in rows.as_array().expect("a list") {
            let ids = serde_json::from_value(row["ids"].clone()).expect("ids");
            out.push((name.clone(), row["text"].as_str().expect("a text").to_owned(), ids));
        }
    }
    out
}

/// Checks that every text of a folder's models gives the library's ids.
fn check(folder: &Path) {
    let mut open: Option<(String, Tokenizer)> = None;
    for (name, text, ids) in expected(folder) {
        if open.as_ref().is_none_or(|(opened, _)| *opened != name) {
            open = Some((name.clone(), Tokenizer::from_dir(&folder.join(&name)).expect("reads")));
        }
        let Some((_, tokenizer)) = &open else { continue };
        assert_eq!(tokenizer.encode(&text, PLAIN).expect("encodes"), ids, "{name}: {text:?}");
    }
}

#[test]
fn gives_the_ids_of_the_library() {
    check(&folder());
    assert_eq!(expected(&folder()).len(), 5 * 22);
}

#[test]
fn gives_the_ids_of_the_library_with_the_full_maps() {
    match std::env::var_os("HONELM_SENTENCEPIECE") {
        Some(folder) => check(Path::new(&folder)),
        None => eprintln!(
            "SKIPPED gives_the_ids_of_the_library_with_the_full_maps: needs HONELM_SENTENCEPIECE, see the script"
        ),
    }
}

#[test]
fn texts_come_back_to_the_byte_where_nothing_is_changed() {
    for name in ["bpe_bytes.model", "unigram_bytes.model"] {
        let tokenizer = model(name);
        for (_, text, ids) in expected(&folder()).into_iter().filter(|(model, ..)| model == name) {
            // SentencePiece treats visible spaces as spaces.
            let text = text.replace('▁', " ");
            assert_eq!(tokenizer.decode_bytes(&ids), text.as_bytes(), "{name}");
            assert_eq!(tokenizer.decode(&ids, true), text, "{name}");
            let mut stream = DecodeStream::new(&tokenizer, true);
            let mut streamed: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
            streamed.push_str(&stream.finish());
            assert_eq!(streamed, text, "{name}");
        }
    }
}

#[test]
fn roles_and_kinds_come_from_the_file() {
    let bpe = model("bpe_bytes.model");
    assert_eq!((bpe.bos(), bpe.eos_ids(), bpe.pad()), (Some(1), &[2][..], None));
    assert_eq!(bpe.encode("a", TEXT).expect("encodes")[0], 1);
    assert_eq!(bpe.kind(bpe.id_of("<u>").expect("a piece")), Some(TokenKind::UserDefined));
    assert_eq!(bpe.kind(bpe.id_of("<ctl>").expect("a piece")), Some(TokenKind::Control));
    assert_eq!(bpe.kind(bpe.id_of("<0x41>").expect("a piece")), Some(TokenKind::Byte));
    let ids = bpe.encode("<s>a<ctl>", CHAT).expect("encodes");
    assert_eq!((ids.first(), ids.last()), (Some(&1), bpe.id_of("<ctl>").as_ref()));

    let unigram = model("unigram_rules.model");
    assert_eq!((unigram.bos(), unigram.eos_ids(), unigram.pad()), (None, &[1][..], Some(0)));
    assert_eq!(unigram.encode("a", TEXT).expect("encodes").last(), Some(&1));
}

#[test]
fn files_beside_it_add_tokens_and_say_what_goes_around_a_text() {
    let mut files = TokenizerFiles {
        tokenizer: TokenizerSource::Model(bytes("bpe_bytes.model")),
        added_tokens: Some(br#"{"<|im_end|>": 450, "<x>": 451}"#.to_vec()),
        tokenizer_config: Some(
            br#"{"eos_token": "<|im_end|>", "add_bos_token": false, "add_eos_token": true,
                "added_tokens_decoder": {"451": {"content": "<x>", "rstrip": true}}}"#
                .to_vec(),
        ),
        ..TokenizerFiles::default()
    };
    let tokenizer = Tokenizer::from_files(&files).expect("reads");
    assert_eq!((tokenizer.vocab_size(), tokenizer.eos_ids()), (452, &[450][..]));
    let plain = |text| tokenizer.encode(text, PLAIN).expect("encodes");
    assert_eq!(plain("a<x>  a"), [plain("a"), vec![451], plain("a")].concat());
    assert!(!plain("<|im_end|>").contains(&450));
    assert_eq!(tokenizer.encode("a", TEXT).expect("encodes"), [plain("a"), vec![450]].concat());
    assert_eq!(tokenizer.encode("<|im_end|>", CHAT).expect("encodes"), [450]);

    files.added_tokens = Some(br#"{"<u>": 450}"#.to_vec());
    assert_eq!(Tokenizer::from_files(&files).err().map(|e| e.code()), Some("duplicate-token"));
    files.added_tokens = Some(br#"{"<y>": 7}"#.to_vec());
    assert_eq!(Tokenizer::from_files(&files).err().map(|e| e.code()), Some("duplicate-token-id"));
    files.added_tokens = Some(br#"{"<y>": 4000000000}"#.to_vec());
    assert_eq!(Tokenizer::from_files(&files).err().map(|e| e.code()), Some("token-id-out-of-range"));
}

#[test]
fn gguf_and_back_gives_the_same_ids() {
    for (name, kind) in [
        ("bpe_bytes.model", "llama"),
        ("bpe_unused.model", "llama"),
        ("unigram_rules.model", "t5"),
        ("unigram_bytes.model", "t5"),
    ] {
        let original = model(name);
        let vocab = original.to_gguf_vocab(512).expect("can be written");
        assert_eq!((vocab.model.as_str(), vocab.tokens.len()), (kind, 512), "{name}");
        let mut writer = honelm_formats::gguf::Writer::new();
        for (key, value) in vocab.to_metadata() {
            writer.metadata(key, value).expect("a key of its own");
        }
        let mut file = Vec::new();
        let done: Result<_, honelm_formats::FormatError> = writer.write_to(&mut file, "memory", |_, _| Ok(()));
        done.expect("writes");
        let gguf = honelm_formats::gguf::Gguf::parse(file, "memory").expect("reads");
        let through = Tokenizer::from_gguf(&gguf).expect("reads back");
        assert_eq!(through.eos_ids(), original.eos_ids());
        // In GGUF, user-defined pieces are matched before anything else.
        let texts = expected(&folder())
            .into_iter()
            .filter(|(model, text, _)| model == name && !text.contains("<u>") && !text.contains("  x"));
        for (_, text, ids) in texts {
            assert_eq!(through.encode(&text, PLAIN).expect("encodes"), ids, "{name}: {text:?}");
            assert_eq!(through.encode(&text, TEXT).expect("encodes"), original.encode(&text, TEXT).expect("encodes"));
        }
    }
    // Properties that GGUF cannot represent are errors.
    assert_eq!(model("bpe_rules.model").to_gguf_vocab(512).expect_err("refused").code(), "tokenizer-unsupported");
    assert_eq!(model("unigram_rules.model").to_tokenizer_json().expect_err("refused").code(), "tokenizer-unsupported");
    assert_eq!(model("bpe_rules.model").to_tokenizer_json().expect_err("refused").code(), "tokenizer-unsupported");
}

#[test]
fn tokenizer_json_gives_the_same_ids() {
    let original = model("bpe_bytes.model");
    let json = original.to_tokenizer_json().expect("written");
    let through = Tokenizer::from_json(json.as_bytes(), None, None).expect("reads");
    for (_, text, ids) in expected(&folder()).into_iter().filter(|(model, ..)| model == "bpe_bytes.model") {
        if !text.contains("<u>") && !text.contains("  x") {
            assert_eq!(through.encode(&text, PLAIN).expect("encodes"), ids, "{text:?}");
        }
    }
}

/// Uses a tokenizer, which must neither panic nor run forever.
fn exercise(tokenizer: &Tokenizer) {
    for text in ["", " a  b ", "the <u> of\u{fb01}\u{2026}é🎉", "<s>x</s>"] {
        for options in [PLAIN, CHAT, TEXT] {
            let ids = tokenizer.encode(text, options).expect("encodes");
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            drop(tokenizer.decode(&ids, false));
        }
    }
}

#[test]
fn truncated_files_are_refused_or_smaller() {
    for name in ["bpe_bytes.model", "unigram_rules.model"] {
        let whole = bytes(name);
        for cut in (0..whole.len()).step_by(7) {
            match read(whole[..cut].to_vec()) {
                Ok(tokenizer) => exercise(&tokenizer),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn survives_any_one_byte_changed() {
    for name in ["bpe_rules.model", "unigram_rules.model"] {
        let whole = bytes(name);
        for at in (0..whole.len()).step_by(3) {
            for byte in [0, 0x0A, 0x7F, 0xFF] {
                let mut changed = whole.clone();
                changed[at] = byte;
                if let Ok(tokenizer) = read(changed) {
                    exercise(&tokenizer);
                }
            }
        }
    }
}

/// Encodes a length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
}

/// Encodes a piece: text, score, kind.
fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
    let score = [&[0x15][..], &score.to_le_bytes()].concat();
    field(1, &[field(1, text.as_bytes()), score, vec![0x18, kind]].concat())
}

/// Returns the error code and message of a file of these parts.
fn refusal(parts: &[Vec<u8>]) -> (&'static str, String) {
    let error = read(parts.concat()).expect_err("refused");
    (error.code(), error.to_string())
}

#[test]
fn refuses_what_is_wrong_by_field() {
    let unk = piece("<unk>", 0.0, 2);
    let a = piece("a", -1.0, 1);
    assert!(read([unk.clone(), a.clone()].concat()).is_ok());
    let malformed = |parts: &[Vec<u8>], word: &str| {
        let (code, message) = refusal(parts);
        assert_eq!(code, "tokenizer-malformed", "{message}");
        assert!(message.starts_with("tokenizer.model, ") && message.contains(word), "{message}");
    };
    malformed(&[unk.clone(), piece("a", f32::NAN, 1)], "pieces[1]: score");
    malformed(&[unk.clone(), piece("", 0.0, 1)], "pieces[1]: piece");
    malformed(&[unk.clone(), piece("a", 0.0, 7)], "pieces[1]: type");
    malformed(&[unk.clone(), piece("a", 0.0, 6)], "BYTE");
    malformed(&[unk.clone(), field(1, &field(1, b"\xff"))], "UTF-8");
    malformed(&[unk.clone(), field(1, &[0x0A, 50, b'x'])], "pieces");
    malformed(&[unk.clone(), piece("b", 0.0, 2)], "both of type UNKNOWN");
    malformed(&[unk.clone(), vec![0x0A]], "varint");
    malformed(&[unk.clone(), vec![0x0B]], "wire type");
    malformed(&[unk.clone(), vec![0x02, 0]], "tag value: 0");
    malformed(&[unk.clone(), [vec![0x0A], vec![0xFF; 9], vec![0x01]].concat()], "underflow");
    malformed(&[unk.clone(), [vec![0x0A], vec![0xFF; 11]].concat()], "varint");
    malformed(&[unk.clone(), field(2, &[35 << 3 & 0x7F | 0x80, 2, 1])], "<0x00>");
    malformed(&[unk.clone(), field(3, &field(2, b"abc"))], "precompiled_charsmap");
    malformed(&[unk.clone(), field(3, &field(2, &[0xFF; 40]))], "precompiled_charsmap");
    assert_eq!(refusal(std::slice::from_ref(&a)).0, "tokenizer-field-missing");
    assert_eq!(refusal(&[vec![0x1A, 0]]).0, "tokenizer-field-missing");
    assert_eq!(refusal(&[unk.clone(), a.clone(), a.clone()]).0, "duplicate-token");
    for (spec, word) in [
        (field(2, &[0x18, 3]), "WORD"),
        (field(2, &[0x18, 4]), "CHAR"),
        (field(2, &[24 << 3 & 0x7F | 0x80, 1, 1]), "treat_whitespace_as_suffix"),
        (field(5, &field(2, b"abc")), "denormalizer_spec"),
    ] {
        let (code, message) = refusal(&[unk.clone(), spec]);
        assert!(code == "tokenizer-unsupported" && message.contains(word), "{message}");
    }
    let long = [field(1, b"<unk>"), vec![0x18, 2]].concat();
    let text = "x".repeat(2000);
    let body = [&[0x0A, 0xD0, 0x0F], text.as_bytes()].concat();
    let (code, _) = refusal(&[field(1, &long), [&[0x0A, 0xD3, 0x0F][..], &body].concat()]);
    assert_eq!(code, "token-too-long");
}

#[test]
fn long_texts_take_time_in_proportion() {
    for name in ["bpe_bytes.model", "unigram_rules.model"] {
        let tokenizer = model(name);
        for text in ["a".repeat(200_000), " ".repeat(200_000), "the house ".repeat(20_000)] {
            assert!(!tokenizer.encode(&(text + "x"), PLAIN).expect("encodes").is_empty());
        }
    }
}
