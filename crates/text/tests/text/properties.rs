//! Properties of all texts and all lists of ids.

use std::path::Path;
use std::sync::LazyLock;

use crate::common::{CHAT, PLAIN, pocket};
use honelm_text::{DecodeStream, Tokenizer};
use proptest::prelude::*;

/// Byte-level BPE, SentencePiece BPE and Unigram.
static TOKENIZERS: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let model = |name| Tokenizer::from_dir(&data.join(name)).expect("reads");
    vec![pocket(), model("bpe_bytes.model"), model("bpe_unused.model"), model("unigram_bytes.model")]
});

/// Generates texts of parts that split, merge and fall back, and of arbitrary characters.
fn texts() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        " ", "  ", "\n", "\r\n", "\t", "the", "The", " of", "ing", "'s", "12", "3", ".", "<|end|>", "<s>", "<u>",
        "  x", "é", "e\u{301}", "你", "🎉", "\u{200d}", "\u{0}", "\u{feff}", "▁", "Ġ", "<0x41>",
    ]);
    let part = prop_oneof![3 => parts.prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
}

/// Returns the joined pieces of a stream, none of which is empty.
fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
    let mut stream = DecodeStream::new(tokenizer, skip_special);
    let mut out = String::new();
    for &id in ids {
        if let Some(piece) = stream.push(id) {
            assert!(!piece.is_empty());
            out.push_str(&piece);
        }
    }
    out + &stream.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn encoding_and_decoding_give_the_text_to_the_byte(text in texts()) {
        for (at, tokenizer) in TOKENIZERS.iter().enumerate() {
            // SentencePiece treats visible spaces as spaces.
            let expected = if at == 0 { text.clone() } else { text.replace('▁', " ") };
            let ids = tokenizer.encode(&text, PLAIN).expect("encodes");
            prop_assert!(ids.iter().all(|&id| !tokenizer.special(id)));
            let bytes = tokenizer.decode_bytes(&ids);
            // A user-defined piece that begins with spaces keeps them and suppresses the space before the text.
            if at == 0 || !text.contains("  x") {
                prop_assert_eq!(&bytes, expected.as_bytes(), "tokenizer {}", at);
            }
            prop_assert_eq!(tokenizer.decode(&ids, true), String::from_utf8_lossy(&bytes));
            prop_assert_eq!(streamed(tokenizer, &ids, true), String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn streams_join_to_the_whole_for_any_ids(ids in prop::collection::vec(0_u32..10_000, 0..60), skip in any::<bool>()) {
        for tokenizer in TOKENIZERS.iter() {
            prop_assert_eq!(streamed(tokenizer, &ids, skip), tokenizer.decode(&ids, skip));
            let all = tokenizer.decode_bytes(&ids);
            prop_assert_eq!(tokenizer.decode(&ids, false), String::from_utf8_lossy(&all));
        }
    }

    #[test]
    fn special_texts_are_cut_out_wherever_they_are(before in texts(), after in texts()) {
        let tokenizer = &TOKENIZERS[1];
        let stretch = |text: &str| tokenizer.encode(text, CHAT).expect("encodes");
        let whole = stretch(&format!("{before}<ctl>{after}"));
        let control = tokenizer.id_of("<ctl>").expect("a piece");
        prop_assert_eq!(whole, [stretch(&before), vec![control], stretch(&after)].concat());
    }
}
