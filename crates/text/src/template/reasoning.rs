//! Reasoning: its tags in a model's output, and a stream that separates it from the answer.

use crate::tokenizer::Tokenizer;

/// The tags around a model's reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reasoning {
    /// The start tag.
    pub open: &'static str,
    /// The end tag.
    pub close: &'static str,
    /// Marks around the answer, which are removed.
    pub answer: &'static [&'static str],
}

/// The tags of published models. Tags that contain others come first.
const KNOWN: [Reasoning; 11] = [
    Reasoning {
        open: "<|channel|>analysis<|message|>",
        close: "<|end|>",
        answer: &["<|start|>assistant<|channel|>final<|message|>", "<|channel|>final<|message|>"],
    },
    Reasoning { open: "<|channel>thought\n", close: "<channel|>", answer: &[] },
    Reasoning { open: "<|inner_prefix|>", close: "<|inner_suffix|>", answer: &[] },
    Reasoning {
        open: "<|START_THINKING|>",
        close: "<|END_THINKING|>",
        answer: &["<|START_RESPONSE|>", "<|END_RESPONSE|>"],
    },
    Reasoning { open: "<|think|>", close: "<|end|>", answer: &["<|begin|>assistant<|content|>"] },
    Reasoning { open: "[THINK]", close: "[/THINK]", answer: &[] },
    Reasoning { open: "<seed:think>", close: "</seed:think>", answer: &[] },
    Reasoning {
        open: "Here are my reasoning steps:",
        close: "[BEGIN FINAL RESPONSE]",
        answer: &["[END FINAL RESPONSE]"],
    },
    Reasoning { open: "◁think▷", close: "◁/think▷", answer: &[] },
    Reasoning { open: "<think>", close: "</think>", answer: &[] },
    Reasoning { open: "<thinking>", close: "</thinking>", answer: &[] },
];

impl Reasoning {
    /// Returns the tags that a chat template writes or searches for, or else those that are tokens of the vocabulary.
    /// Returns `None` if there are none.
    #[must_use]
    pub fn find(template: &str, tokenizer: &Tokenizer) -> Option<Self> {
        // In the strings of a template, a newline is an escape.
        let open = |tags: &Self| template.contains(tags.open.trim_end());
        let written = |tags: &&Self| open(tags) && template.contains(tags.close);
        let is_token = |text: &str| tokenizer.id_of(text).is_some();
        let known = KNOWN.iter().find(written).or_else(|| {
            // Some templates only remove the text before the end tag, and some leave the tags to the tokens.
            let alone = |tags: &&Self| tags.close != "<|end|>" && template.contains(tags.close);
            let tokens = |tags: &&Self| is_token(tags.open) && is_token(tags.close);
            KNOWN.iter().find(alone).or_else(|| KNOWN.iter().find(tokens))
        });
        known.copied()
    }

    /// Returns `true` if a prompt ends inside the reasoning, so that the answer continues it.
    #[must_use]
    pub fn begun(&self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open.trim_end())
    }

    /// Returns all tags and marks.
    fn marks(&self) -> impl Iterator<Item = &'static str> {
        [self.open, self.close].into_iter().chain(self.answer.iter().copied())
    }

    /// Returns `true` if a token's text is part of a tag or mark. Other special tokens are left out of a model's text.
    #[must_use]
    pub fn is_mark(&self, token: &str) -> bool {
        !token.is_empty() && self.marks().any(|mark| mark.contains(token))
    }
}

/// A piece of a model's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Reasoning.
    Thought(String),
    /// The answer.
    Answer(String),
}

/// A stream that separates reasoning from the answer.
#[derive(Debug, Clone)]
pub struct ReasoningStream {
    tags: Reasoning,
    thinks: bool,
    /// Text that may be the beginning of a mark.
    pending: String,
    /// `true` if white space at the start of a part is still to be removed.
    at_start: bool,
}

impl ReasoningStream {
    /// Creates a stream that begins in the reasoning, or in the answer.
    #[must_use]
    pub fn new(tags: Reasoning, thinks: bool) -> Self {
        Self { tags, thinks, pending: String::new(), at_start: true }
    }

    /// Returns `true` inside the reasoning.
    #[must_use]
    pub fn thinks(&self) -> bool {
        self.thinks
    }

    /// Adds text. Returns the pieces that are complete.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.pending.push_str(text);
        let mut pieces = Vec::new();
        loop {
            let pending = std::mem::take(&mut self.pending);
            let marks: Vec<&str> = if self.thinks {
                vec![self.tags.close]
            } else {
                self.tags.marks().filter(|m| *m != self.tags.close).collect()
            };
            // At the same position, the longest mark wins.
            let found = marks
                .iter()
                .filter_map(|mark| Some((pending.find(mark)?, *mark)))
                .min_by_key(|(at, mark)| (*at, std::cmp::Reverse(mark.len())));
            let Some((at, mark)) = found else {
                let certain = pending.len() - begun_mark(&pending, &marks);
                self.give(&pending[..certain], &mut pieces);
                self.pending = pending[certain..].to_owned();
                return pieces;
            };
            self.give(&pending[..at], &mut pieces);
            if mark == self.tags.open || mark == self.tags.close {
                self.thinks = mark == self.tags.open;
            }
            self.at_start = true;
            self.pending = pending[at + mark.len()..].to_owned();
        }
    }

    /// Returns the remaining text.
    #[must_use]
    pub fn finish(mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.pending);
        let mut pieces = Vec::new();
        self.give(&rest, &mut pieces);
        pieces
    }

    fn give(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        let text = if self.at_start { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        self.at_start = false;
        let text = text.to_owned();
        pieces.push(if self.thinks { Piece::Thought(text) } else { Piece::Answer(text) });
    }
}

/// Returns the length of the longest suffix that is the beginning of a mark.
fn begun_mark(text: &str, marks: &[&str]) -> usize {
    let longest = |mark: &&str| {
        let ends = (1..mark.len()).rev().filter(|len| mark.is_char_boundary(*len));
        ends.into_iter().find(|len| text.ends_with(&mark[..*len])).unwrap_or(0)
    };
    marks.iter().map(longest).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINK: Reasoning = KNOWN[9];

    /// Returns the reasoning and the answer of a text that arrives in pieces of `size` characters.
    fn parts(tags: Reasoning, thinks: bool, text: &str, size: usize) -> (String, String) {
        let mut stream = ReasoningStream::new(tags, thinks);
        let chars: Vec<char> = text.chars().collect();
        let mut pieces: Vec<Piece> =
            chars.chunks(size).flat_map(|part| stream.push(&part.iter().collect::<String>())).collect();
        pieces.extend(stream.finish());
        let mut parts = (String::new(), String::new());
        for piece in pieces {
            match piece {
                Piece::Thought(text) => parts.0.push_str(&text),
                Piece::Answer(text) => parts.1.push_str(&text),
            }
        }
        parts
    }

    #[test]
    fn a_text_is_taken_apart_wherever_it_is_cut() {
        let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        for size in [1, 2, 3, 7, 100] {
            assert_eq!(
                parts(THINK, false, "<think>\nwhy\n</think>\n\nso < that </b>", size),
                own("why\n", "so < that </b>")
            );
            assert_eq!(parts(THINK, true, "\nwhy</think>so", size), own("why", "so"));
            assert_eq!(parts(THINK, false, "just an <answer", size), own("", "just an <answer"));
            assert_eq!(parts(THINK, true, "never an end </thin", size), own("never an end </thin", ""));
            assert_eq!(parts(KNOWN[10], false, "<thinking>a <think> b</thinking>c", size), own("a <think> b", "c"));
            let text = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes";
            assert_eq!(parts(KNOWN[0], false, text, size), own("hm", "Yes"));
            assert_eq!(parts(KNOWN[8], false, "◁think▷é◁/think▷ü", size), own("é", "ü"));
        }
    }

    #[test]
    fn a_prompt_that_opens_the_thinking_begins_it() {
        assert!(THINK.begun("<|assistant|><think>\n"));
        assert!(!THINK.begun("<|assistant|><think>\n\n</think>\n\n"));
        assert!(!THINK.begun("<think> is a tag<|assistant|>"));
    }
}
