//! How byte-level BPE cuts text before merging: one table for both file families.
//!
//! tokenizer.json holds the split expressions themselves, GGUF only a name (`tokenizer.ggml.pre`). Each row ties the
//! two together, as llama.cpp does (`llm_tokenizer_bpe`, expressions in the form that tokenizer.json gives them, which
//! llama.cpp quotes beside its own). A name or an expression that is not here is refused, never guessed.

use serde_json::{Value, json};

use crate::error::{Result, TextError};

/// One step of cutting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Matches of an expression become pieces, and so does what lies between.
    Expression(&'static str),
    /// Every digit is a piece.
    Digits,
    /// GPT-2's expression, which the byte-level step brings along. Last step only.
    Gpt2,
}

/// One way of cutting text, and the names that GGUF has for it.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    /// `tokenizer.ggml.pre`; the first one is written.
    pub names: &'static [&'static str],
    /// Applied in order.
    pub steps: &'static [Step],
    /// Whether text is brought to Unicode's NFC first.
    pub nfc: bool,
    /// Whether a piece that is a token is taken without merging.
    pub ignore_merges: bool,
    /// Whether BOS is added when the file does not say.
    pub add_bos: bool,
}

/// GPT-2's own expression.
const GPT2: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2: single digits.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Mistral's Tekken.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-4o, Llama 4.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// DeepSeek-LLM: words of the alphabets with letter case. Characters that editors would normalise are escaped.
const DEEPSEEK_WORDS: &str = "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1F7D}ᾀ-ᾴᾶ-ᾼ\u{1FBE}ῂ-ῄῆ-ῌῐ-\u{1FD3}ῖ-\u{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
/// DeepSeek-V3: punctuation glued to a word, words, punctuation, white space.
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// The table.
pub(crate) static PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        steps: &[Step::Expression(LLAMA3)],
        nfc: false,
        ignore_merges: true,
        add_bos: true,
    },
    PreTokenizer {
        names: &["smaug-bpe", "dbrx", "glm4", "chatglm-bpe"],
        steps: &[Step::Expression(LLAMA3)],
        nfc: false,
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
            "modern-bert",
        ],
        steps: &[Step::Gpt2],
        nfc: false,
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"],
        steps: &[Step::Digits, Step::Gpt2],
        nfc: false,
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["command-r"],
        steps: &[Step::Digits, Step::Gpt2],
        nfc: true,
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["qwen2"],
        steps: &[Step::Expression(QWEN2)],
        nfc: true,
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["deepseek-r1-qwen", "stablelm2", "hunyuan", "solar-open", "grok-2", "megrez", "kormo"],
        steps: &[Step::Expression(QWEN2)],
        nfc: false,
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["tekken"],
        steps: &[Step::Expression(TEKKEN)],
        nfc: false,
        ignore_merges: true,
        add_bos: true,
    },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2"],
        steps: &[Step::Expression(GPT4O)],
        nfc: false,
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        steps: &[
            Step::Expression(r"[\r\n]"),
            Step::Expression(DEEPSEEK_WORDS),
            Step::Expression(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            Step::Expression(r"\s+$"),
            Step::Expression(r"[一-龥ࠀ-一가-퟿]+"),
            Step::Digits,
        ],
        nfc: false,
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        steps: &[
            Step::Expression(r"[\r\n]"),
            Step::Expression(r"\s?\p{L}+"),
            Step::Expression(r"\s?\p{P}+"),
            Step::Expression(r"[一-龥ࠀ-一가-퟿]+"),
            Step::Digits,
        ],
        nfc: false,
        ignore_merges: false,
        add_bos: false,
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        steps: &[Step::Expression(r"\p{N}{1,3}"), Step::Expression(r"[一-龥぀-ゟ゠-ヿ]+"), Step::Expression(DEEPSEEK3)],
        nfc: false,
        ignore_merges: false,
        add_bos: false,
    },
];

/// The row of a GGUF name.
///
/// # Errors
/// [`TextError::UnknownPreTokenizer`].
pub(crate) fn by_name(name: &str) -> Result<&'static PreTokenizer> {
    PRE_TOKENIZERS
        .iter()
        .find(|row| row.names.contains(&name))
        .ok_or_else(|| TextError::UnknownPreTokenizer { name: name.to_owned() })
}

/// The rows that cut as a tokenizer.json's `pre_tokenizer` and `normalizer` do; never empty.
///
/// # Errors
/// [`TextError::UnknownSplit`] naming the expressions.
pub(crate) fn by_json(pre_tokenizer: &Value, normalizer: &Value) -> Result<Vec<&'static PreTokenizer>> {
    let unknown = || TextError::UnknownSplit { expression: describe(pre_tokenizer, normalizer) };
    let nfc = is_nfc(normalizer).ok_or_else(unknown)?;
    let steps = flatten(pre_tokenizer).ok_or_else(unknown)?;
    let rows: Vec<_> = PRE_TOKENIZERS.iter().filter(|row| row.nfc == nfc && same(row.steps, &steps)).collect();
    if rows.is_empty() { Err(unknown()) } else { Ok(rows) }
}

impl PreTokenizer {
    /// As tokenizer.json's `pre_tokenizer`.
    pub(crate) fn to_json(&self) -> Value {
        let use_regex = self.steps.last() == Some(&Step::Gpt2);
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex,
        });
        let mut list: Vec<Value> = self
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Expression(regex) => {
                    Some(json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false}))
                }
                Step::Digits => Some(json!({"type": "Digits", "individual_digits": true})),
                Step::Gpt2 => None,
            })
            .collect();
        if list.is_empty() {
            return byte_level;
        }
        list.push(byte_level);
        json!({"type": "Sequence", "pretokenizers": list})
    }

    /// As tokenizer.json's `normalizer`.
    pub(crate) fn normalizer(&self) -> Value {
        if self.nfc { json!({"type": "NFC"}) } else { Value::Null }
    }
}

/// A step as tokenizer.json tells it.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Expression(String),
    Digits,
    Gpt2,
}

/// Whether two lists of steps cut alike.
fn same(row: &[Step], found: &[Found]) -> bool {
    row.len() == found.len()
        && row.iter().zip(found).all(|(step, found)| match (step, found) {
            (Step::Gpt2, Found::Gpt2) | (Step::Digits, Found::Digits) => true,
            (Step::Gpt2, Found::Expression(text)) => text == GPT2,
            (Step::Digits, Found::Expression(text)) => text == r"\p{N}",
            (Step::Expression(regex), Found::Expression(text)) => regex == text,
            _ => false,
        })
}

/// The steps of a `pre_tokenizer` that ends with the byte level; `None` when one is of another kind.
fn flatten(pre_tokenizer: &Value) -> Option<Vec<Found>> {
    let single = std::slice::from_ref(pre_tokenizer);
    let list = match pre_tokenizer["type"].as_str()? {
        "Sequence" => pre_tokenizer["pretokenizers"].as_array()?.as_slice(),
        _ => single,
    };
    let (last, steps) = list.split_last()?;
    if last["type"].as_str() != Some("ByteLevel") || last["add_prefix_space"].as_bool() == Some(true) {
        return None;
    }
    let mut found = steps.iter().map(step).collect::<Option<Vec<_>>>()?;
    if last["use_regex"].as_bool().unwrap_or(true) {
        found.push(Found::Gpt2);
    }
    Some(found)
}

/// One step before the byte level.
fn step(value: &Value) -> Option<Found> {
    match value["type"].as_str()? {
        "Split" => {
            let plain = value["behavior"].as_str() == Some("Isolated") && value["invert"].as_bool() != Some(true);
            let regex = value["pattern"]["Regex"].as_str().filter(|_| plain)?;
            Some(Found::Expression(regex.to_owned()))
        }
        "Digits" => (value["individual_digits"].as_bool() == Some(true)).then_some(Found::Digits),
        _ => None,
    }
}

/// Whether a `normalizer` is NFC (`true`) or nothing (`false`); `None` for any other.
fn is_nfc(normalizer: &Value) -> Option<bool> {
    match normalizer {
        Value::Null => Some(false),
        value => match value["type"].as_str()? {
            "NFC" => Some(true),
            "Sequence" => match value["normalizers"].as_array()?.as_slice() {
                [] => Some(false),
                [one] => is_nfc(one),
                _ => None,
            },
            _ => None,
        },
    }
}

/// The expressions of a pre-tokenizer, for an error message.
fn describe(pre_tokenizer: &Value, normalizer: &Value) -> String {
    if normalizer.is_null() { pre_tokenizer.to_string() } else { format!("{pre_tokenizer} after {normalizer}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = PRE_TOKENIZERS.iter().flat_map(|row| row.names).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn every_row_is_found_again_by_its_own_json() {
        for row in PRE_TOKENIZERS {
            let found = by_json(&row.to_json(), &row.normalizer()).unwrap();
            assert!(found.iter().any(|f| f.names == row.names), "{:?}", row.names);
        }
    }

    #[test]
    fn refuses_unknown_names_and_expressions() {
        assert_eq!(by_name("default").unwrap_err().code(), "unknown-pre-tokenizer");
        let split = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]});
        let error = by_json(&split, &Value::Null).unwrap_err();
        assert_eq!(error.code(), "unknown-split-expression");
        assert!(error.to_string().contains("[a-z]+"));
    }

    #[test]
    fn a_normalizer_or_prefix_space_makes_a_different_pre_tokenizer() {
        let gpt2 = by_name("gpt-2").unwrap().to_json();
        assert!(by_json(&gpt2, &json!({"type": "Lowercase"})).is_err());
        let spaced = json!({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true});
        assert!(by_json(&spaced, &Value::Null).is_err());
    }
}
