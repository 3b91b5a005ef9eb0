use honelm_engine::{Completion, FinishReason};
use honelm_text::answer::Call;
use serde::{Serialize, Serializer};

/// The answer of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The text, without end tokens, stop texts, reasoning and calls.
    pub text: String,
    /// The model's reasoning before the answer, if it was separated from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The calls of tools, in JSON in OpenAI's form.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "in_openai_form")]
    pub tool_calls: Vec<Call>,
    /// The calls that are broken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub broken_calls: Vec<BrokenToolCall>,
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
    /// The number of draft tokens that were verified.
    pub drafted_tokens: usize,
    /// The number of those that were accepted. Each saved a step.
    pub accepted_tokens: usize,
    /// The prompt tokens read per second; `None` if all were in the cache.
    pub prefill_tokens_per_second: Option<f64>,
    /// The tokens written per second after the first; `None` for fewer than two.
    pub decode_tokens_per_second: Option<f64>,
    /// The time from the call to the first token in seconds; `None` if no token was written.
    pub first_token_seconds: Option<f64>,
}

/// A call that is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenToolCall {
    /// The stable name of the reason.
    pub code: &'static str,
    /// The reason.
    pub message: String,
    /// The text of the call.
    pub text: String,
}

fn in_openai_form<S: Serializer>(calls: &[Call], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(calls.iter().map(Call::to_value))
}

fn name_of<S: Serializer>(reason: &FinishReason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.name())
}

impl From<Completion> for Answer {
    fn from(done: Completion) -> Self {
        let broken = done.broken_calls.iter().map(|(reason, text)| BrokenToolCall {
            code: reason.code(),
            message: reason.to_string(),
            text: text.clone(),
        });
        Self {
            finish_reason: done.finish_reason,
            prompt_tokens: done.prompt_tokens,
            cached_tokens: done.cached_tokens,
            completion_tokens: done.completion_tokens(),
            drafted_tokens: done.drafted_tokens,
            accepted_tokens: done.accepted_tokens,
            prefill_tokens_per_second: done.prefill_tokens_per_second(),
            decode_tokens_per_second: done.decode_tokens_per_second(),
            first_token_seconds: (done.first_token_seconds > 0.0).then_some(done.first_token_seconds),
            text: done.answer,
            reasoning_content: done.reasoning,
            tool_calls: done.calls,
            broken_calls: broken.collect(),
            token_ids: done.token_ids,
        }
    }
}
