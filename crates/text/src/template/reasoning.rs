//! Reasoning: its tags in a model's output.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answer, AnswerParser};

    const THINK: Reasoning = KNOWN[9];

    /// Returns the reasoning and the answer of a text that arrives in pieces of `size` characters.
    fn parts(tags: Reasoning, begun: bool, text: &str, size: usize) -> (String, String) {
        let parser = AnswerParser::new(Some(tags), None, [], 0);
        let mut parser = if begun { parser.in_reasoning() } else { parser };
        let chars: Vec<char> = text.chars().collect();
        let mut answer = Answer::default();
        for piece in chars.chunks(size) {
            answer.extend(&parser.push(&piece.iter().collect::<String>()));
        }
        answer.extend(&parser.finish());
        (answer.reasoning, answer.text)
    }

    #[test]
    fn a_text_is_taken_apart_wherever_it_is_cut() {
        let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        for size in [1, 2, 3, 7, 100] {
            assert_eq!(
                parts(THINK, false, "<think>\nwhy\n</think>\n\nso < that </b>", size),
                own("why", "so < that </b>")
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
