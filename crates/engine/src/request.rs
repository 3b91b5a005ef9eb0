use honelm_grammar::Matcher;
use honelm_text::answer::AnswerParser;

use crate::{Cancel, EngineError, Generation, Overflow, Pooling, Speculate};

/// The request for an answer.
#[derive(Debug, Clone)]
pub struct Request {
    /// The tokens of the prompt.
    pub prompt: Vec<u32>,
    /// The tokens of the answer that were drawn before. The answer goes on behind them as if it had drawn them itself: they count
    /// against the limit of tokens, and penalties, stop texts, the parser and the grammar know them. Updates do not repeat them.
    pub begun: Vec<u32>,
    /// Tokens that may follow, one behind the other. The first step that draws a token verifies them, so it writes as many of them as
    /// the answer would draw, and one more. They change no token ([`crate::Speculate`]).
    pub draft: Vec<u32>,
    /// The number of tokens, at least 1, after which the answer pauses ([`crate::FinishReason::Paused`]), at the end of a step.
    /// A later request goes on with [`Request::begun`].
    pub pause: Option<usize>,
    /// The settings.
    pub how: Generation,
    /// The grammar that the answer must match, at its start. The answer ends with the grammar.
    pub grammar: Option<Matcher>,
    /// The parser of the answer's parts; without one, all of it is text.
    pub parser: Option<AnswerParser>,
    /// `true` to end the answer where it repeats one of its calls, which is left out of [`crate::Completion::calls`].
    pub unique_calls: bool,
    /// The pooling of the prompt's hidden states. With one, the answer is [`crate::Completion::embedding`], without a text.
    pub embed: Option<Pooling>,
    /// The tokens of given answers. With them, the answer is [`crate::Completion::likelihoods`], without a text.
    pub answers: Option<Vec<Vec<u32>>>,
    /// Measures the confidence in the first token: [`crate::Completion::confidence`].
    pub confidence: bool,
    /// The priority. Answers with a higher one are admitted and computed first, and can displace others.
    pub priority: i32,
    /// The time on the driver's clock, in seconds, at which the answer ends with what it has.
    pub deadline: Option<f64>,
    /// The flag that ends the answer.
    pub cancel: Cancel,
    /// The source of drafts; `None` is the driver's setting.
    pub speculate: Option<Speculate>,
}

impl Request {
    /// Creates a request of priority 0 without a deadline.
    #[must_use]
    pub fn new(prompt: Vec<u32>, how: Generation) -> Self {
        Self {
            prompt,
            begun: Vec::new(),
            draft: Vec::new(),
            pause: None,
            how,
            grammar: None,
            parser: None,
            unique_calls: false,
            embed: None,
            answers: None,
            confidence: false,
            priority: 0,
            deadline: None,
            cancel: Cancel::new(),
            speculate: None,
        }
    }

    /// Creates a request for the embedding of a text.
    #[must_use]
    pub fn embedding(tokens: Vec<u32>, pooling: Pooling) -> Self {
        Self { embed: Some(pooling), ..Self::new(tokens, Generation::greedy(1)) }
    }

    /// Creates a request for the likelihoods of given answers.
    #[must_use]
    pub fn likelihoods(prompt: Vec<u32>, answers: Vec<Vec<u32>>) -> Self {
        Self { answers: Some(answers), ..Self::new(prompt, Generation::greedy(1)) }
    }

    /// Sets the flag that ends the answer.
    #[must_use]
    pub fn with_cancel(self, cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..self }
    }

    /// Sets the grammar that the answer must match.
    #[must_use]
    pub fn with_grammar(self, grammar: Option<Matcher>) -> Self {
        Self { grammar, ..self }
    }

    /// Sets the parser of the answer's parts.
    #[must_use]
    pub fn with_parser(self, parser: Option<AnswerParser>) -> Self {
        Self { parser, ..self }
    }

    /// Checks the request for a model with this vocabulary and context, and returns the tokens of its prompt to begin with.
    pub(crate) fn begin(&self, vocabulary: usize, context: usize) -> Result<Vec<u32>, EngineError> {
        self.how.check(vocabulary, context)?;
        if self.prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if let Some(&token) = self.prompt.iter().chain(&self.begun).find(|&&id| id as usize >= vocabulary) {
            return Err(honelm_backend::BackendError::UnknownToken { token, vocabulary }.into());
        }
        let mut tokens = self.prompt.clone();
        match self.how.overflow {
            Overflow::Stop if tokens.len() > context => {
                Err(EngineError::PromptTooLong { tokens: tokens.len(), context })
            }
            Overflow::Stop => Ok(tokens),
            Overflow::Shift { keep } => {
                while tokens.len() > context {
                    shift(&mut tokens, keep);
                }
                Ok(tokens)
            }
        }
    }
}

/// Drops the older half of the tokens after the first `keep`, and at least one.
pub(crate) fn shift(tokens: &mut Vec<u32>, keep: usize) {
    let keep = keep.min(tokens.len() - 1);
    let dropped = (tokens.len() - keep).div_ceil(2);
    tokens.drain(keep..keep + dropped);
}
