//! The requests of the Responses API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fields::{Fields, Int, Num};
use crate::json::{Count, NameOrObject, TextOrList};

/// A request for a response (`POST /v1/responses`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreateResponse {
    /// The name of the model.
    pub model: Option<String>,
    /// The question: a text, or the items of a conversation.
    pub input: Option<TextOrList<Item>>,
    /// The system message. That of a previous response is not taken over.
    pub instructions: Option<String>,
    /// The response that this one follows. It must have been stored.
    pub previous_response_id: Option<String>,
    /// `true`, the default, to keep the response in memory for later requests.
    pub store: Option<bool>,
    /// `true` for events while the response is generated.
    pub stream: Option<bool>,
    /// The largest number of tokens of the response, reasoning included.
    pub max_output_tokens: Option<Count>,
    /// The temperature, 0 to 2.
    pub temperature: Option<Num<0, 2>>,
    /// The probability of the most likely tokens that are kept, 0 to 1.
    pub top_p: Option<Num<0, 1>>,
    /// The number of most likely tokens to return with each token.
    pub top_logprobs: Option<Int<0, 20>>,
    /// Further outputs: `message.output_text.logprobs`.
    pub include: Option<Vec<String>>,
    /// The tools. Only functions can be called; other types are ignored.
    pub tools: Option<Vec<ToolDefinition>>,
    /// `auto`, `none`, `required`, or the tools that may be called.
    pub tool_choice: Option<NameOrObject<ToolChoiceObject>>,
    /// `false` to allow one call only.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the text.
    pub text: Option<TextSettings>,
    /// The settings of the reasoning.
    pub reasoning: Option<ReasoningSettings>,
    /// `auto` to leave out the oldest items if the context is full.
    pub truncation: Option<String>,
    /// `true` is refused: responses are generated while the client waits.
    pub background: Option<bool>,
    /// Refused: conversations are not stored.
    pub conversation: Option<Value>,
    /// Refused: prompts are not stored.
    pub prompt: Option<Value>,
    /// Data of the client, returned as it is.
    pub metadata: Option<Map<String, Value>>,
    /// An id of the user, returned as it is.
    pub user: Option<String>,
    /// An id of the user, returned as it is.
    pub safety_identifier: Option<String>,
    /// A key of the client's cache, returned as it is. Prefixes are shared whatever the key.
    pub prompt_cache_key: Option<String>,
    /// Accepted, without effect.
    pub service_tier: Option<String>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

/// An item of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Item {
    /// `message` (the default), `function_call`, `function_call_output` or `reasoning`. Other types are ignored.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The id of the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The role of a message: `user`, `assistant`, `system` or `developer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The content of a message or of reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<TextOrList<ContentPart>>,
    /// The summary of reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Vec<ContentPart>>,
    /// The id of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The name of the function that is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The arguments of a call, JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// The result of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<TextOrList<ContentPart>>,
    /// Encrypted reasoning of another server, which is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_content: Option<String>,
    /// The state of the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// A part of an item's content.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ContentPart {
    /// `input_text`, `output_text`, `summary_text`, `reasoning_text`, `text` or `refusal`. `input_image` where an upstream
    /// of a gateway reads images. Audio and files are refused.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The address of an image, which only a gateway passes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// The text of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Annotations of a text, which are ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Vec<Value>>,
    /// Log-probabilities of a text, which are ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<Value>>,
}

/// A tool.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ToolDefinition {
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON schema of the arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Accepted, without effect: arguments always follow the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// The tools that may be called.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ToolChoiceObject {
    /// `function`, or `allowed_tools` for several.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `auto` or `required`, for several functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<ToolDefinition>>,
}

/// The form of the text.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct TextSettings {
    /// The format; by default any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<TextFormat>,
    /// Accepted, without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<String>,
}

/// The format of a text.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct TextFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The description of the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON schema that the text follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Accepted, without effect: the text always follows the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// The settings of the reasoning.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ReasoningSettings {
    /// `none` or `minimal` for no reasoning where the chat template can leave it out; other values are given to the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Accepted, without effect: the reasoning is returned as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// A request for the number of tokens of an input (`POST /v1/responses/input_tokens`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CountInputTokens {
    /// The name of the model.
    pub model: Option<String>,
    /// The question: a text, or the items of a conversation.
    pub input: Option<TextOrList<Item>>,
    /// The system message.
    pub instructions: Option<String>,
    /// The response that the input follows.
    pub previous_response_id: Option<String>,
    /// The tools.
    pub tools: Option<Vec<ToolDefinition>>,
    /// `auto`, `none`, `required`, or the tools that may be called.
    pub tool_choice: Option<NameOrObject<ToolChoiceObject>>,
    /// `false` to allow one call only.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the text.
    pub text: Option<TextSettings>,
    /// The settings of the reasoning.
    pub reasoning: Option<ReasoningSettings>,
    /// `auto` to leave out the oldest items if the context is full.
    pub truncation: Option<String>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

impl Fields for CreateResponse {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

impl Fields for CountInputTokens {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}
