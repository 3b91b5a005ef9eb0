use crate::{Cancel, EngineError, Generation, Overflow, Thinking};

/// The request for an answer.
#[derive(Debug, Clone)]
pub struct Request {
    /// The tokens of the prompt.
    pub prompt: Vec<u32>,
    /// The settings.
    pub how: Generation,
    /// The tags of the thinking that is separated from the answer.
    pub thinking: Option<Thinking>,
    /// The priority. Answers with a higher one are admitted and computed first, and can displace others.
    pub priority: i32,
    /// The time on the driver's clock, in seconds, at which the answer ends with what it has.
    pub deadline: Option<f64>,
    /// The flag that ends the answer.
    pub cancel: Cancel,
}

impl Request {
    /// Creates a request of priority 0 without a deadline.
    #[must_use]
    pub fn new(prompt: Vec<u32>, how: Generation) -> Self {
        Self { prompt, how, thinking: None, priority: 0, deadline: None, cancel: Cancel::new() }
    }

    /// Sets the flag that ends the answer.
    #[must_use]
    pub fn with_cancel(self, cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..self }
    }

    /// Checks the request for a model with this vocabulary and context, and returns the tokens to begin with.
    pub(crate) fn begin(&self, vocabulary: usize, context: usize) -> Result<Vec<u32>, EngineError> {
        self.how.check(vocabulary, context)?;
        if self.prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if let Some(&token) = self.prompt.iter().find(|&&id| id as usize >= vocabulary) {
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
