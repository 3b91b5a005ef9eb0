//! The way from tokens to text: decoder, stop texts, parts of the answer.

use std::rc::Rc;

use honelm_text::answer::{Answer as Parts, AnswerParser, Event};
use honelm_text::{DecodeStream, Tokenizer};

use crate::repeats::Repeats;
use crate::stop::StopScanner;
use crate::{Delta, Generation};

/// The text of an answer, token by token.
pub(crate) struct TextStream {
    tokenizer: Rc<Tokenizer>,
    decoder: DecodeStream<Rc<Tokenizer>>,
    scanner: StopScanner,
    parser: Option<AnswerParser>,
    repeats: Option<Repeats>,
    /// All text so far.
    pub text: String,
    /// The parts so far.
    pub parts: Parts,
}

impl TextStream {
    /// Creates an empty stream. With `unique_calls`, it ends where a call is repeated.
    pub fn new(tokenizer: &Rc<Tokenizer>, how: &Generation, parser: Option<AnswerParser>, unique_calls: bool) -> Self {
        let of = Rc::clone(tokenizer);
        let decoder = if how.continues { DecodeStream::continuing(of, true) } else { DecodeStream::new(of, true) };
        Self {
            tokenizer: Rc::clone(tokenizer),
            decoder,
            scanner: StopScanner::new(how.stop.clone()),
            parser,
            repeats: unique_calls.then(Repeats::default),
            text: String::new(),
            parts: Parts::default(),
        }
    }

    /// Returns `true` once a stop text or a repeated call has been found.
    pub fn has_ended(&self) -> bool {
        self.stopped() || self.repeats.as_ref().is_some_and(|repeats| repeats.found)
    }

    fn stopped(&self) -> bool {
        self.scanner.stopped
    }

    /// Adds a token.
    pub fn push(&mut self, id: u32) -> Delta {
        let decoded = self.decoder.push(id).unwrap_or_default();
        let mut text = self.scanner.push(&decoded);
        if self.stopped() || !self.is_mark(id) {
            return self.delta(text, None);
        }
        // No stop text spans a mark.
        text.push_str(&self.scanner.finish());
        self.delta(text, Some(id))
    }

    /// Returns the text and the parts that were held back.
    pub fn finish(&mut self) -> Delta {
        let mut rest = String::new();
        if !self.stopped() {
            let decoded = self.decoder.finish();
            rest = self.scanner.push(&decoded);
            if !self.stopped() {
                rest.push_str(&self.scanner.finish());
            }
        }
        let mut delta = self.delta(rest, None);
        if let Some(mut parser) = self.parser.take() {
            let parts = self.unrepeated(parser.finish());
            self.parts.extend(&parts);
            delta.parts.extend(parts);
        }
        delta
    }

    /// Returns `true` for a special token that the parser reads. Special tokens have no text in the answer, but marks may be
    /// special tokens.
    fn is_mark(&self, id: u32) -> bool {
        let Some(parser) = &self.parser else { return false };
        self.tokenizer.special(id) && self.tokenizer.token(id).is_some_and(|token| parser.is_mark(token))
    }

    /// Adds text and the mark behind it.
    fn delta(&mut self, text: String, mark: Option<u32>) -> Delta {
        let parts = match &mut self.parser {
            None if text.is_empty() => Vec::new(),
            None => vec![Event::Text(text.clone())],
            Some(parser) => {
                let mut parts = parser.push(&text);
                if let Some(token) = mark.and_then(|id| self.tokenizer.token(id)) {
                    parts.extend(parser.push(token));
                }
                parts
            }
        };
        let parts = self.unrepeated(parts);
        self.parts.extend(&parts);
        self.text.push_str(&text);
        Delta { text, parts }
    }

    /// Removes a repeated call and what follows it.
    fn unrepeated(&mut self, parts: Vec<Event>) -> Vec<Event> {
        match &mut self.repeats {
            Some(repeats) => repeats.filter(parts),
            None => parts,
        }
    }
}
