//! The requests of Ollama's API.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fields::{Fields, Int, Num, OneOrMany};
use crate::json::{Count, Whole};

/// A request for the next message of a conversation (`POST /api/chat`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChatRequest {
    /// The name of the model. Required.
    pub model: Option<String>,
    /// The conversation. Without any, the model is loaded, or unloaded if `keep_alive` is 0.
    pub messages: Option<Vec<ChatMessage>>,
    /// The tools.
    pub tools: Option<Value>,
    /// `json` for a JSON object, or the JSON schema that the text follows.
    pub format: Option<Value>,
    /// The settings of the sampling.
    pub options: Option<Options>,
    /// `true`, the default, for lines of JSON while the answer is generated.
    pub stream: Option<bool>,
    /// The time that the model stays loaded after the answer: seconds, or a text such as `5m`. Negative for no limit.
    pub keep_alive: Option<Value>,
    /// `true` for reasoning, `false` for none where the chat template can leave it out, or `low`, `medium`, `high`.
    pub think: Option<Value>,
    /// `true` to return the log-probabilities of the tokens.
    pub logprobs: Option<bool>,
    /// The number of most likely tokens to return with each token, at most 20.
    pub top_logprobs: Option<Int<0, 20>>,
    /// `true`, the default, to leave out the oldest messages or tokens if the context is full; otherwise the prompt is refused.
    pub truncate: Option<bool>,
    /// The same for an answer that fills the context; both must be `true`.
    pub shift: Option<bool>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

/// A message.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: Option<String>,
    /// The reasoning of the model.
    pub thinking: Option<String>,
    /// Images, which are refused.
    pub images: Option<Vec<Value>>,
    /// The calls of the model.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The name of the tool whose result this is.
    pub tool_name: Option<String>,
    /// The id of the call whose result this is.
    pub tool_call_id: Option<String>,
}

/// A call of a tool.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ToolCall {
    /// The id of the call.
    pub id: Option<String>,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The tool and its arguments.
    pub function: FunctionCall,
}

/// The tool of a call and its arguments.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FunctionCall {
    /// The number of the call.
    pub index: Option<Whole>,
    /// The name of the tool.
    pub name: String,
    /// The arguments.
    pub arguments: Value,
}

/// A request for the continuation of a text (`POST /api/generate`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GenerateRequest {
    /// The name of the model. Required.
    pub model: Option<String>,
    /// The text. Without any, the model is loaded, or unloaded if `keep_alive` is 0.
    pub prompt: Option<String>,
    /// The text that follows the answer, for models that fill gaps.
    pub suffix: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// Refused: the model's own chat template is used.
    pub template: Option<String>,
    /// `true` to continue the text without the chat template.
    pub raw: Option<bool>,
    /// Images, which are refused.
    pub images: Option<Vec<Value>>,
    /// `json` for a JSON object, or the JSON schema that the text follows.
    pub format: Option<Value>,
    /// The settings of the sampling.
    pub options: Option<Options>,
    /// `true`, the default, for lines of JSON while the answer is generated.
    pub stream: Option<bool>,
    /// The time that the model stays loaded after the answer: seconds, or a text such as `5m`. Negative for no limit.
    pub keep_alive: Option<Value>,
    /// `true` for reasoning, `false` for none where the chat template can leave it out, or `low`, `medium`, `high`.
    pub think: Option<Value>,
    /// `true` to return the log-probabilities of the tokens.
    pub logprobs: Option<bool>,
    /// The number of most likely tokens to return with each token, at most 20.
    pub top_logprobs: Option<Int<0, 20>>,
    /// `true`, the default, to leave out the oldest messages or tokens if the context is full; otherwise the prompt is refused.
    pub truncate: Option<bool>,
    /// The same for an answer that fills the context; both must be `true`.
    pub shift: Option<bool>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

/// The settings of the sampling. Those of Ollama's own engine, such as `num_gpu`, are ignored.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Options {
    /// The largest number of tokens of the answer; -1 for no limit but the context.
    pub num_predict: Option<Int<-2, { i32::MAX as i64 }>>,
    /// The temperature.
    pub temperature: Option<Num<0, 100>>,
    /// The number of most likely tokens that are kept.
    pub top_k: Option<Whole>,
    /// The probability of the most likely tokens that are kept, 0 to 1.
    pub top_p: Option<Num<0, 1>>,
    /// The least probability of a token that is kept, relative to that of the most likely one.
    pub min_p: Option<Num<0, 1>>,
    /// The seed of the draws.
    pub seed: Option<Int<{ i64::MIN }, { i64::MAX }>>,
    /// The texts that end the answer.
    pub stop: Option<OneOrMany<String>>,
    /// The divisor of the logits of the last tokens.
    pub repeat_penalty: Option<Num<0, 100>>,
    /// The number of last tokens that the penalty applies to; -1 for the whole context.
    pub repeat_last_n: Option<Int<-1, { i32::MAX as i64 }>>,
    /// The amount subtracted from the logits of the answer's tokens.
    pub presence_penalty: Option<Num<-100, 100>>,
    /// The amount subtracted from the logits of the answer's tokens for each occurrence.
    pub frequency_penalty: Option<Num<-100, 100>>,
    /// Accepted, without effect: the context is that with which the model was loaded.
    pub num_ctx: Option<Whole>,
}

/// A request about a model (`POST /api/show`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ShowRequest {
    /// The name of the model. Required, here or in `name`.
    pub model: Option<String>,
    /// An older name of `model`.
    pub name: Option<String>,
    /// `true` to list the tensors.
    pub verbose: Option<bool>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

/// A request for a model from the Hugging Face Hub (`POST /api/pull`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PullRequest {
    /// The model: `ORG/REPO`, `ORG/REPO:QUANT`, or with `hf.co/` before it. Required, here or in `name`.
    pub model: Option<String>,
    /// An older name of `model`.
    pub name: Option<String>,
    /// `true` is refused: connections are always encrypted.
    pub insecure: Option<bool>,
    /// `true`, the default, for lines of JSON during the transfer.
    pub stream: Option<bool>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

/// A request for embeddings (`POST /api/embed`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EmbedRequest {
    /// The name of the model. Required.
    pub model: Option<String>,
    /// The text, or several. Required.
    pub input: Option<OneOrMany<String>>,
    /// `true`, the default, to cut off what the context cannot hold; otherwise it is refused.
    pub truncate: Option<bool>,
    /// The number of values of each embedding.
    pub dimensions: Option<Count>,
    /// Accepted, without effect.
    pub options: Option<Value>,
    /// The time that the model stays loaded afterwards.
    pub keep_alive: Option<Value>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

/// A request for an embedding (`POST /api/embeddings`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EmbeddingsRequest {
    /// The name of the model. Required.
    pub model: Option<String>,
    /// The text. Required.
    pub prompt: Option<String>,
    /// Accepted, without effect.
    pub options: Option<Value>,
    /// The time that the model stays loaded afterwards.
    pub keep_alive: Option<Value>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

impl Fields for ChatRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

impl Fields for GenerateRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

impl Fields for ShowRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

impl Fields for PullRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

impl Fields for EmbedRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

impl Fields for EmbeddingsRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}
