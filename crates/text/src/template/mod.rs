//! Chat templates: a conversation to the text that the model was trained on.
//!
//! Set up as transformers sets up Jinja2 (`utils/chat_template_utils.py`): `trim_blocks`, `lstrip_blocks`, loop
//! controls, `tojson` as `json.dumps(ensure_ascii=False)`, `raise_exception`, `strftime_now`, and the `generation` tag,
//! whose contents are rendered in place.

mod clock;
mod context;
mod jinja;
mod named;
mod reasoning;

use serde::{Deserialize, Serialize};
use serde_json::Map;

pub use clock::Clock;
pub use reasoning::{Piece, Reasoning, ReasoningStream};

use crate::config::SpecialTokens;
use crate::error::{Result, TextError};
use jinja::{Fault, FaultKind, Template};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, ...
    pub role: String,
    /// Usually a string; a list of parts, or null beside tool calls.
    #[serde(default)]
    pub content: serde_json::Value,
    /// Everything else: `name`, `tool_calls`, `reasoning_content`, ...
    #[serde(flatten)]
    pub extra: Map<String, serde_json::Value>,
}

impl Message {
    /// A turn of plain text.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: serde_json::Value::String(content.into()), extra: Map::new() }
    }
}

/// What a template sees beside the messages.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// Whether the text ends with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Descriptions of tools, as JSON schemas.
    pub tools: Option<serde_json::Value>,
    /// Further variables, for example `enable_thinking`; they take precedence over the others.
    pub extra: Map<String, serde_json::Value>,
    /// The time for `strftime_now`; without it the template sees no such function and uses its own date.
    pub clock: Option<Clock>,
}

/// Bounds on one rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operations; reading 64 bytes counts as one.
    pub steps: u64,
    /// Bytes of all values that are made, those included that are dropped again.
    pub memory_bytes: usize,
    /// Bytes of output.
    pub output_bytes: usize,
    /// Nested blocks, expressions and calls of macros.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 5_000_000, memory_bytes: 256 << 20, output_bytes: 16 << 20, depth: 400 }
    }
}

/// A parsed chat template with the texts of its model's special tokens.
pub struct ChatTemplate {
    template: Template,
    special: SpecialTokens,
    limits: Limits,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TextError::TemplateSyntax`].
    pub fn new(source: &str, special: SpecialTokens) -> Result<Self> {
        Self::with_limits(source, special, Limits::default())
    }

    /// Parses a template that may not exceed `limits`.
    ///
    /// # Errors
    /// [`TextError::TemplateSyntax`].
    pub fn with_limits(source: &str, special: SpecialTokens, limits: Limits) -> Result<Self> {
        Ok(Self { template: Template::parse(source)?, special, limits })
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// [`TextError::TemplateRaised`] where the template refuses the conversation, [`TextError::TemplateLimit`] where it
    /// uses up a bound, [`TextError::TemplateRender`] for any other failure; all with the template's line.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        let mut variables = Map::new();
        let turns = serde_json::to_value(messages).map_err(|e| TextError::json("messages", e))?;
        variables.insert("messages".to_owned(), turns);
        variables.insert("tools".to_owned(), options.tools.clone().unwrap_or_default());
        variables.insert("add_generation_prompt".to_owned(), options.add_generation_prompt.into());
        variables.extend(options.extra.clone());
        self.render_variables(&variables, options.clock)
    }

    /// The text that the template makes of variables as they are: `messages`, `tools`, `add_generation_prompt`, and
    /// whatever else it knows. Without a clock the template sees no `strftime_now` and uses its own date.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_variables(&self, variables: &Map<String, serde_json::Value>, clock: Option<Clock>) -> Result<String> {
        let variables = context::variables(variables, &self.special)?;
        Ok(self.template.render(variables, clock, self.limits)?)
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl From<Fault> for TextError {
    fn from(fault: Fault) -> Self {
        let line = fault.line as usize;
        match fault.kind {
            FaultKind::Syntax(message) => Self::TemplateSyntax { message, line },
            FaultKind::Raised(message) => Self::TemplateRaised { message, line },
            FaultKind::Limit { resource, limit } => Self::TemplateLimit { resource, limit, line },
            FaultKind::Failed(message) => Self::TemplateRender { message, line },
        }
    }
}
