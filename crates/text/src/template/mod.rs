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

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Map;

pub use clock::Clock;
pub use reasoning::{Piece, Reasoning, ReasoningStream};

use crate::config::SpecialTokens;
use crate::error::{Result, TextError};
use jinja::{Fault, FaultKind, Template};

/// Longest message of an error, in characters.
const MAX_MESSAGE: usize = 2000;

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

/// Bounds on a template and on one rendering of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the template's source.
    pub source_bytes: usize,
    /// Bytes that a rendering reads and writes, counted before it does; an operation counts as 64 beside its operands and
    /// result. Memory in use stays below about one and a half times as much.
    pub touched_bytes: u64,
    /// Bytes of one text, list or dictionary that it makes.
    pub value_bytes: usize,
    /// Bytes of output.
    pub output_bytes: usize,
    /// Nested blocks, expressions and calls of macros.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_bytes: 512 << 10,
            touched_bytes: 256 << 20,
            value_bytes: 32 << 20,
            output_bytes: 4 << 20,
            depth: 400,
        }
    }
}

/// A conversation as a template writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The bytes of it that come from outside the template: from messages, tools and other variables. The ranges are
    /// sorted, disjoint and not empty. Texts of special tokens in them are text; see [`Tokenizer::encode_marked`].
    ///
    /// [`Tokenizer::encode_marked`]: crate::Tokenizer::encode_marked
    pub outside: Vec<Range<usize>>,
    /// The part of [`Limits::touched_bytes`] that was used.
    pub touched_bytes: u64,
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
    /// [`TextError::TemplateSyntax`], [`TextError::TemplateLimit`] for a source that is too long.
    pub fn new(source: &str, special: SpecialTokens) -> Result<Self> {
        Self::with_limits(source, special, Limits::default())
    }

    /// Parses a template that may not exceed `limits`.
    ///
    /// # Errors
    /// [`TextError::TemplateSyntax`], [`TextError::TemplateLimit`] for a source that is too long.
    pub fn with_limits(source: &str, special: SpecialTokens, limits: Limits) -> Result<Self> {
        Ok(Self { template: Template::parse(source, limits)?, special, limits })
    }

    /// The text of a conversation, with the parts of it that come from outside the template.
    ///
    /// # Errors
    /// [`TextError::TemplateRaised`] where the template refuses the conversation, [`TextError::TemplateLimit`] where it
    /// uses up a bound, [`TextError::TemplateRender`] for any other failure; all with the template's line.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<Rendered> {
        let mut variables = Map::new();
        let turns = serde_json::to_value(messages).map_err(|e| TextError::json("messages", e))?;
        variables.insert("messages".to_owned(), turns);
        variables.insert("tools".to_owned(), options.tools.clone().unwrap_or_default());
        variables.insert("add_generation_prompt".to_owned(), options.add_generation_prompt.into());
        variables.extend(options.extra.clone());
        self.render_variables(&variables, options.clock)
    }

    /// The text that the template makes of variables as they are: `messages`, `tools`, `add_generation_prompt`, and
    /// whatever else it knows. Without a clock the template sees no `strftime_now` and uses its own date. The texts of
    /// special tokens (`bos_token`, `eos_token`, `unk_token`, `pad_token`) count as the template's own, whoever gives them;
    /// so do roles that are plain words, since templates make tokens of them (`'<|' + message['role'] + '|>'`).
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_variables(
        &self,
        variables: &Map<String, serde_json::Value>,
        clock: Option<Clock>,
    ) -> Result<Rendered> {
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
            FaultKind::Syntax(message) => Self::TemplateSyntax { message: shortened(message), line },
            FaultKind::Raised(message) => Self::TemplateRaised { message: shortened(message), line },
            FaultKind::Limit { resource, limit } => Self::TemplateLimit { resource, limit, line },
            FaultKind::Failed(message) => Self::TemplateRender { message: shortened(message), line },
        }
    }
}

/// A message that a template had its part in, cut to a length that people read.
fn shortened(mut message: String) -> String {
    if let Some((at, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(at);
        message.push('…');
    }
    message
}
