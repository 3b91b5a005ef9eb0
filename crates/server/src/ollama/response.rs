//! The objects that Ollama's API returns.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::gateway::About;

/// An answer, or the next part of one.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AnswerLine {
    /// The name of the model.
    pub model: String,
    /// The time in RFC 3339.
    pub created_at: String,
    /// The message of a chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<AnswerMessage>,
    /// The continuation of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// The reasoning before the continuation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// The log-probabilities of the tokens, if requested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<Value>,
    /// `true` at the end.
    pub done: bool,
    /// The reason for the end: `stop`, `length`, `load` or `unload`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_reason: Option<&'static str>,
    /// The figures at the end.
    #[serde(flatten)]
    pub figures: Option<AnswerFigures>,
    /// The route of the answer through a gateway, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub honelm: Option<Box<About>>,
}

/// A message of the model.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct AnswerMessage {
    /// `assistant`.
    pub role: &'static str,
    /// The text.
    pub content: String,
    /// The reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// The calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<AnswerCall>,
}

/// A call of a tool.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AnswerCall {
    /// The id.
    pub id: String,
    /// The tool and its arguments.
    pub function: AnswerFunction,
}

/// The tool of a call and its arguments.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AnswerFunction {
    /// The number of the call.
    pub index: usize,
    /// The name of the tool.
    pub name: String,
    /// The arguments, an object.
    pub arguments: Value,
}

/// The figures of an answer. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AnswerFigures {
    /// The time of the whole request.
    pub total_duration: u64,
    /// The time that the model took to load.
    pub load_duration: u64,
    /// The number of tokens of the prompt.
    pub prompt_eval_count: u64,
    /// The time to the first token.
    pub prompt_eval_duration: u64,
    /// The number of tokens of the answer.
    pub eval_count: u64,
    /// The time from the first token to the end.
    pub eval_duration: u64,
}

/// The models that can be opened by name.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Tags {
    /// The models.
    pub models: Vec<TagModel>,
}

/// A model that can be opened by name.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TagModel {
    /// The name.
    pub name: String,
    /// The name.
    pub model: String,
    /// The time of the newest file in RFC 3339.
    pub modified_at: String,
    /// The size of the weights' files in bytes.
    pub size: u64,
    /// A digest of the names, sizes and times of the files.
    pub digest: String,
    /// The kind of model.
    pub details: Details,
}

/// The kind of model.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Details {
    /// Empty.
    pub parent_model: String,
    /// `gguf`, `safetensors`, or a quantised format.
    pub format: String,
    /// The architecture.
    pub family: String,
    /// The architecture alone.
    pub families: Vec<String>,
    /// The number of parameters: `1.5B`.
    pub parameter_size: String,
    /// The encoding of most of the weights.
    pub quantization_level: String,
}

/// A model.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShowResponse {
    /// The settings of the model, a line each.
    pub parameters: String,
    /// The chat template, in Jinja.
    pub template: String,
    /// The model's file in Ollama's language: only its source.
    pub modelfile: String,
    /// The kind of model.
    pub details: Details,
    /// The metadata, under the names of GGUF.
    pub model_info: Map<String, Value>,
    /// The abilities: `completion`, `tools`, `insert`, `thinking`, `embedding`.
    pub capabilities: Vec<&'static str>,
    /// The time of the newest file in RFC 3339.
    pub modified_at: String,
}

/// The loaded models.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Processes {
    /// The models.
    pub models: Vec<Process>,
}

/// A loaded model.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Process {
    /// The name.
    pub name: String,
    /// The name.
    pub model: String,
    /// The memory in bytes.
    pub size: u64,
    /// The part of it on a GPU, in bytes.
    pub size_vram: u64,
    /// As in [`TagModel::digest`].
    pub digest: String,
    /// The kind of model.
    pub details: Details,
    /// The time at which it is unloaded, in RFC 3339.
    pub expires_at: String,
    /// The context in tokens.
    pub context_length: u64,
}

/// The version.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Version {
    /// The version of Ollama whose API is served.
    pub version: &'static str,
    /// The version of HoneLM.
    pub honelm: &'static str,
}

/// The progress of a transfer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Progress {
    /// The state: `pulling manifest`, `pulling FILE`, `success`.
    pub status: String,
    /// The name of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The bytes of all files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The bytes that have arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
}

/// Embeddings.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EmbedResponse {
    /// The name of the model.
    pub model: String,
    /// An embedding for each text.
    pub embeddings: Vec<Vec<f32>>,
    /// The time of the whole request in nanoseconds.
    pub total_duration: u64,
    /// The time that the model took to load, in nanoseconds.
    pub load_duration: u64,
    /// The number of tokens of all texts.
    pub prompt_eval_count: u64,
}

/// An embedding.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EmbeddingsResponse {
    /// The values.
    pub embedding: Vec<f32>,
}

/// An error.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorResponse {
    /// The message.
    pub error: String,
}
