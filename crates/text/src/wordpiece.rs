//! WordPiece (Schuster and Nakajima 2012) as BERT uses it: a word becomes the longest tokens from its start on.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::added::Added;
use crate::budget::Budget;
use crate::config::TokenizerConfig;
use crate::error::{Result, TextError};
use crate::gguf::post_processor;
use crate::json;
use crate::model::Parts;
use crate::vocabulary::Vocabulary;

/// The file's name, for error messages.
const FILE: &str = "vocab.txt";

/// The settings of a WordPiece model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WordPieceSettings {
    /// The text before a token that continues a word.
    pub prefix: String,
    /// The most characters of a word. A longer one is unknown.
    pub most_chars: usize,
}

impl Default for WordPieceSettings {
    fn default() -> Self {
        Self { prefix: "##".to_owned(), most_chars: 100 }
    }
}

/// The longest prefix of tokens that continue a word, in bytes.
const MAX_PREFIX: usize = 64;
/// The largest limit of the characters of a word. The work on a word grows with its square.
const MAX_CHARS: usize = 1024;

/// A WordPiece encoder.
pub(crate) struct WordPiece {
    /// The tokens by text, at the start of a word.
    begins: HashMap<String, u32>,
    /// The tokens inside of a word by text, without the prefix.
    continues: HashMap<String, u32>,
    most_chars: usize,
    /// The length of the longest token in bytes.
    longest: usize,
    unk: u32,
}

impl WordPiece {
    /// Prepares the tokens of a model.
    ///
    /// # Errors
    /// [`TextError::Missing`] without an unknown token, [`TextError::Unsupported`] for settings beyond the limits.
    pub(crate) fn new(parts: &Parts, settings: &WordPieceSettings) -> Result<Self> {
        let unk = parts.unk.ok_or(TextError::Missing { field: "the unk_token of a WordPiece model" })?;
        let beyond = |found: String, expected| Err(TextError::Unsupported { part: "model", found, expected });
        let WordPieceSettings { prefix, most_chars } = settings;
        if prefix.is_empty() || prefix.len() > MAX_PREFIX {
            return beyond(format!("WordPiece with the prefix {prefix:?}"), "a prefix of 1 to 64 bytes");
        }
        if *most_chars > MAX_CHARS {
            return beyond(format!("WordPiece with words of {most_chars} characters"), "at most 1024 characters");
        }
        let (mut begins, mut continues, mut longest) = (HashMap::new(), HashMap::new(), 0);
        for id in parts.ids() {
            let text = parts.text(id);
            longest = longest.max(text.len());
            if let Some(rest) = text.strip_prefix(prefix.as_str()).filter(|rest| !rest.is_empty()) {
                continues.insert(rest.to_owned(), id);
            }
            begins.insert(text.to_owned(), id);
        }
        Ok(Self { begins, continues, most_chars: *most_chars, longest, unk })
    }

    /// Appends the tokens of a word: the unknown token if the word has no tokens.
    ///
    /// # Errors
    /// [`TextError::WorkLimit`].
    pub(crate) fn encode(&self, word: &str, budget: &Budget, ids: &mut Vec<u32>) -> Result<()> {
        let (before, mut start) = (ids.len(), 0);
        let is_long = word.chars().nth(self.most_chars).is_some();
        while start < word.len() && !is_long {
            let tokens = if start == 0 { &self.begins } else { &self.continues };
            let Some((length, id)) = self.longest_of(tokens, &word[start..], budget)? else { break };
            ids.push(id);
            start += length;
        }
        if start < word.len() {
            ids.truncate(before);
            ids.push(self.unk);
        }
        Ok(())
    }

    /// Returns the longest token at the start of a text, with its length in bytes.
    fn longest_of(&self, tokens: &HashMap<String, u32>, text: &str, budget: &Budget) -> Result<Option<(usize, u32)>> {
        let mut end = text.len().min(self.longest);
        while end > 0 {
            if text.is_char_boundary(end) {
                budget.charge(end as u64)?;
                if let Some(&id) = tokens.get(&text[..end]) {
                    return Ok(Some((end, id)));
                }
            }
            end -= 1;
        }
        Ok(None)
    }
}

/// Makes tokenizer.json's `normalizer` for BERT.
pub(crate) fn normalizer(lowercase: bool, chinese: bool, strip_accents: Option<bool>) -> Value {
    json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": chinese,
        "strip_accents": strip_accents, "lowercase": lowercase,
    })
}

/// Makes the parts of BERT's tokenizer, which puts tokens around a text.
pub(crate) fn parts(
    vocabulary: Vocabulary,
    unk: Option<u32>,
    [cls, sep]: [Option<u32>; 2],
    added: Vec<Added>,
    normalizer: Value,
) -> Parts {
    Parts {
        words: Some(WordPieceSettings::default()),
        merges: Vec::new(),
        ignore_merges: false,
        byte_fallback: false,
        fuse_unk: false,
        unk,
        normalizer,
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        post_processor: post_processor(&vocabulary, cls, sep),
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        added,
        model_ids: None,
        vocabulary,
    }
}

/// The texts of tokens that BERT's class has if no file names others: unknown, before a text, after it, and others.
const DEFAULTS: [&str; 5] = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"];

/// Reads `vocab.txt`: a token per line.
///
/// # Errors
/// [`TextError::Malformed`] for text that is not UTF-8, errors of the vocabulary, [`TextError::Missing`] without the tokens
/// around a text.
pub(crate) fn read(vocab: &[u8], config: &TokenizerConfig) -> Result<Parts> {
    let text = std::str::from_utf8(vocab)
        .map_err(|e| TextError::malformed(FILE, format!("byte {}", e.valid_up_to()), "not UTF-8"))?;
    let mut tokens: Vec<(String, u32)> = text.lines().map(|line| line.trim_end().to_owned()).zip(0..).collect();
    while tokens.last().is_some_and(|(text, _)| text.is_empty()) {
        tokens.pop();
    }
    let mut added = config.added.clone();
    for (content, id) in tokens.iter().filter(|(text, _)| DEFAULTS.contains(&text.as_str())) {
        if !added.iter().any(|token| token.content == *content) {
            added.push(Added { id: *id, content: content.clone(), special: true, ..Added::default() });
        }
    }
    let unk = config.special.unk.as_deref().unwrap_or(DEFAULTS[0]);
    let vocabulary = json::vocabulary(tokens, &added, false, Some(unk))?;
    let [unk, cls, sep] = [unk, DEFAULTS[1], DEFAULTS[2]].map(|text| vocabulary.id_of(text));
    if cls.is_none() || sep.is_none() {
        return Err(TextError::Missing { field: "[CLS] and [SEP] in vocab.txt" });
    }
    let lowercase = config.lowercase.unwrap_or(true);
    let normalizer = normalizer(lowercase, config.chinese.unwrap_or(true), config.strip_accents);
    Ok(parts(vocabulary, unk, [cls, sep], json::added(added), normalizer))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use tokenizers::Model as _;
    use tokenizers::models::wordpiece::WordPiece as Library;

    use super::*;

    const TOKENS: [&str; 12] = ["[UNK]", "[CLS]", "[SEP]", "a", "ab", "##b", "##bc", "##c", "é", "##é", "##", "abc##b"];

    #[test]
    fn tokens_are_those_of_the_library() {
        let parts = read(TOKENS.join("\n").as_bytes(), &TokenizerConfig::default()).unwrap();
        let ours =
            WordPiece::new(&parts, &WordPieceSettings { most_chars: 7, ..WordPieceSettings::default() }).unwrap();
        let vocab: [(String, u32); TOKENS.len()] = std::array::from_fn(|id| (TOKENS[id].to_owned(), id as u32));
        let library = Library::builder().vocab(vocab).max_input_chars_per_word(7).build().unwrap();
        let letters = ["a", "b", "c", "é", "#"];
        for word in
            (0..5_usize.pow(5)).map(|n| (0..n % 9).map(|i| letters[n / 5_usize.pow(i as u32 % 5) % 5]).collect())
        {
            let word: String = word;
            let mut found = Vec::new();
            ours.encode(&word, &Budget::new(1 << 20), &mut found).unwrap();
            let expected: Vec<u32> = library.tokenize(&word).unwrap().into_iter().map(|token| token.id).collect();
            assert_eq!(found, expected, "{word:?}");
        }
    }

    #[test]
    fn a_word_without_end_ends_at_the_budget() {
        let parts = read(TOKENS.join("\n").as_bytes(), &TokenizerConfig::default()).unwrap();
        let settings = WordPieceSettings { most_chars: MAX_CHARS, ..WordPieceSettings::default() };
        let ours = WordPiece::new(&parts, &settings).unwrap();
        let error = ours.encode(&"b".repeat(1000), &Budget::new(5), &mut Vec::new()).unwrap_err();
        assert_eq!(error.code(), "text-work-limit");
        let long = WordPieceSettings { most_chars: MAX_CHARS + 1, ..WordPieceSettings::default() };
        assert_eq!(WordPiece::new(&parts, &long).err().unwrap().code(), "tokenizer-unsupported");
        let empty = WordPieceSettings { prefix: String::new(), ..WordPieceSettings::default() };
        assert_eq!(WordPiece::new(&parts, &empty).err().unwrap().code(), "tokenizer-unsupported");
    }

    #[test]
    fn a_list_without_the_tokens_around_a_text_is_refused() {
        let read = |text: &str| read(text.as_bytes(), &TokenizerConfig::default()).err().map(|error| error.code());
        assert_eq!(read("[UNK]\n[CLS]\na\n"), Some("tokenizer-field-missing"));
        assert_eq!(read("[UNK]\n[CLS]\n[SEP]\na\na\n"), Some("duplicate-token"));
        assert_eq!(read("[UNK]\n[CLS]\n[SEP]\n\n\n"), None);
    }
}
