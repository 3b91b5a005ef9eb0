//! The way between the tokens of a model and those of a draft model with another vocabulary, through text.

use std::rc::Rc;

use honelm_text::{DecodeStream, EncodeOptions, Tokenizer};

/// The number of last tokens whose text the draft model sees, at least. It is at most twice as many.
const WINDOW: usize = 128;

/// The tokenizers of a model and its draft model.
pub(crate) struct Bridge {
    pub own: Rc<Tokenizer>,
    pub draft: Rc<Tokenizer>,
}

/// Returns `true` if all tokens have the same bytes and roles, so that ids need no translation. Rows after the last token of
/// the shorter vocabulary are not compared: models pad them differently.
pub(super) fn is_same(a: &Tokenizer, b: &Tokenizer) -> bool {
    let common = a.vocab_size().min(b.vocab_size()) as u32;
    let same = |id: u32| a.special(id) == b.special(id) && a.token_bytes(id) == b.token_bytes(id);
    let rest_is_empty = |t: &Tokenizer| {
        (common..t.vocab_size() as u32)
            .all(|id| t.token_bytes(id).is_none_or(|bytes| bytes.is_empty()) || t.special(id))
    };
    (0..common).all(same) && rest_is_empty(a) && rest_is_empty(b)
}

/// Decodes tokens that continue a text, without special ones.
fn text_of(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    let mut stream = DecodeStream::continuing(tokenizer, true);
    let mut text: String = tokens.iter().filter_map(|&id| stream.push(id)).collect();
    text.push_str(&stream.finish());
    text
}

impl Bridge {
    /// Returns the last tokens. Their start moves seldom, so that most of the draft model's tokens stay the same.
    fn window(tokens: &[u32]) -> &[u32] {
        let start = (tokens.len() / WINDOW).saturating_sub(1) * WINDOW;
        &tokens[start..]
    }

    /// Returns the draft model's tokens for the text of the last tokens; `None` if it cannot be encoded.
    pub fn encode(&self, tokens: &[u32]) -> Option<Vec<u32>> {
        let ids = self.draft.encode_running(&text_of(&self.own, Self::window(tokens))).ok()?;
        (!ids.is_empty()).then_some(ids)
    }

    /// Returns the tokens that spell the text which the draft model's tokens `drafted` add.
    pub fn decode(&self, tokens: &[u32], drafted: &[u32]) -> Vec<u32> {
        let end = drafted.iter().position(|&id| self.draft.special(id)).unwrap_or(drafted.len());
        let added = text_of(&self.draft, &drafted[..end]);
        let options = EncodeOptions { add_special: false, parse_special: false };
        let plain: Vec<u32> = Self::window(tokens).iter().copied().filter(|&id| !self.own.special(id)).collect();
        let whole = self.own.encode(&(text_of(&self.own, &plain) + &added), options).unwrap_or_default();
        match whole.strip_prefix(&plain[..]) {
            Some(rest) => rest.to_vec(),
            // The answer's tokens are not those that its text would be encoded as.
            None => self.own.encode(&added, options).unwrap_or_default(),
        }
    }
}
