//! The objects and events that the Messages API returns.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::gateway::About;

/// A message of the model.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MessageObject {
    /// The id.
    pub id: String,
    /// `message`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `assistant`.
    pub role: &'static str,
    /// The name of the model.
    pub model: String,
    /// The blocks of content.
    pub content: Vec<ContentBlock>,
    /// The reason for the end: `end_turn`, `max_tokens`, `stop_sequence`, `tool_use` or `model_context_window_exceeded`.
    pub stop_reason: Option<&'static str>,
    /// The text that ended the answer.
    pub stop_sequence: Option<String>,
    /// The numbers of tokens.
    pub usage: MessageUsage,
    /// The route of the message through a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub honelm: Option<Box<About>>,
}

/// The numbers of tokens.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct MessageUsage {
    /// The tokens of the prompt that were computed.
    pub input_tokens: u64,
    /// The tokens of the prompt that were cached before.
    pub cache_read_input_tokens: u64,
    /// 0: what is cached costs nothing.
    pub cache_creation_input_tokens: u64,
    /// The tokens of the answer.
    pub output_tokens: u64,
}

/// A block of content.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentBlock {
    /// Text for the user.
    Text {
        /// The text.
        text: String,
    },
    /// Reasoning.
    Thinking {
        /// The text.
        thinking: String,
        /// Empty: reasoning is not signed.
        signature: String,
    },
    /// A call of a tool.
    ToolUse {
        /// The id of the call, which its result repeats.
        id: String,
        /// The name of the tool.
        name: String,
        /// The arguments.
        input: Value,
    },
}

/// An event of a stream.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MessageEvent {
    /// The message begins.
    MessageStart {
        /// The message, without content.
        message: MessageObject,
    },
    /// The connection is alive.
    Ping,
    /// A block begins.
    ContentBlockStart {
        /// The index of the block.
        index: usize,
        /// The block, which is empty.
        content_block: ContentBlock,
    },
    /// The next part of a block.
    ContentBlockDelta {
        /// The index of the block.
        index: usize,
        /// The part.
        delta: BlockDelta,
    },
    /// A block is complete.
    ContentBlockStop {
        /// The index of the block.
        index: usize,
    },
    /// The answer has ended.
    MessageDelta {
        /// The reason.
        delta: MessageDelta,
        /// The numbers of tokens.
        usage: MessageUsage,
    },
    /// The message is complete.
    MessageStop {
        /// The route of the message through a gateway.
        #[serde(skip_serializing_if = "Option::is_none")]
        honelm: Option<Box<About>>,
    },
    /// The answer failed.
    Error {
        /// The cause.
        error: ErrorObject,
    },
}

impl MessageEvent {
    /// Returns the name of the event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::Ping => "ping",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop { .. } => "message_stop",
            Self::Error { .. } => "error",
        }
    }
}

/// The next part of a block.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BlockDelta {
    /// Text for the user.
    TextDelta {
        /// The text.
        text: String,
    },
    /// Reasoning.
    ThinkingDelta {
        /// The text.
        thinking: String,
    },
    /// The next part of a call's arguments.
    InputJsonDelta {
        /// The JSON text.
        partial_json: String,
    },
}

/// The end of an answer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MessageDelta {
    /// The reason, as in [`MessageObject::stop_reason`].
    pub stop_reason: &'static str,
    /// The text that ended the answer.
    pub stop_sequence: Option<String>,
}

/// The number of tokens of a prompt.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TokenCount {
    /// The number.
    pub input_tokens: u64,
}

/// An error.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorResponse {
    /// `error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The cause.
    pub error: ErrorObject,
    /// The id of the request.
    pub request_id: Option<String>,
}

/// The cause of an error.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorObject {
    /// A stable name: `invalid_request_error`, `not_found_error`, `overloaded_error`, ...
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The message.
    pub message: String,
}
