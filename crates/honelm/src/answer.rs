use honelm_engine::{Completion, FinishReason};
use serde::{Serialize, Serializer};

/// The answer of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The text, without end tokens and stop texts.
    pub text: String,
    /// The model's thinking before the answer, if it was separated from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The tokens, without the end token.
    pub token_ids: Vec<u32>,
    /// The reason why the answer ended.
    #[serde(serialize_with = "name_of")]
    pub finish_reason: FinishReason,
    /// The number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// The number of those tokens that were in the cache already.
    pub cached_tokens: usize,
    /// The number of tokens of the answer, without the end token.
    pub completion_tokens: usize,
    /// The prompt tokens read per second; `None` if all were in the cache.
    pub prefill_tokens_per_second: Option<f64>,
    /// The tokens written per second after the first; `None` for fewer than two.
    pub decode_tokens_per_second: Option<f64>,
    /// The time from the call to the first token in seconds; `None` if no token was written.
    pub first_token_seconds: Option<f64>,
}

fn name_of<S: Serializer>(reason: &FinishReason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.name())
}

impl From<Completion> for Answer {
    fn from(done: Completion) -> Self {
        Self {
            finish_reason: done.finish_reason,
            prompt_tokens: done.prompt_tokens,
            cached_tokens: done.cached_tokens,
            completion_tokens: done.completion_tokens(),
            prefill_tokens_per_second: done.prefill_tokens_per_second(),
            decode_tokens_per_second: done.decode_tokens_per_second(),
            first_token_seconds: (done.first_token_seconds > 0.0).then_some(done.first_token_seconds),
            text: done.answer,
            reasoning_content: done.reasoning,
            token_ids: done.token_ids,
        }
    }
}
