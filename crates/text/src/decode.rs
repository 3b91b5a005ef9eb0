//! Tokens to text, one at a time.

use crate::decoder::Flow;
use crate::tokenizer::Tokenizer;

/// Turns a stream of tokens into text that never splits a character.
///
/// The pieces of [`push`](Self::push) and [`finish`](Self::finish) together are [`Tokenizer::decode`] of all the ids:
/// bytes that are not UTF-8 become U+FFFD, one for each broken sequence.
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// What the decoder does to the text.
    flow: Flow<'a>,
    /// Bytes of a character that is not complete yet.
    pending: Vec<u8>,
}

impl<'a> DecodeStream<'a> {
    /// A stream at the start of a text, where SentencePiece's leading space is dropped.
    #[must_use]
    pub fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, flow: tokenizer.decoder.flow(true), pending: Vec::new() }
    }

    /// A stream that continues a text: a leading space is kept.
    #[must_use]
    pub fn continuing(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        Self { flow: tokenizer.decoder.flow(false), ..Self::new(tokenizer, skip_special) }
    }

    /// Takes one token; gives the text that is complete now, if any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        if self.skip_special && self.tokenizer.special(id) {
            return None;
        }
        self.flow.push(self.tokenizer.vocabulary(), id, &mut self.pending);
        let text = drain_utf8(&mut self.pending);
        (!text.is_empty()).then_some(text)
    }

    /// What is left: text that might have become another, and the beginning of a character that never came, as U+FFFD.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.flow.finish(&mut self.pending);
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// Takes all complete characters out of `bytes`; an incomplete one at the end stays.
fn drain_utf8(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut start = 0;
    loop {
        let rest = &bytes[start..];
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                start = bytes.len();
                break;
            }
            Err(error) => {
                let valid = error.valid_up_to();
                text.push_str(&String::from_utf8_lossy(&rest[..valid]));
                start += valid;
                match error.error_len() {
                    Some(broken) => {
                        text.push(char::REPLACEMENT_CHARACTER);
                        start += broken;
                    }
                    None => break,
                }
            }
        }
    }
    bytes.drain(..start);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_lossy_text_wherever_they_are_cut() {
        let bytes = b"a\xF0\x9F\x98\x80b\xFF\xC3(\xE2\x82\xE2\x82\xAC\xF0\x9F";
        let whole = String::from_utf8_lossy(bytes);
        for cut in 0..bytes.len() {
            let mut pending = bytes[..cut].to_vec();
            let mut text = drain_utf8(&mut pending);
            assert!(pending.len() < 4);
            pending.extend_from_slice(&bytes[cut..]);
            text.push_str(&drain_utf8(&mut pending));
            text.push_str(&String::from_utf8_lossy(&pending));
            assert_eq!(text, whole, "cut at {cut}");
        }
    }
}
