//! Test data, and texts that are hard to tokenize.

use std::path::PathBuf;

use honelm_formats::Bytes;
use honelm_formats::gguf::Gguf;
use honelm_text::{EncodeOptions, Tokenizer};

/// The options for plain text.
pub const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };
/// The options for a rendered chat.
pub const CHAT: EncodeOptions = EncodeOptions { add_special: false, parse_special: true };
/// The options for a complete text.
pub const TEXT: EncodeOptions = EncodeOptions { add_special: true, parse_special: false };

/// Returns a file or folder below HONELM_TEST_DATA, if it exists.
pub fn data(test: &str, path: &str) -> Option<PathBuf> {
    let found = std::env::var_os("HONELM_TEST_DATA").map(|root| PathBuf::from(root).join(path)).filter(|p| p.exists());
    if found.is_none() {
        eprintln!("SKIPPED {test}: needs HONELM_TEST_DATA ({path})");
    }
    found
}

/// Returns the shipped model's folder.
pub fn pocket_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/pocket")
}

/// Returns the shipped model's tokenizer.
pub fn pocket() -> Tokenizer {
    Tokenizer::from_dir(&pocket_dir()).expect("models/pocket has a tokenizer")
}

/// Reads a GGUF file's metadata.
pub fn gguf(path: PathBuf) -> Gguf {
    let bytes = std::fs::read(&path).expect("the file can be read");
    Gguf::parse(Bytes::from(bytes), path.display().to_string()).expect("a GGUF file")
}

/// Texts that exercise splitting, merging, normalisation and byte fallback.
pub const TEXTS: &[&str] = &[
    "",
    " ",
    "  ",
    "\n",
    "\n\n\n \t\r\n x",
    "Hello, world!",
    " leading and trailing ",
    "It's they'll I'D we'VE don't",
    "1 12 123 1234 12345678 ３٣",
    "snake_case camelCase HTTP/2 a+b=c; {\"k\": [1, 2.5e-3]} // comment",
    "Grüße aus Köln, naïve café, e\u{301} A\u{30a} ﬁ ǅ ß",
    "Привет, мир! Здравствуйте",
    "你好，世界。日本語テキスト 한국어 ไทย हिन्दी العربية עברית",
    "🎉👩‍👩‍👧‍👦🏳️‍🌈 🇩🇪 \u{200b}\u{feff}\u{00a0}\u{3000}end",
    "a\u{0}b\u{1}c\u{7f}\u{85}\u{2028}",
    "<|bos|>Hi<|user|> <|assistant|><|end|> <s> </s> <unk> <0x41> [PAD1]",
    "▁already ▁ visible▁spaces Ġ Ċ",
    "                                   many spaces                ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbb",
    "\u{10ffff}\u{10348}𐐷 math: ∑∞≠½ ™®",
];

/// Splits a text into pieces of whole lines of about `size` bytes.
pub fn pieces(text: &str, size: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if pieces.last().is_some_and(|piece| piece.len() >= size) {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push_str(line);
        }
    }
    pieces
}
