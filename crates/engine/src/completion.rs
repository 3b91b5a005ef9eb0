use honelm_text::answer::{BrokenCall, Call, Event};

use crate::{Confidence, Likelihood};

/// The reason for the end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or a stop text.
    Stop,
    /// The limit [`crate::Generation::max_tokens`].
    Length,
    /// A full context.
    Context,
    /// The pause [`crate::Request::pause`]. The answer can go on.
    Paused,
    /// The caller, by [`crate::Cancel`].
    Cancelled,
    /// The deadline [`crate::Request::deadline`].
    Deadline,
}

impl FinishReason {
    /// Returns a stable name: `stop`, `length`, `context`, `paused`, `cancelled`, `deadline`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Context => "context",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline",
        }
    }
}

impl std::fmt::Display for FinishReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The log-probability of a token before bias, penalties and temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token.
    pub id: u32,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// The most likely tokens and their log-probabilities, in descending order.
    pub top: Vec<(u32, f32)>,
}

/// A change of an answer that is being generated.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// The progress of prefilling the prompt, or after a shift or a preemption the tokens that were kept.
    Prefill {
        /// The number of tokens that are cached.
        done: usize,
        /// The number of all tokens.
        total: usize,
    },
    /// A token of the answer.
    Token {
        /// The token.
        id: u32,
        /// The text that has become final.
        delta: Delta,
        /// The log-probability, if requested.
        logprobs: Option<TokenLogprobs>,
    },
    /// The text that was held back until the end; never empty.
    Rest(Delta),
}

impl Update {
    /// Returns the text that has become final; empty while the prompt is read.
    #[must_use]
    pub fn text(&self) -> &str {
        self.delta().map_or("", |delta| &delta.text)
    }

    /// Returns the parts of the answer that have become final: text, reasoning, calls.
    #[must_use]
    pub fn parts(&self) -> &[Event] {
        self.delta().map_or(&[], |delta| &delta.parts)
    }

    fn delta(&self) -> Option<&Delta> {
        match self {
            Self::Token { delta, .. } | Self::Rest(delta) => Some(delta),
            Self::Prefill { .. } => None,
        }
    }
}

/// A callback for the updates of an answer. It can end the answer through the [`crate::Cancel`] of the request.
pub type OnUpdate<'u> = &'u mut dyn FnMut(&Update);

/// Text that has become final.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Delta {
    /// Complete characters that are not part of a stop text. They can be those of earlier tokens, or none.
    pub text: String,
    /// The parts that have become final, without tags and marks. Without a parser, this is the same text.
    pub parts: Vec<Event>,
}

impl Delta {
    /// Returns `true` if there is no text and no part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.parts.is_empty()
    }
}

/// A generated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The text, which is the concatenation of the texts of all updates, behind that of [`crate::Request::begun`]. It includes reasoning, calls and their marks, except
    /// those that are special tokens.
    pub text: String,
    /// The reasoning, if it was separated and there is any.
    pub reasoning: Option<String>,
    /// The text without reasoning and calls.
    pub answer: String,
    /// The complete calls of tools.
    pub calls: Vec<Call>,
    /// The broken calls: the reason and the text of each.
    pub broken_calls: Vec<(BrokenCall, String)>,
    /// The tokens, including those of [`crate::Request::begun`] and of a removed stop text, without an end token.
    pub token_ids: Vec<u32>,
    /// The reason for the end.
    pub finish_reason: FinishReason,
    /// The number of tokens in the prompt, without those that a shift dropped before the start.
    pub prompt_tokens: usize,
    /// The number of those tokens that were cached before.
    pub cached_tokens: usize,
    /// The time from the request to the first token, which includes prefill and drawing; 0 if no token was requested.
    pub first_token_seconds: f64,
    /// The time from the first token to the end.
    pub decode_seconds: f64,
    /// The number of tokens drawn in that time, including an end token.
    pub decoded_tokens: usize,
    /// The number of draft tokens that were verified.
    pub drafted_tokens: usize,
    /// The number of those that were accepted. Each saved a step.
    pub accepted_tokens: usize,
    /// One entry for each drawn token of [`Completion::token_ids`], if requested.
    pub logprobs: Vec<TokenLogprobs>,
    /// The pooled hidden states of the prompt, if requested. // `[D]`
    pub embedding: Option<Vec<f32>>,
    /// The likelihoods of the given answers, in their order, if requested.
    pub likelihoods: Option<Vec<Likelihood>>,
    /// The confidence in the first token, if requested and if it was drawn.
    pub confidence: Option<Box<Confidence>>,
}

impl Completion {
    /// Returns the number of tokens in the answer.
    #[must_use]
    pub fn completion_tokens(&self) -> usize {
        self.token_ids.len()
    }

    /// Returns the number of prompt tokens computed per second; `None` if the time was too short to measure.
    #[must_use]
    pub fn prefill_tokens_per_second(&self) -> Option<f64> {
        rate(self.prompt_tokens - self.cached_tokens, self.first_token_seconds)
    }

    /// Returns the number of tokens per second after the first one; `None` if there are none.
    #[must_use]
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        rate(self.decoded_tokens, self.decode_seconds)
    }
}

fn rate(tokens: usize, seconds: f64) -> Option<f64> {
    (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
}
