//! The tokens of a model as a trie.

use std::collections::HashMap;
use std::sync::Arc;

use honelm_text::{TokenKind, Tokenizer};
use llguidance::ParserFactory;
use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};

use crate::error::{GrammarError, Result, shortened};
use crate::grammar::Limits;

/// The longest token that a text may have, in bytes. The trie has room for 1,024.
const MAX_TOKEN: usize = 1000;

/// The largest vocabulary. The trie numbers its nodes with 22 bits.
const MAX_VOCABULARY: usize = 1 << 21;

/// The tokens of a model, prepared for grammars. Make it once for each model.
pub struct TokenVocabulary {
    factory: ParserFactory,
    ends: Vec<u32>,
    /// Tokens with the bytes of another one, which the trie has instead.
    twins: Vec<(u32, u32)>,
    texts: Vec<Vec<u8>>,
}

impl TokenVocabulary {
    /// Builds the trie of a tokenizer's tokens. `ends` are the tokens that end an answer
    /// ([`Tokenizer::eos_ids`]).
    ///
    /// Special tokens have no text: only a grammar that names them allows them. Tokens without a text, and those of more
    /// than 1,000 bytes, are never allowed.
    ///
    /// # Errors
    /// [`GrammarError::Vocabulary`] if an end token is not in the vocabulary, or the vocabulary is too large.
    pub fn new(tokenizer: &Tokenizer, ends: &[u32]) -> Result<Arc<Self>> {
        let len = tokenizer.vocab_size();
        if len > MAX_VOCABULARY {
            return Err(bad(format!("it has {len} tokens, expected at most {MAX_VOCABULARY}")));
        }
        if let Some(end) = ends.iter().find(|end| **end as usize >= len) {
            return Err(bad(format!("the end token {end} is not one of its {len} tokens")));
        }
        let mut words: Vec<Vec<u8>> = Vec::with_capacity(len);
        let mut seen: HashMap<Vec<u8>, u32> = HashMap::with_capacity(len);
        let mut twins = Vec::new();
        for id in 0..len as u32 {
            let mut word = tokenizer.token_bytes(id).unwrap_or_default();
            let kind = tokenizer.kind(id);
            if kind.is_some_and(TokenKind::is_special) || ends.contains(&id) {
                word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
                // Two special tokens never share a text in the trie.
                if seen.contains_key(&word) {
                    word.extend_from_slice(format!("[{id}]").as_bytes());
                }
            } else if word.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) {
                // This byte begins no valid text, and the trie uses it for special tokens.
                word.clear();
            }
            if word.len() > MAX_TOKEN {
                word.clear();
            }
            if !word.is_empty() {
                match seen.get(&word) {
                    Some(&first) => {
                        twins.push((id, first));
                        word.clear();
                    }
                    None => {
                        seen.insert(word.clone(), id);
                    }
                }
            }
            words.push(word);
        }
        let info = TokRxInfo::new(len as u32, ends.first().copied().unwrap_or(u32::MAX));
        let mut trie = TokTrie::from(&info, &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(ends);
        }
        for &(twin, first) in &twins {
            words[twin as usize] = words[first as usize].clone();
        }
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        // Tokens that any JSON string allows, or all texts, are checked once and not for each mask.
        let slices = SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices)
            .map_err(|error| bad(shortened(error)))?;
        factory.quiet();
        Ok(Arc::new(Self { factory, ends: ends.to_vec(), twins, texts: words }))
    }

    /// Returns the number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Returns `true` if there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Returns the tokens that end an answer.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    pub(crate) fn factory(&self) -> &ParserFactory {
        &self.factory
    }

    pub(crate) fn twins(&self) -> &[(u32, u32)] {
        &self.twins
    }

    /// Returns the token that the trie has for a token.
    pub(crate) fn in_trie(&self, id: u32) -> u32 {
        self.twins.binary_search_by_key(&id, |twin| twin.0).map_or(id, |at| self.twins[at].1)
    }

    /// Returns a token's text.
    pub(crate) fn text(&self, id: u32) -> String {
        let bytes = self.texts.get(id as usize).map_or(&[][..], Vec::as_slice);
        String::from_utf8_lossy(bytes.strip_prefix(&[TokTrie::SPECIAL_TOKEN_MARKER]).unwrap_or(bytes)).into_owned()
    }

    pub(crate) fn parser_limits(limits: &Limits) -> ParserLimits {
        ParserLimits {
            initial_lexer_fuel: limits.compile_fuel,
            step_lexer_fuel: limits.mask_fuel,
            step_max_items: limits.mask_items,
            max_lexer_states: limits.states,
            max_grammar_size: limits.symbols,
            verbose_errors: false,
            ..ParserLimits::default()
        }
    }
}

impl std::fmt::Debug for TokenVocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenVocabulary").field("len", &self.len()).field("ends", &self.ends).finish_non_exhaustive()
    }
}

fn bad(reason: String) -> GrammarError {
    GrammarError::Vocabulary { reason }
}
