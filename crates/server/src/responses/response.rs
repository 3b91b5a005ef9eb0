//! The objects and events that the Responses API returns.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::request::{Item, ReasoningSettings, TextSettings, ToolDefinition};
use crate::gateway::About;

/// A response.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ResponseObject {
    /// The id: `resp_` and 32 hexadecimal digits.
    pub id: String,
    /// `response`.
    pub object: &'static str,
    /// The time of the request in seconds since 1970.
    pub created_at: u64,
    /// The time of the end in seconds since 1970.
    pub completed_at: Option<u64>,
    /// The state.
    pub status: Status,
    /// The cause of a failure.
    pub error: Option<ResponseError>,
    /// The cause of an incomplete response.
    pub incomplete_details: Option<IncompleteDetails>,
    /// The system message.
    pub instructions: Option<String>,
    /// The largest number of tokens.
    pub max_output_tokens: Option<u64>,
    /// The name of the model.
    pub model: String,
    /// The items that the model wrote.
    pub output: Vec<OutputItem>,
    /// Several calls are allowed.
    pub parallel_tool_calls: bool,
    /// The response that this one follows.
    pub previous_response_id: Option<String>,
    /// The settings of the reasoning.
    pub reasoning: ReasoningSettings,
    /// The response is kept in memory.
    pub store: bool,
    /// The temperature.
    pub temperature: Option<f64>,
    /// The form of the text.
    pub text: TextSettings,
    /// The tools that may be called, as they were given.
    pub tool_choice: Value,
    /// The tools.
    pub tools: Vec<ToolDefinition>,
    /// The number of most likely tokens returned with each token.
    pub top_logprobs: u64,
    /// The probability of the most likely tokens that are kept.
    pub top_p: Option<f64>,
    /// `auto` or `disabled`.
    pub truncation: String,
    /// The numbers of tokens; null until the end.
    pub usage: Option<Usage>,
    /// The id of the user.
    pub user: Option<String>,
    /// The id of the user.
    pub safety_identifier: Option<String>,
    /// The key of the client's cache.
    pub prompt_cache_key: Option<String>,
    /// Data of the client.
    pub metadata: Map<String, Value>,
    /// `false`.
    pub background: bool,
    /// `default`.
    pub service_tier: &'static str,
    /// The route of the response through a gateway, at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub honelm: Option<Box<About>>,
}

/// The state of a response or an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is being written.
    InProgress,
    /// It is complete.
    Completed,
    /// It ended early.
    Incomplete,
    /// It failed.
    Failed,
}

/// The cause of a failure.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ResponseError {
    /// A stable name.
    pub code: String,
    /// The message.
    pub message: String,
}

/// The cause of an incomplete response.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct IncompleteDetails {
    /// `max_output_tokens`, which also stands for a full context.
    pub reason: &'static str,
}

/// The numbers of tokens.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Usage {
    /// The tokens of the prompt.
    pub input_tokens: u64,
    /// Those of them that are counted apart.
    pub input_tokens_details: InputTokensDetails,
    /// The tokens of the response.
    pub output_tokens: u64,
    /// Those of them that are counted apart.
    pub output_tokens_details: OutputTokensDetails,
    /// All tokens.
    pub total_tokens: u64,
}

/// Tokens of the prompt that are counted apart.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct InputTokensDetails {
    /// The tokens that were cached before.
    pub cached_tokens: u64,
}

/// Tokens of the response that are counted apart.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct OutputTokensDetails {
    /// The tokens of the reasoning.
    pub reasoning_tokens: u64,
}

/// An item that the model wrote.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// A text.
    Message {
        /// The id.
        id: String,
        /// The state.
        status: Status,
        /// `assistant`.
        role: &'static str,
        /// The parts.
        content: Vec<OutputPart>,
    },
    /// Reasoning.
    Reasoning {
        /// The id.
        id: String,
        /// The state.
        status: Status,
        /// Empty: the reasoning is not summarised.
        summary: Vec<Value>,
        /// The parts.
        content: Vec<OutputPart>,
    },
    /// A call of a function.
    FunctionCall {
        /// The id of the item.
        id: String,
        /// The state.
        status: Status,
        /// The id of the call, which its result repeats.
        call_id: String,
        /// The name of the function.
        name: String,
        /// The arguments, JSON text.
        arguments: String,
    },
}

/// A part of an item.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputPart {
    /// Text for the user.
    OutputText {
        /// The text.
        text: String,
        /// Empty.
        annotations: Vec<Value>,
        /// The log-probabilities of the tokens, if requested.
        logprobs: Vec<Value>,
    },
    /// Reasoning.
    ReasoningText {
        /// The text.
        text: String,
    },
}

/// An event of a stream, with its number.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Numbered {
    /// The event.
    #[serde(flatten)]
    pub event: ResponseEvent,
    /// The number of the event in its stream, from 0.
    pub sequence_number: u64,
}

/// An event of a stream.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub enum ResponseEvent {
    /// The response was created.
    #[serde(rename = "response.created")]
    Created {
        /// The response.
        response: Box<ResponseObject>,
    },
    /// The response is being written.
    #[serde(rename = "response.in_progress")]
    InProgress {
        /// The response.
        response: Box<ResponseObject>,
    },
    /// An item begins.
    #[serde(rename = "response.output_item.added")]
    ItemAdded {
        /// The index of the item.
        output_index: usize,
        /// The item, which is empty.
        item: OutputItem,
    },
    /// A part of an item begins.
    #[serde(rename = "response.content_part.added")]
    PartAdded {
        /// The id of the item.
        item_id: String,
        /// The index of the item.
        output_index: usize,
        /// The index of the part.
        content_index: usize,
        /// The part, which is empty.
        part: OutputPart,
    },
    /// Text.
    #[serde(rename = "response.output_text.delta")]
    TextDelta {
        /// The id of the item.
        item_id: String,
        /// The index of the item.
        output_index: usize,
        /// The index of the part.
        content_index: usize,
        /// The text.
        delta: String,
        /// The log-probabilities of the tokens, if requested.
        logprobs: Vec<Value>,
    },
    /// A text is complete.
    #[serde(rename = "response.output_text.done")]
    TextDone {
        /// The id of the item.
        item_id: String,
        /// The index of the item.
        output_index: usize,
        /// The index of the part.
        content_index: usize,
        /// The text.
        text: String,
        /// The log-probabilities of the tokens, if requested.
        logprobs: Vec<Value>,
    },
    /// Reasoning.
    #[serde(rename = "response.reasoning_text.delta")]
    ReasoningDelta {
        /// The id of the item.
        item_id: String,
        /// The index of the item.
        output_index: usize,
        /// The index of the part.
        content_index: usize,
        /// The text.
        delta: String,
    },
    /// Reasoning is complete.
    #[serde(rename = "response.reasoning_text.done")]
    ReasoningDone {
        /// The id of the item.
        item_id: String,
        /// The index of the item.
        output_index: usize,
        /// The index of the part.
        content_index: usize,
        /// The text.
        text: String,
    },
    /// A part of an item is complete.
    #[serde(rename = "response.content_part.done")]
    PartDone {
        /// The id of the item.
        item_id: String,
        /// The index of the item.
        output_index: usize,
        /// The index of the part.
        content_index: usize,
        /// The part.
        part: OutputPart,
    },
    /// The next part of a call's arguments.
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta {
        /// The id of the item.
        item_id: String,
        /// The index of the item.
        output_index: usize,
        /// The JSON text.
        delta: String,
    },
    /// The arguments of a call are complete.
    #[serde(rename = "response.function_call_arguments.done")]
    ArgumentsDone {
        /// The id of the item.
        item_id: String,
        /// The index of the item.
        output_index: usize,
        /// The name of the function.
        name: String,
        /// The JSON text.
        arguments: String,
    },
    /// An item is complete.
    #[serde(rename = "response.output_item.done")]
    ItemDone {
        /// The index of the item.
        output_index: usize,
        /// The item.
        item: OutputItem,
    },
    /// The response is complete.
    #[serde(rename = "response.completed")]
    Completed {
        /// The response.
        response: Box<ResponseObject>,
    },
    /// The response ended early.
    #[serde(rename = "response.incomplete")]
    Incomplete {
        /// The response.
        response: Box<ResponseObject>,
    },
    /// The response failed.
    #[serde(rename = "response.failed")]
    Failed {
        /// The response.
        response: Box<ResponseObject>,
    },
}

impl ResponseEvent {
    /// Returns the name of the event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "response.created",
            Self::InProgress { .. } => "response.in_progress",
            Self::ItemAdded { .. } => "response.output_item.added",
            Self::PartAdded { .. } => "response.content_part.added",
            Self::TextDelta { .. } => "response.output_text.delta",
            Self::TextDone { .. } => "response.output_text.done",
            Self::ReasoningDelta { .. } => "response.reasoning_text.delta",
            Self::ReasoningDone { .. } => "response.reasoning_text.done",
            Self::PartDone { .. } => "response.content_part.done",
            Self::ArgumentsDelta { .. } => "response.function_call_arguments.delta",
            Self::ArgumentsDone { .. } => "response.function_call_arguments.done",
            Self::ItemDone { .. } => "response.output_item.done",
            Self::Completed { .. } => "response.completed",
            Self::Incomplete { .. } => "response.incomplete",
            Self::Failed { .. } => "response.failed",
        }
    }
}

/// The number of tokens of an input.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InputTokens {
    /// `response.input_tokens`.
    pub object: &'static str,
    /// The number.
    pub input_tokens: u64,
}

/// The items of a stored response's input.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InputItems {
    /// `list`.
    pub object: &'static str,
    /// The items.
    pub data: Vec<Item>,
    /// The id of the first item.
    pub first_id: Option<String>,
    /// The id of the last item.
    pub last_id: Option<String>,
    /// `false`: all items are returned.
    pub has_more: bool,
}

/// The confirmation that a stored response was deleted.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DeletedResponse {
    /// The id.
    pub id: String,
    /// `response`.
    pub object: &'static str,
    /// `true`.
    pub deleted: bool,
}
