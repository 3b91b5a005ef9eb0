//! The state of a grammar in an answer.

use std::sync::Arc;

use honelm_backend::TokenMask;
use honelm_text::{EncodeOptions, Tokenizer};
use llguidance::TokenParser;

use crate::error::{GrammarError, Result, shortened};
use crate::vocabulary::TokenVocabulary;

/// The state of a grammar in an answer.
///
/// A clone is a branch: it continues independently. It shares the lexer's states with the original behind a lock, so
/// branches are best used by one thread at a time; matchers from [`Grammar::matcher`](crate::Grammar::matcher) share nothing.
pub struct Matcher {
    vocabulary: Arc<TokenVocabulary>,
    inner: llguidance::Matcher,
    /// The mask of the current state, once it is computed.
    mask: Option<TokenMask>,
    /// The number of tokens so far, with an end token.
    taken: usize,
    /// `true` behind an end token.
    ended: bool,
}

impl Clone for Matcher {
    fn clone(&self) -> Self {
        Self { vocabulary: self.vocabulary.clone(), inner: self.inner.clone(), mask: self.mask.clone(), ..*self }
    }
}

impl Matcher {
    pub(crate) fn new(vocabulary: Arc<TokenVocabulary>, parser: TokenParser) -> Self {
        Self { vocabulary, inner: llguidance::Matcher::new(Ok(parser)), mask: None, taken: 0, ended: false }
    }

    /// Returns the tokens that may come next. End tokens are among them where the text may end. Only behind an end token,
    /// and at the end of a grammar for a vocabulary without end tokens, there are none.
    ///
    /// The mask is computed once for each state.
    ///
    /// # Errors
    /// [`GrammarError::Stopped`] if the grammar is too complex for the text so far.
    pub fn mask(&mut self) -> Result<&TokenMask> {
        if self.mask.is_none() {
            let len = self.vocabulary.len();
            let mask = if self.ended {
                TokenMask::none(len)
            } else {
                let bits = self.inner.compute_mask_or_eos().map_err(|error| stopped(self.taken, &error))?;
                let mut mask = TokenMask::from_words(bits.as_slice(), len);
                for &(twin, first) in self.vocabulary.twins() {
                    if mask.contains(first) {
                        mask.insert(twin);
                    }
                }
                mask
            };
            return Ok(self.mask.insert(mask));
        }
        Ok(self.mask.get_or_insert_default())
    }

    /// Adds a token.
    ///
    /// # Errors
    /// [`GrammarError::TokenNotAllowed`] if the token may not come next; the state is the same then.
    /// [`GrammarError::Stopped`] as in [`mask`](Self::mask).
    pub fn advance(&mut self, token: u32) -> Result<()> {
        let is_end = self.vocabulary.ends().contains(&token);
        let is_allowed = match &self.mask {
            Some(mask) => mask.contains(token),
            None if self.ended => false,
            None if is_end => self.is_complete()?,
            None => self.accepts(&[token])? == 1,
        };
        if !is_allowed {
            let text = self.vocabulary.text(token);
            return Err(GrammarError::TokenNotAllowed { token, text, position: self.taken });
        }
        // An end token that the grammar does not name itself is not a part of the text.
        if is_end && self.is_complete()? {
            self.ended = true;
        } else {
            let token = self.vocabulary.in_trie(token);
            self.inner.consume_token(token).map_err(|error| stopped(self.taken, &error))?;
        }
        self.taken += 1;
        self.mask = None;
        Ok(())
    }

    /// Returns the number of tokens of a draft that may come next, one after the other. The state does not change. An end
    /// token counts where the text may end, and ends the draft.
    ///
    /// # Errors
    /// [`GrammarError::Stopped`] as in [`mask`](Self::mask).
    pub fn accepts(&mut self, draft: &[u32]) -> Result<usize> {
        if self.ended || draft.is_empty() {
            return Ok(0);
        }
        let len = draft.iter().position(|token| self.vocabulary.ends().contains(token)).unwrap_or(draft.len());
        let known = draft[..len].iter().position(|token| *token as usize >= self.vocabulary.len()).unwrap_or(len);
        let tokens: Vec<u32> = draft[..known].iter().map(|token| self.vocabulary.in_trie(*token)).collect();
        let fail = |error| stopped(self.taken, &error);
        let count = if tokens.is_empty() { 0 } else { self.inner.validate_tokens(&tokens).map_err(fail)? };
        if count < len || len == draft.len() {
            return Ok(count);
        }
        // The draft ends here, so the state behind it decides.
        let mut behind = self.inner.clone();
        behind.consume_tokens(&tokens).map_err(|error| stopped(self.taken, &error))?;
        let complete = behind.is_accepting().map_err(|error| stopped(self.taken, &error))?;
        Ok(count + usize::from(complete))
    }

    /// Takes back the last `count` tokens. It costs time in proportion to their bytes, and the mask is computed again.
    ///
    /// # Errors
    /// [`GrammarError::Rollback`] if there are fewer tokens, [`GrammarError::Stopped`] if the grammar has failed.
    pub fn rollback(&mut self, count: usize) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        if count > self.taken {
            return Err(GrammarError::Rollback { wanted: count, taken: self.taken });
        }
        let inside = count - usize::from(self.ended);
        self.inner.rollback(inside).map_err(|error| stopped(self.taken, &error))?;
        self.ended = false;
        self.taken -= count;
        self.mask = None;
        Ok(())
    }

    /// Returns `true` if the text may end here.
    ///
    /// # Errors
    /// [`GrammarError::Stopped`] as in [`mask`](Self::mask).
    pub fn is_complete(&mut self) -> Result<bool> {
        Ok(self.ended || self.inner.is_accepting().map_err(|error| stopped(self.taken, &error))?)
    }

    /// Returns `true` if nothing may follow but an end token, so that the answer can end without drawing one.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended || (self.inner.is_stopped() && !self.inner.is_error())
    }

    /// Returns the number of tokens so far.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Returns tokens that must come next whatever the model says, so that they need not be drawn. There are none where
    /// the text leaves a choice, and the last token of a forced text is left to the model, because a longer one may be
    /// what it would draw.
    ///
    /// Text that is forced token by token can differ from what the model would write: a grammar allows any tokens that give
    /// the text, and these are the tokenizer's own.
    ///
    /// # Errors
    /// [`GrammarError::Text`] if the tokenizer fails on the text.
    pub fn forced(&mut self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        if self.is_finished() {
            return Ok(Vec::new());
        }
        let bytes = self.inner.compute_ff_bytes();
        let end = bytes.iter().position(|byte| *byte == 0xff).unwrap_or(bytes.len());
        let text = match str::from_utf8(&bytes[..end]) {
            Ok(text) => text,
            Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        };
        let mut tokens = tokenizer.encode(text, EncodeOptions::default())?;
        tokens.pop();
        // Some tokenizers change a text, for example by a space before it.
        let spelled: Vec<u8> =
            tokens.iter().flat_map(|token| tokenizer.token_bytes(*token).unwrap_or_default()).collect();
        if !text.as_bytes().starts_with(&spelled) {
            tokens.clear();
        }
        Ok(tokens)
    }
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matcher").field("taken", &self.taken).field("ended", &self.ended).finish_non_exhaustive()
    }
}

fn stopped(position: usize, error: &dyn std::fmt::Display) -> GrammarError {
    GrammarError::Stopped { position, reason: shortened(error) }
}
