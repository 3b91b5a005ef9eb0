use std::collections::BTreeMap;

use honelm_backend::Sampling;

use crate::EngineError;

/// The action when the context is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// Ends the answer with [`crate::FinishReason::Context`], and refuses prompts that are longer than the context.
    #[default]
    Stop,
    /// Keeps the first `keep` tokens, drops the older half of the others, and prefills the rest again.
    Shift {
        /// The number of tokens at the start that are kept.
        keep: usize,
    },
}

/// The settings for generating text.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The maximum number of tokens in the answer.
    pub max_tokens: usize,
    /// The temperature; 0 is greedy and draws the most likely token, of equally likely ones that with the lowest id.
    pub temperature: f32,
    /// The number of most likely tokens that are kept; 0 keeps all.
    pub top_k: u32,
    /// The probability that the smallest set of most likely tokens must reach to be kept; 1 keeps all.
    pub top_p: f32,
    /// The probability, relative to that of the most likely token, that a token must have to be kept; 0 keeps all.
    pub min_p: f32,
    /// The seed of the draws. The same seed gives the same text.
    pub seed: u64,
    /// A number of the sequence. Sequences with the same seed and different numbers are drawn independently.
    pub stream: u64,
    /// The divisor of positive logits and the factor on negative ones for the last [`Generation::repeat_last_n`] tokens
    /// (Keskar et al. 2019, as in llama.cpp); 1 disables it.
    pub repeat_penalty: f32,
    /// The number of last tokens, including those of the prompt, that the repeat penalty applies to.
    pub repeat_last_n: usize,
    /// The amount subtracted from a token's logit for each occurrence in the answer (as OpenAI's API); 0 disables it.
    pub frequency_penalty: f32,
    /// The amount subtracted from the logit of each token in the answer (as OpenAI's API); 0 disables it.
    pub presence_penalty: f32,
    /// The amounts added to the logits of tokens; minus infinity bans a token.
    pub logit_bias: BTreeMap<u32, f32>,
    /// The texts that end the answer and are not part of it. The text of a special token means that token.
    pub stop: Vec<String>,
    /// Further tokens that end the answer.
    pub stop_tokens: Vec<u32>,
    /// `true` to ban the model's own end tokens, so that the answer has `max_tokens` tokens.
    pub ignore_eos: bool,
    /// The number of most likely tokens whose log-probabilities are returned with that of each drawn token; `None` for none
    /// at all.
    pub logprobs: Option<usize>,
    /// The action when the context is full.
    pub overflow: Overflow,
    /// `true` if the answer continues a text, so that the leading space of a SentencePiece text is kept.
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
    /// Returns settings that draw the most likely token each time.
    #[must_use]
    pub fn greedy(max_tokens: usize) -> Self {
        Self { max_tokens, temperature: 0.0, ..Self::default() }
    }

    /// Returns these settings without end tokens and stop texts.
    #[must_use]
    pub fn without_ends(self) -> Self {
        Self { ignore_eos: true, stop: Vec::new(), stop_tokens: Vec::new(), ..self }
    }

    /// Returns the settings with which the back end draws tokens.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        let Self { temperature, top_k, top_p, min_p, seed, stream, .. } = *self;
        Sampling { temperature, top_k, top_p, min_p, seed, stream }
    }

    /// Checks every setting for a model with this vocabulary and context.
    ///
    /// # Errors
    /// [`EngineError::InvalidSetting`] for the first invalid setting.
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
