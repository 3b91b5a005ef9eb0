//! Chat templates, which format a conversation as the text that the model was trained on.
//!
//! The engine is [`honelm_jinja`]. This module adds the variables that transformers passes, and the roles of special
//! tokens.

mod context;
mod named;
mod reasoning;

pub use honelm_jinja::{Clock, Limits, Rendered};
use honelm_jinja::{ErrorKind, Template};
use serde::{Deserialize, Serialize};
use serde_json::Map;

pub use reasoning::Reasoning;

use crate::config::SpecialTokens;
use crate::error::{Result, TextError};

/// The longest error message, in characters.
const MAX_MESSAGE: usize = 2000;

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, ...
    pub role: String,
    /// The content: usually a string, or a list of parts, or null beside tool calls.
    #[serde(default)]
    pub content: serde_json::Value,
    /// All other fields: `name`, `tool_calls`, `reasoning_content`, ...
    #[serde(flatten)]
    pub extra: Map<String, serde_json::Value>,
}

impl Message {
    /// Creates a turn of plain text.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: serde_json::Value::String(content.into()), extra: Map::new() }
    }

    /// Converts the arguments of calls from JSON text to objects, which templates write themselves. Other arguments stay.
    pub fn parse_arguments(&mut self) {
        let calls = self.extra.get_mut("tool_calls").and_then(serde_json::Value::as_array_mut);
        for call in calls.into_iter().flatten() {
            if let Some(arguments) = call.pointer_mut("/function/arguments")
                && let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok())
                && serde_json::Value::is_object(&parsed)
            {
                *arguments = parsed;
            }
        }
    }
}

/// The variables of a rendering in addition to the messages.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// Ends the text with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// The descriptions of the tools, as JSON schemas.
    pub tools: Option<serde_json::Value>,
    /// Further variables, for example `enable_thinking`. They take precedence over the others.
    pub extra: Map<String, serde_json::Value>,
    /// The time for `strftime_now`. Without it, the function is undefined, and templates use their own date.
    pub clock: Option<Clock>,
}

/// A parsed chat template with the texts of its model's special tokens.
pub struct ChatTemplate {
    template: Template,
    special: SpecialTokens,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TextError::TemplateSyntax`], [`TextError::TemplateLimit`] if the source is too long.
    pub fn new(source: &str, special: SpecialTokens) -> Result<Self> {
        Self::with_limits(source, special, Limits::default())
    }

    /// Parses a template with bounds for itself and its renderings.
    ///
    /// # Errors
    /// [`TextError::TemplateSyntax`], [`TextError::TemplateLimit`] if the source is too long.
    pub fn with_limits(source: &str, special: SpecialTokens, limits: Limits) -> Result<Self> {
        Ok(Self { template: Template::parse(source, limits)?, special })
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`TextError::TemplateRaised`] if the template refuses the conversation, [`TextError::TemplateLimit`] if it
    /// reaches a bound, and [`TextError::TemplateRender`] for any other failure. All have the template's line.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<Rendered> {
        let mut variables = Map::new();
        let turns = serde_json::to_value(messages).map_err(|e| TextError::json("messages", e))?;
        variables.insert("messages".to_owned(), turns);
        variables.insert("tools".to_owned(), options.tools.clone().unwrap_or_default());
        variables.insert("add_generation_prompt".to_owned(), options.add_generation_prompt.into());
        variables.extend(options.extra.clone());
        self.render_variables(&variables, options.clock)
    }

    /// Renders the template with the given variables: `messages`, `tools`, `add_generation_prompt`, and any others that
    /// it uses. Without a clock, `strftime_now` is undefined, and templates use their own date.
    ///
    /// The texts of special tokens (`bos_token`, `eos_token`, `unk_token`, `pad_token`) count as part of the template,
    /// even if they are among the variables. Roles that are plain words do too, because templates make tokens of them
    /// (`'<|' + message['role'] + '|>'`).
    ///
    /// # Errors
    /// The errors of [`ChatTemplate::render`].
    pub fn render_variables(
        &self,
        variables: &Map<String, serde_json::Value>,
        clock: Option<Clock>,
    ) -> Result<Rendered> {
        let variables = context::variables(variables, &self.special)?;
        Ok(self.template.render(variables, clock)?)
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("template", &self.template).finish_non_exhaustive()
    }
}

impl From<honelm_jinja::Error> for TextError {
    fn from(error: honelm_jinja::Error) -> Self {
        let line = error.line as usize;
        match error.kind {
            ErrorKind::Syntax(message) => Self::TemplateSyntax { message: shortened(message), line },
            ErrorKind::Raised(message) => Self::TemplateRaised { message: shortened(message), line },
            ErrorKind::Limit { resource, limit } => Self::TemplateLimit { resource, limit, line },
            ErrorKind::Failed(message) => Self::TemplateRender { message: shortened(message), line },
        }
    }
}

/// Truncates an error message, which may contain text of the template.
fn shortened(mut message: String) -> String {
    if let Some((at, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(at);
        message.push('…');
    }
    message
}
