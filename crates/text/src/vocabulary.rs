//! The vocabulary: tokens by id.

use std::collections::HashMap;

use crate::alphabet;
use crate::error::{Result, TextError};

/// SentencePiece's visible space.
pub(crate) const SPACE: char = '▁';

/// The longest token that takes part in merging, in bytes. It bounds the work on a hostile vocabulary.
pub(crate) const MAX_TOKEN_BYTES: usize = 1024;

/// The longest token of any kind, in bytes. It bounds the text that tokens become.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// The kind of a token. The numbers are those of GGUF's `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum TokenKind {
    /// A token that merging produces.
    Normal = 1,
    /// The token for text that the vocabulary cannot represent.
    Unknown = 2,
    /// A token that controls the model. It is recognised in text only on request.
    Control = 3,
    /// A token that is always recognised in text as a whole.
    UserDefined = 4,
    /// A row of the embedding without a text, or a piece that SentencePiece uses only if no other fits.
    Unused = 5,
    /// A byte, written `<0xHH>`.
    Byte = 6,
}

impl TokenKind {
    /// Converts a GGUF number. Undefined numbers are [`TokenKind::Unused`].
    #[must_use]
    pub fn from_gguf(number: i32) -> Self {
        match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            6 => Self::Byte,
            _ => Self::Unused,
        }
    }

    /// Returns `true` if decoding may skip the token and encoding recognises it only on request.
    #[must_use]
    pub fn is_special(self) -> bool {
        matches!(self, Self::Control | Self::Unknown)
    }
}

/// A token.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// The text in the vocabulary's spelling.
    pub text: String,
    /// The kind.
    pub kind: TokenKind,
}

/// The way in which tokens represent bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Byte-level BPE: GPT-2's byte alphabet.
    ByteLevel,
    /// SentencePiece: `▁` for a space, `<0xHH>` for a byte of a character that no token represents.
    SentencePiece,
    /// WordPiece: text of words, with `##` before a token that continues a word.
    WordPiece,
}

/// The tokens by id. Ids without a token are unused tokens.
#[derive(Debug, Clone)]
pub(crate) struct Vocabulary {
    tokens: Vec<Token>,
    ids: HashMap<String, u32>,
}

impl Vocabulary {
    /// Builds a vocabulary. `claims` are (text, id, kind); ids may have gaps.
    ///
    /// # Errors
    /// [`TextError::DuplicateToken`], [`TextError::DuplicateId`], [`TextError::IdOutOfRange`] for an id far beyond the
    /// number of tokens, [`TextError::TokenTooLong`], [`TextError::EmptyVocabulary`].
    pub(crate) fn from_claims(claims: Vec<(String, u32, TokenKind)>) -> Result<Self> {
        if claims.is_empty() {
            return Err(TextError::EmptyVocabulary);
        }
        // Real vocabularies have few gaps. The bound keeps a wrong id from allocating gigabytes.
        let limit = claims.len() * 2 + 4096;
        let mut slots: Vec<Option<Token>> = Vec::with_capacity(claims.len());
        let mut ids = HashMap::with_capacity(claims.len());
        for (text, id, kind) in claims {
            if text.len() > MAX_TEXT_BYTES {
                return Err(TextError::TokenTooLong { id, bytes: text.len(), limit: MAX_TEXT_BYTES });
            }
            let row = id as usize;
            if row >= limit {
                return Err(TextError::IdOutOfRange { field: format!("token {text:?}"), id: id.into(), len: limit });
            }
            if let Some(first) = ids.insert(text.clone(), id) {
                return Err(TextError::DuplicateToken { token: text, first, second: id });
            }
            if row >= slots.len() {
                slots.resize(row + 1, None);
            }
            if let Some(first) = slots[row].take() {
                return Err(TextError::DuplicateId { id, first: first.text, second: text });
            }
            slots[row] = Some(Token { text, kind });
        }
        let tokens = slots
            .into_iter()
            .enumerate()
            .map(|(id, slot)| slot.unwrap_or_else(|| Token { text: pad_text(id), kind: TokenKind::Unused }))
            .collect();
        Ok(Self { tokens, ids })
    }

    /// Returns the number of ids.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Returns the token of an id.
    pub(crate) fn get(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize)
    }

    /// Returns the id of a text.
    pub(crate) fn id_of(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// Iterates over the tokens in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Token)> {
        (0u32..).zip(&self.tokens)
    }

    /// Appends the bytes of a token. Unknown ids and rows without a text have none.
    pub(crate) fn push_bytes(&self, id: u32, family: Family, out: &mut Vec<u8>) {
        let Some(token) = self.get(id) else { return };
        match (token.kind, family) {
            (TokenKind::Unused, Family::ByteLevel | Family::WordPiece) => {}
            (TokenKind::Unused, Family::SentencePiece) if token.text == pad_text(id as usize) => {}
            (TokenKind::Normal, Family::ByteLevel) => {
                if !alphabet::push_bytes(&token.text, out) {
                    out.extend_from_slice(token.text.as_bytes());
                }
            }
            (TokenKind::Byte, _) => match byte_token(&token.text) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(token.text.as_bytes()),
            },
            (TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused, Family::SentencePiece) => {
                let mut utf8 = [0; 4];
                for c in token.text.chars() {
                    let c = if c == SPACE { ' ' } else { c };
                    out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
                }
            }
            _ => out.extend_from_slice(token.text.as_bytes()),
        }
    }
}

/// Returns the text of an unused row.
pub(crate) fn pad_text(id: usize) -> String {
    format!("[PAD{id}]")
}

/// Returns the byte of `<0xHH>`.
pub(crate) fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn claim(text: &str, id: u32) -> (String, u32, TokenKind) {
        (text.to_owned(), id, TokenKind::Normal)
    }

    #[test]
    fn refuses_duplicate_texts_and_ids() {
        let error = Vocabulary::from_claims(vec![claim("a", 0), claim("a", 1)]).unwrap_err();
        assert_eq!(error.code(), "duplicate-token");
        let error = Vocabulary::from_claims(vec![claim("a", 0), claim("b", 0)]).unwrap_err();
        assert_eq!(error.code(), "duplicate-token-id");
    }

    #[test]
    fn refuses_an_id_that_would_allocate_gigabytes() {
        let error = Vocabulary::from_claims(vec![claim("a", u32::MAX)]).unwrap_err();
        assert_eq!(error.code(), "token-id-out-of-range");
    }

    #[test]
    fn a_hole_is_an_unused_token_without_bytes() {
        let vocabulary = Vocabulary::from_claims(vec![claim("a", 0), claim("b", 2)]).unwrap();
        assert_eq!(vocabulary.get(1).unwrap().kind, TokenKind::Unused);
        let mut bytes = Vec::new();
        vocabulary.push_bytes(1, Family::ByteLevel, &mut bytes);
        assert!(bytes.is_empty());
    }

    #[test]
    fn byte_tokens_are_two_hexadecimal_digits() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0x+A>"), None);
        assert_eq!(byte_token("<0x0AB>"), None);
    }
}
