//! The shipped model's tokenizer, and its round trips through both file formats.

use crate::common::{CHAT, PLAIN, TEXT, TEXTS, data, pieces, pocket, pocket_dir};
use honelm_text::{
    ChatTemplate, DecodeStream, Family, GgufVocab, Message, RenderOptions, TokenKind, Tokenizer, TokenizerFiles,
};

#[test]
fn roles_come_from_the_files() {
    let tokenizer = pocket();
    assert_eq!(tokenizer.family(), Family::ByteLevel);
    assert_eq!(tokenizer.vocab_size(), 8192);
    assert_eq!(tokenizer.bos(), Some(0));
    assert_eq!(tokenizer.eos_ids(), [1, 5]);
    assert_eq!(tokenizer.pad(), Some(2));
    assert_eq!(tokenizer.id_of("<|user|>"), Some(3));
    assert!(tokenizer.special(7) && !tokenizer.special(8));
    assert_eq!(tokenizer.special_tokens().eos.as_deref(), Some("<|end|>"));
}

#[test]
fn bos_is_added_once() {
    let tokenizer = pocket();
    let ids = tokenizer.encode("Hi", TEXT).expect("encodes");
    assert_eq!(ids[0], 0);
    assert_eq!(&ids[1..], tokenizer.encode("Hi", PLAIN).expect("encodes"));
    assert_eq!(tokenizer.encode("", TEXT).expect("encodes"), [0]);
    let both = honelm_text::EncodeOptions { add_special: true, parse_special: true };
    assert_eq!(tokenizer.encode("<|bos|>Hi", both).expect("encodes"), ids);
}

#[test]
fn special_texts_are_plain_unless_asked_for() {
    let tokenizer = pocket();
    let text = "a<|end|>b";
    let parsed = tokenizer.encode(text, CHAT).expect("encodes");
    let plain = tokenizer.encode(text, PLAIN).expect("encodes");
    assert!(parsed.contains(&5));
    assert!(plain.iter().all(|&id| !tokenizer.special(id)));
    assert_eq!(tokenizer.decode(&plain, true), text);
    assert_eq!(tokenizer.decode(&parsed, false), text);
    assert_eq!(tokenizer.decode(&parsed, true), "ab");
}

#[test]
fn every_text_decodes_to_itself() {
    let tokenizer = pocket();
    for text in TEXTS {
        for options in [PLAIN, CHAT] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text, options).expect("encodes"), false), *text);
        }
    }
}

#[test]
fn tokens_bytes_join_to_the_text() {
    let tokenizer = pocket();
    for text in TEXTS {
        let ids = tokenizer.encode(text, PLAIN).expect("encodes");
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.token_bytes(id).expect("a token")).collect();
        assert_eq!(bytes, text.as_bytes());
    }
    assert_eq!(tokenizer.token_bytes(8192), None);
    assert_eq!(tokenizer.decode(&[8192, u32::MAX], false), "");
}

#[test]
fn streams_never_split_a_character() {
    let tokenizer = pocket();
    for text in TEXTS {
        let ids = tokenizer.encode(text, PLAIN).expect("encodes");
        let mut stream = DecodeStream::new(&tokenizer, true);
        let mut streamed = String::new();
        for &id in &ids {
            if let Some(piece) = stream.push(id) {
                assert!(!piece.is_empty() && !piece.contains('\u{fffd}'));
                streamed.push_str(&piece);
            }
        }
        assert_eq!(stream.finish(), "");
        assert_eq!(streamed, *text);
    }
}

#[test]
fn a_broken_character_at_the_end_is_replaced() {
    let tokenizer = pocket();
    let ids = tokenizer.encode("🎉", PLAIN).expect("encodes");
    assert!(ids.len() > 1, "the emoji is several tokens");
    let mut stream = DecodeStream::new(&tokenizer, true);
    assert_eq!(stream.push(ids[0]), None);
    assert_eq!(stream.finish(), "\u{fffd}");
    assert_eq!(tokenizer.decode(&ids[..1], true), "\u{fffd}");
}

#[test]
fn gguf_metadata_say_all_of_it() {
    let vocab = pocket().to_gguf_vocab(8200).expect("can be written");
    assert_eq!((vocab.model.as_str(), vocab.pre.as_deref()), ("gpt2", Some("llama-bpe")));
    assert_eq!((vocab.bos, vocab.eos, vocab.eot, vocab.pad), (Some(0), Some(1), Some(5), Some(2)));
    assert_eq!((vocab.eom, vocab.eog.as_slice()), (None, &[][..]));
    assert_eq!((vocab.add_bos, vocab.add_eos), (Some(true), Some(false)));
    assert_eq!(vocab.tokens.len(), 8200);
    assert_eq!(vocab.tokens[8199], "[PAD8199]");
    assert_eq!(vocab.token_types[8199], TokenKind::Unused as i32);
    assert_eq!(vocab.token_types[3], TokenKind::Control as i32);
    assert_eq!(vocab.merges.as_ref().map(|m| m[0].as_str()), Some("Ġ t"));
    let keys: Vec<String> = vocab.to_metadata().into_iter().map(|(key, _)| key).collect();
    for key in ["tokenizer.ggml.eot_token_id", "tokenizer.chat_template", "tokenizer.ggml.add_bos_token"] {
        assert!(keys.iter().any(|k| k == key), "{key}");
    }
}

#[test]
fn metadata_survive_a_file() {
    let vocab = pocket().to_gguf_vocab(8192).expect("can be written");
    let mut writer = honelm_formats::gguf::Writer::new();
    for (key, value) in vocab.to_metadata() {
        writer.metadata(key, value).expect("a key of its own");
    }
    let mut file = Vec::new();
    let done: Result<(), honelm_formats::FormatError> = writer.write_to(&mut file, "memory", |_, _| Ok(())).map(|_| ());
    done.expect("writes");
    let gguf = honelm_formats::gguf::Gguf::parse(file, "memory").expect("reads");
    assert_eq!(GgufVocab::from_gguf(&gguf).expect("reads"), vocab);
}

/// Checks that two tokenizers give the same ids for every text, with all options.
fn same_ids(a: &Tokenizer, b: &Tokenizer, texts: impl IntoIterator<Item = String>) {
    for text in texts {
        for options in [PLAIN, CHAT, TEXT] {
            assert_eq!(
                a.encode(&text, options).expect("encodes"),
                b.encode(&text, options).expect("encodes"),
                "{text:?}"
            );
        }
    }
}

#[test]
fn gguf_and_back_gives_the_same_ids() {
    let original = pocket();
    let through = Tokenizer::from_vocab(&original.to_gguf_vocab(8192).expect("written")).expect("reads back");
    assert_eq!(through.eos_ids(), original.eos_ids());
    assert_eq!(through.chat_template(), original.chat_template());
    assert_eq!(through.special_tokens(), original.special_tokens());
    let json = through.to_tokenizer_json().expect("written");
    let config = through.to_tokenizer_config_json().expect("written");
    let twice = Tokenizer::from_json(json.as_bytes(), Some(config.as_bytes()), None).expect("reads back");
    assert_eq!(twice.chat_template(), original.chat_template());
    let texts = || TEXTS.iter().map(|text| (*text).to_owned());
    same_ids(&original, &through, texts());
    same_ids(&original, &twice, texts());
    if let Some(path) = data("gguf_and_back_gives_the_same_ids", "data/text/wikitext2-test.raw") {
        let text = std::fs::read_to_string(path).expect("readable");
        let some = || pieces(&text, 3000).into_iter().step_by(4);
        same_ids(&original, &through, some());
        same_ids(&original, &twice, some());
    }
}

#[test]
fn the_template_renders_a_conversation() {
    let tokenizer = pocket();
    let template =
        ChatTemplate::new(tokenizer.chat_template().expect("a template"), tokenizer.special_tokens()).expect("parses");
    let messages = [
        Message::new("system", "Be brief."),
        Message::new("user", "Hi <|end|>"),
        Message::new("assistant", "Hello."),
        Message::new("user", "Bye"),
    ];
    let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    let text = template.render(&messages, &options).expect("renders").text;
    assert_eq!(text, "<|bos|><|system|>Be brief.<|user|>Hi <|end|><|assistant|>Hello.<|end|><|user|>Bye<|assistant|>");
}

#[test]
fn a_template_of_its_own_file_takes_precedence() {
    let mut files = TokenizerFiles::read(&pocket_dir()).expect("reads");
    files.chat_template = Some(b"own".to_vec());
    assert_eq!(Tokenizer::from_files(&files).expect("reads").chat_template(), Some("own"));
}

#[test]
fn add_bos_token_overrides_the_post_processor() {
    let mut files = TokenizerFiles::read(&pocket_dir()).expect("reads");
    files.tokenizer_config = Some(br#"{"bos_token": "<|bos|>", "add_bos_token": false}"#.to_vec());
    let tokenizer = Tokenizer::from_files(&files).expect("reads");
    assert!(!tokenizer.adds_bos());
    assert_eq!(tokenizer.encode("Hi", TEXT).expect("encodes"), tokenizer.encode("Hi", PLAIN).expect("encodes"));
    files.tokenizer_config = Some(br#"{"eos_token": "<|end|>", "add_eos_token": true}"#.to_vec());
    let ids = Tokenizer::from_files(&files).expect("reads").encode("Hi", TEXT).expect("encodes");
    assert_eq!((ids.first(), ids.last()), (Some(&0), Some(&5)));
}

#[test]
fn tokenizers_and_templates_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Tokenizer>();
    shared::<ChatTemplate>();
}
