//! The requests of the Messages API.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fields::{Fields, Num};
use crate::json::{Count, TextOrList, Whole};

/// A request for a message (`POST /v1/messages`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreateMessage {
    /// The name of the model.
    pub model: Option<String>,
    /// The largest number of tokens of the answer, reasoning included. Required.
    pub max_tokens: Option<Count>,
    /// The conversation, which ends with a message of the user. Required.
    pub messages: Vec<MessageParam>,
    /// The system message.
    pub system: Option<TextOrList<Block>>,
    /// `true` for events while the answer is generated.
    pub stream: Option<bool>,
    /// The texts that end the answer.
    pub stop_sequences: Option<Vec<String>>,
    /// The temperature, 0 to 1.
    pub temperature: Option<Num<0, 1>>,
    /// The number of most likely tokens that are kept.
    pub top_k: Option<Whole>,
    /// The probability of the most likely tokens that are kept, 0 to 1.
    pub top_p: Option<Num<0, 1>>,
    /// The tools. Tools that Anthropic runs are ignored.
    pub tools: Option<Vec<ToolParam>>,
    /// The tools that may be called.
    pub tool_choice: Option<ToolChoiceParam>,
    /// The settings of the reasoning.
    pub thinking: Option<ThinkingParam>,
    /// The form of the text.
    pub output_config: Option<OutputConfig>,
    /// `honelm_policy` and `honelm_privacy` are those of a gateway. The rest is accepted, without effect.
    pub metadata: Option<Value>,
    /// Accepted, without effect.
    pub service_tier: Option<String>,
    /// Accepted, without effect: prefixes are always cached.
    pub cache_control: Option<Value>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

/// A request for the number of tokens of a prompt (`POST /v1/messages/count_tokens`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CountTokens {
    /// The name of the model.
    pub model: Option<String>,
    /// The conversation. Required.
    pub messages: Vec<MessageParam>,
    /// The system message.
    pub system: Option<TextOrList<Block>>,
    /// The tools.
    pub tools: Option<Vec<ToolParam>>,
    /// The tools that may be called.
    pub tool_choice: Option<ToolChoiceParam>,
    /// The settings of the reasoning.
    pub thinking: Option<ThinkingParam>,
    /// The form of the text.
    pub output_config: Option<OutputConfig>,
    /// Accepted, without effect: prefixes are always cached.
    pub cache_control: Option<Value>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

/// A message.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MessageParam {
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// The text, or the blocks of content.
    pub content: TextOrList<Block>,
}

/// A block of content. (The API calls it so; it has nothing to do with blocks of weights.)
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Block {
    /// `text`, `thinking`, `redacted_thinking`, `tool_use`, `tool_result`, or `document` with a text, and `image` where an
    /// upstream of a gateway reads images.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    pub text: Option<String>,
    /// The reasoning.
    pub thinking: Option<String>,
    /// The signature of the reasoning, which is not checked.
    pub signature: Option<String>,
    /// Encrypted reasoning of another server, which is ignored.
    pub data: Option<String>,
    /// The id of a call.
    pub id: Option<String>,
    /// The name of the tool that is called.
    pub name: Option<String>,
    /// The arguments of a call.
    pub input: Option<Value>,
    /// The id of the call that a result belongs to.
    pub tool_use_id: Option<String>,
    /// The result of a call.
    pub content: Option<TextOrList<Block>>,
    /// The call failed.
    pub is_error: Option<bool>,
    /// The source of a document.
    pub source: Option<Source>,
    /// The title of a document.
    pub title: Option<String>,
    /// Accepted, without effect: prefixes are always cached.
    pub cache_control: Option<Value>,
    /// Accepted, without effect.
    pub citations: Option<Value>,
}

/// The source of a document.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Source {
    /// `text`; for an image `base64` or `url`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `text/plain`, or the type of an image.
    pub media_type: Option<String>,
    /// The text, or an image in base64.
    pub data: Option<String>,
    /// The address of an image.
    pub url: Option<String>,
}

/// A tool.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ToolParam {
    /// `custom`, the default. Tools of other types are ignored.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The purpose.
    pub description: Option<String>,
    /// The JSON schema of the arguments.
    pub input_schema: Option<Value>,
    /// Accepted, without effect: arguments always follow the schema.
    pub strict: Option<bool>,
    /// Accepted, without effect: prefixes are always cached.
    pub cache_control: Option<Value>,
    /// Accepted, without effect: arguments are always streamed.
    pub eager_input_streaming: Option<bool>,
}

/// The tools that may be called.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ToolChoiceParam {
    /// `auto`, `any`, `tool` or `none`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the tool.
    pub name: Option<String>,
    /// `true` to allow one call only.
    pub disable_parallel_tool_use: Option<bool>,
}

/// The settings of the reasoning.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ThinkingParam {
    /// `enabled`, `adaptive`, `between_tools` or `disabled`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The largest number of tokens of the reasoning. Accepted, without effect.
    pub budget_tokens: Option<Whole>,
    /// `omitted` to leave the reasoning out of the answer.
    pub display: Option<String>,
}

/// The form of the text.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OutputConfig {
    /// Given to the chat template as `reasoning_effort`.
    pub effort: Option<String>,
    /// The format; by default any text.
    pub format: Option<OutputFormat>,
}

/// The format of a text.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OutputFormat {
    /// `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The JSON schema that the text follows.
    pub schema: Option<Value>,
}

impl Fields for CreateMessage {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

impl Fields for CountTokens {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}
