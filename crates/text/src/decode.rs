//! Streaming decoding of tokens.

use std::ops::Deref;

use crate::decoder::Flow;
use crate::tokenizer::Tokenizer;

/// A decoder of a stream of tokens that never splits a character.
///
/// The pieces that [`push`](Self::push) and [`finish`](Self::finish) return form the same text as
/// [`Tokenizer::decode`]. Each invalid UTF-8 sequence becomes one U+FFFD. `T` is a reference to the tokenizer, or an `Rc` of it.
pub struct DecodeStream<T> {
    tokenizer: T,
    skip_special: bool,
    /// The state of the decoder's steps.
    flow: Flow,
    /// The bytes of an incomplete character.
    pending: Vec<u8>,
}

impl<T: Deref<Target = Tokenizer>> DecodeStream<T> {
    /// Creates a stream at the start of a text. SentencePiece's leading space is dropped.
    #[must_use]
    pub fn new(tokenizer: T, skip_special: bool) -> Self {
        let flow = tokenizer.decoder.flow(true);
        Self { tokenizer, skip_special, flow, pending: Vec::new() }
    }

    /// Creates a stream that continues a text. A leading space is kept.
    #[must_use]
    pub fn continuing(tokenizer: T, skip_special: bool) -> Self {
        let flow = tokenizer.decoder.flow(false);
        Self { flow, ..Self::new(tokenizer, skip_special) }
    }

    /// Adds a token. Returns the text that is now complete, if any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        if self.skip_special && self.tokenizer.special(id) {
            return None;
        }
        self.flow.push(&self.tokenizer.decoder, self.tokenizer.vocabulary(), id, &mut self.pending);
        let text = drain_utf8(&mut self.pending);
        (!text.is_empty()).then_some(text)
    }

    /// Returns the remaining text. An incomplete character becomes U+FFFD.
    #[must_use]
    pub fn finish(&mut self) -> String {
        self.flow.finish(&self.tokenizer.decoder, &mut self.pending);
        let rest = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        rest
    }
}

impl Tokenizer {
    /// Decodes ids. Invalid UTF-8 becomes U+FFFD, unknown ids are skipped, and a leading space of SentencePiece is
    /// dropped.
    #[must_use]
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut stream = DecodeStream::new(self, skip_special);
        let mut text: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
        text.push_str(&stream.finish());
        text
    }
}

/// Removes all complete characters from `bytes`. An incomplete character at the end stays.
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
