//! The way from tokens to text: decoder, stop texts, thinking.

use std::rc::Rc;

use honelm_text::{DecodeStream, Piece, Reasoning, ReasoningStream, Tokenizer};

use crate::stop::StopScanner;
use crate::{Delta, Generation};

/// The tags around the thinking of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Thinking {
    /// The tags.
    pub tags: Reasoning,
    /// `true` if the prompt ends with the opening tag.
    pub begun: bool,
}

/// The text of an answer, token by token.
pub(crate) struct TextStream {
    tokenizer: Rc<Tokenizer>,
    decoder: DecodeStream<Rc<Tokenizer>>,
    scanner: StopScanner,
    thinking: Option<(Reasoning, ReasoningStream)>,
    /// All text so far.
    pub text: String,
    thought: String,
    answer: String,
}

impl TextStream {
    pub fn new(tokenizer: &Rc<Tokenizer>, how: &Generation, thinking: Option<Thinking>) -> Self {
        let of = Rc::clone(tokenizer);
        let decoder = if how.continues { DecodeStream::continuing(of, true) } else { DecodeStream::new(of, true) };
        Self {
            tokenizer: Rc::clone(tokenizer),
            decoder,
            scanner: StopScanner::new(how.stop.clone()),
            thinking: thinking.map(|t| (t.tags, ReasoningStream::new(t.tags, t.begun))),
            text: String::new(),
            thought: String::new(),
            answer: String::new(),
        }
    }

    /// Returns `true` once a stop text has been found.
    pub fn stopped(&self) -> bool {
        self.scanner.stopped
    }

    /// Adds a token.
    pub fn push(&mut self, id: u32) -> Delta {
        let decoded = self.decoder.push(id).unwrap_or_default();
        let text = self.scanner.push(&decoded);
        self.delta(text, Some(id))
    }

    /// Returns the text that was held back.
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
        if let Some((_, stream)) = self.thinking.take() {
            let pieces = stream.finish();
            self.add(&pieces);
            delta.pieces.extend(pieces);
        }
        delta
    }

    /// Returns the thinking, if there is any, and the answer without it.
    pub fn parts(&self) -> (Option<String>, String) {
        let thought = self.thought.trim_end();
        ((!thought.is_empty()).then(|| thought.to_owned()), self.answer.clone())
    }

    fn delta(&mut self, text: String, id: Option<u32>) -> Delta {
        let pieces = match &mut self.thinking {
            None if text.is_empty() => Vec::new(),
            None => vec![Piece::Answer(text.clone())],
            Some((tags, stream)) => {
                let mut pieces = stream.push(&text);
                // Special tokens have no text in the answer, but the tags may be special tokens.
                let special = id.filter(|&id| self.tokenizer.special(id)).and_then(|id| self.tokenizer.token(id));
                if let Some(token) = special.filter(|token| tags.is_mark(token)) {
                    pieces.extend(stream.push(token));
                }
                pieces
            }
        };
        self.add(&pieces);
        self.text.push_str(&text);
        Delta { text, pieces }
    }

    fn add(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            match piece {
                Piece::Thought(text) => self.thought.push_str(text),
                Piece::Answer(text) => self.answer.push_str(text),
            }
        }
    }
}
