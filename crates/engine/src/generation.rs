use std::collections::BTreeMap;

use honelm_backend::Sampling;

use crate::EngineError;

/// What happens when the context is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The answer ends with [`FinishReason::Context`]; a prompt that is longer than the context is refused.
    #[default]
    Stop,
    /// The first `keep` tokens stay, the older half of the others is dropped, and what follows is prefilled again.
    Shift {
        /// Tokens at the start that stay.
        keep: usize,
    },
}

/// How a text is generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// 0 is greedy: the most likely token, the lowest id among equals.
    pub temperature: f32,
    /// Keep the `top_k` most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set of most likely tokens whose probabilities reach `top_p`; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least `min_p` times as likely as the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Seed of the draws: the same seed gives the same text.
    pub seed: u64,
    /// The user's own number of the sequence; sequences of one seed and different numbers draw independently.
    pub stream: u64,
    /// Logits of tokens among the last [`Generation::repeat_last_n`] are divided by it where positive, multiplied
    /// where negative (Keskar et al. 2019, as llama.cpp); 1 is off.
    pub repeat_penalty: f32,
    /// How many tokens back, prompt included, the repeat penalty looks.
    pub repeat_last_n: usize,
    /// Taken from a token's logit for each time that it stands in the answer (as OpenAI); 0 is off.
    pub frequency_penalty: f32,
    /// Taken from a token's logit once when it stands in the answer (as OpenAI); 0 is off.
    pub presence_penalty: f32,
    /// Added to the logits of tokens; minus infinity bans one.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Texts that end the answer and are not part of it. One that is the text of a special token is that token.
    pub stop: Vec<String>,
    /// Further tokens that end the answer.
    pub stop_tokens: Vec<u32>,
    /// Bans the model's own end tokens, so that the answer goes on to `max_tokens`.
    pub ignore_eos: bool,
    /// Log-probabilities of each token and of this many of the most likely ones.
    pub logprobs: Option<usize>,
    /// What happens when the context is full.
    pub overflow: Overflow,
    /// Whether the answer continues a text: then a SentencePiece text's leading space is kept.
    pub continues: bool,
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            max_tokens: 512,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            seed: 0,
            stream: 0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            overflow: Overflow::Stop,
            continues: false,
        }
    }
}

impl Generation {
    /// The most likely token each time.
    #[must_use]
    pub fn greedy(max_tokens: usize) -> Self {
        Self { max_tokens, temperature: 0.0, ..Self::default() }
    }

    /// These without anything that ends the model's answers by itself, its end tokens and stop texts.
    #[must_use]
    pub fn without_ends(self) -> Self {
        Self { ignore_eos: true, stop: Vec::new(), stop_tokens: Vec::new(), ..self }
    }

    /// The settings that the back end draws by.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        let Self { temperature, top_k, top_p, min_p, seed, stream, .. } = *self;
        Sampling { temperature, top_k, top_p, min_p, seed, stream }
    }

    /// Checks every setting for a model with this vocabulary and context.
    ///
    /// # Errors
    /// [`EngineError::InvalidSetting`] naming the first setting that has no meaning.
    pub fn check(&self, vocabulary: usize, context: usize) -> Result<(), EngineError> {
        let invalid = |name, found: String, expected| Err(EngineError::InvalidSetting { name, found, expected });
        let Self { temperature, top_p, min_p, .. } = *self;
        let positive = [("temperature", temperature), ("min_p", min_p), ("top_p", top_p)];
        for (name, value) in positive {
            if !(value.is_finite() && value >= 0.0) {
                return invalid(name, value.to_string(), "a number of at least 0");
            }
            if name != "temperature" && value > 1.0 {
                return invalid(name, value.to_string(), "a number between 0 and 1");
            }
        }
        if !(self.repeat_penalty.is_finite() && self.repeat_penalty > 0.0) {
            return invalid("repeat_penalty", self.repeat_penalty.to_string(), "a number above 0");
        }
        for (name, value) in
            [("frequency_penalty", self.frequency_penalty), ("presence_penalty", self.presence_penalty)]
        {
            if !value.is_finite() {
                return invalid(name, value.to_string(), "a number");
            }
        }
        for (&id, &bias) in &self.logit_bias {
            if id as usize >= vocabulary {
                return invalid("logit_bias", format!("token {id}"), "a token of the vocabulary");
            }
            if bias.is_nan() || bias == f32::INFINITY {
                return invalid("logit_bias", format!("{bias} for token {id}"), "a number or minus infinity");
            }
        }
        if self.stop.iter().any(String::is_empty) {
            return invalid("stop", "an empty text".to_owned(), "texts of at least one character");
        }
        if let Overflow::Shift { keep } = self.overflow
            && keep.saturating_add(4) > context
        {
            return invalid("keep", keep.to_string(), "at least 4 tokens fewer than the context holds");
        }
        Ok(())
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or a stop text.
    Stop,
    /// `max_tokens`.
    Length,
    /// The context is full.
    Context,
    /// The caller wished so.
    Cancelled,
}

impl FinishReason {
    /// Its stable name: `stop`, `length`, `context`, `cancelled`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Context => "context",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::fmt::Display for FinishReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A token's log-probability by the model itself: before bias, penalties and temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token.
    pub id: u32,
    /// Its natural log-probability.
    pub logprob: f32,
    /// The most likely tokens and theirs, in descending order.
    pub top: Vec<(u32, f32)>,
}

/// What happens while a text is generated; the callback's answer says whether to go on.
#[derive(Debug, Clone, PartialEq)]
pub enum Update<'a> {
    /// Tokens of the prompt (or, after a shift, of what is kept) that are done, and all of them.
    Prefill {
        /// Tokens that need not, or no longer, be computed.
        done: usize,
        /// Tokens in all.
        total: usize,
    },
    /// A token of the answer.
    Token {
        /// The token.
        id: u32,
        /// Text that is certain now: whole characters, and no part of a stop text. Often that of earlier tokens; may
        /// be empty.
        text: &'a str,
        /// Its log-probability, where asked for.
        logprobs: Option<&'a TokenLogprobs>,
    },
    /// Text that was held back and is certain at the end; never empty.
    Rest(&'a str),
}

/// A generated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The text: what the updates' texts add up to.
    pub text: String,
    /// Every token that was drawn, those of a cut-off stop text included, an end token not.
    pub token_ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt, without those that a shift dropped before the start.
    pub prompt_tokens: usize,
    /// Of them, those that were cached already.
    pub cached_tokens: usize,
    /// From the call to the first token, a prefill and a draw; 0 where none was asked for.
    pub first_token_seconds: f64,
    /// From the first token to the end.
    pub decode_seconds: f64,
    /// Tokens that were drawn in that time, an end token included.
    pub decoded_tokens: usize,
    /// One entry for each of [`Completion::token_ids`], where asked for.
    pub logprobs: Vec<TokenLogprobs>,
}

impl Completion {
    /// Tokens of the answer.
    #[must_use]
    pub fn completion_tokens(&self) -> usize {
        self.token_ids.len()
    }

    /// Prompt tokens computed a second; `None` where the time was too short to measure.
    #[must_use]
    pub fn prefill_tokens_per_second(&self) -> Option<f64> {
        rate(self.prompt_tokens - self.cached_tokens, self.first_token_seconds)
    }

    /// Tokens a second after the first one; `None` where there are none.
    #[must_use]
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        rate(self.decoded_tokens, self.decode_seconds)
    }
}

fn rate(tokens: usize, seconds: f64) -> Option<f64> {
    (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
}
