//! Sample texts that compare a tokenizer with its copy in another container.

use crate::error::TextError;
use crate::tokenizer::{EncodeOptions, Tokenizer};

/// Words of many scripts, numbers, code, symbols, emoji, combining marks and characters that normalisation changes.
const WORDS: &[&str] = &[
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "It's they'll I'D we'VE don't CAN'T",
    "a1b2 3.14 1,234,567 12 123 1234 00001 ３٣ ²½",
    "snake_case camelCase HTTP/2 a+b=c; x->y::z",
    "fn main() {\n    println!(\"{}\", x);\n}\n",
    "{\"key\": [1, 2.5e-3, null]} // comment",
    "<div class=\"a\">&amp;</div>",
    "def f(x):\n\treturn x ** 2  # square",
    "https://example.com/a?b=c&d=%20#e",
    "user@example.com (555) 123-4567 $9.99 50%",
    "Grüße aus Köln, naïve café, Ünïcödé",
    "e\u{301} A\u{30a} n\u{303} o\u{308}\u{323} \u{1112}\u{1161}\u{11ab}",
    "ﬁ ﬀ ǅ ß ſ İ ı Ⅷ ① ™ № ﷺ",
    "Привет, мир! Здравствуйте",
    "Καλημέρα κόσμε ΑΒΓ ς",
    "你好，世界。日本語テキスト 한국어 가각",
    "ไทย हिन्दी தமிழ் বাংলা العربية עברית ქართული አማርኛ",
    "Tiếng Việt rất đẹp, Türkçe ığüşöç",
    "🎉 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ❤️",
    "∑∞≠½ √2 ≤ π → ∀x∈ℝ 𝔸𝕓 𐐷\u{10348}",
    "‘single’ “double” — – … « » ¿ ¡",
    "▁already ▁ visible▁spaces Ġ Ċ ĉ",
    "<0x41> <0x0A> [PAD1] <unk> <s> </s>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbb !!!! ---- ====",
    "\u{200b}\u{200d}\u{feff}\u{ad}\u{2060}end",
    "a\u{0}b\u{1}c\u{7f}\u{85}\u{2028}\u{2029}\u{b}\u{c}d",
    "``quoted'' 'a' \"b\" `c`",
    "x\u{10ffff}\u{e000}y",
    "ALL CAPS and lower and Title Case",
];

/// Runs of white space.
const SPACES: &[&str] = &[
    "",
    " ",
    "  ",
    "   ",
    "    ",
    "        ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    " \n",
    "\n ",
    "\n  ",
    " \t ",
    "\n\n \n",
    "\u{a0}",
    "\u{3000}",
    "\u{2003} ",
    "\n\t\t",
];

/// The largest number of added tokens that are tried. Tokens with unusual matching come first.
const MAX_TOKENS: usize = 48;

/// The sample texts.
pub(crate) struct Samples {
    texts: Vec<String>,
}

impl Samples {
    /// Makes texts of all kinds, and texts with the tokenizer's added tokens.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Self {
        let mut texts: Vec<String> = WORDS.iter().chain(SPACES).map(|text| (*text).to_owned()).collect();
        for (at, word) in WORDS.iter().enumerate() {
            let around = |offset: usize| SPACES[(at * 5 + offset) % SPACES.len()];
            texts.push(format!("{}{word}{}", around(1), around(2)));
            texts.push(format!("{word}{}{}", around(3), WORDS[(at + 7) % WORDS.len()]));
        }
        texts.extend(
            SPACES.iter().flat_map(|space| [format!("{space}x"), format!("x{space}"), format!("x{space}Y{space}")]),
        );
        let mut added = tokenizer.added_tokens();
        added.sort_by_key(|token| (!(token.lstrip || token.rstrip || token.single_word || token.normalized), token.id));
        for (at, token) in added.iter().take(MAX_TOKENS).map(|token| token.content.as_str()).enumerate() {
            let other = added.get((at + 1) % added.len()).map_or("", |token| token.content.as_str());
            texts.extend([
                token.to_owned(),
                format!("a {token} b"),
                format!("a{token}b"),
                format!(" {token}\n\n x  {token}  "),
                format!("{token}{token} {other} {token}"),
                format!("é{token}_{token}▁"),
            ]);
        }
        Self { texts }
    }

    /// Returns the first difference between two tokenizers, if any.
    pub(crate) fn difference(&self, one: &Tokenizer, other: &Tokenizer) -> Option<TextError> {
        self.texts.iter().find_map(|text| {
            let encode = |tokenizer: &Tokenizer, special: bool| {
                let options = EncodeOptions { add_special: special, parse_special: special };
                tokenizer.encode(text, options).map_err(|error| error.to_string())
            };
            for special in [false, true] {
                let (expected, found) = (encode(one, special), encode(other, special));
                if expected != found {
                    let shown =
                        |ids: Result<Vec<u32>, String>| ids.map_or_else(|error| error, |ids| format!("{ids:?}"));
                    return Some(lossy("the text", text, shown(expected), shown(found)));
                }
            }
            let ids = encode(one, true).ok()?;
            let (expected, found) = (one.decode(&ids, false), other.decode(&ids, false));
            let shown = |text: String| format!("{text:?}");
            (expected != found).then(|| lossy("the tokens of", text, shown(expected), shown(found)))
        })
    }
}

fn lossy(what: &'static str, text: &str, expected: String, found: String) -> TextError {
    TextError::LossyVocab { what, text: text.to_owned(), expected, found }
}
