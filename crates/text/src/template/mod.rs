//! Chat templates: a conversation to the text that the model was trained on.
//!
//! Set up as transformers sets up Jinja2 (`utils/chat_template_utils.py`): `trim_blocks`, `lstrip_blocks`, loop
//! controls, Python's methods on strings, lists and dictionaries, `tojson` as `json.dumps(ensure_ascii=False)`,
//! `raise_exception`, `strftime_now`, and the `generation` tag, whose contents are rendered in place.

mod clock;
mod context;
mod generation;
mod json;
mod nesting;

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use serde::{Deserialize, Serialize};
use serde_json::Map;

pub use clock::Clock;

use crate::config::SpecialTokens;
use crate::error::{Result, TextError};

/// Name of the template inside its environment.
const NAME: &str = "chat_template";

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
    /// Template instructions.
    pub steps: u64,
    /// Bytes of output.
    pub output_bytes: usize,
    /// Nested calls of macros.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 5_000_000, output_bytes: 16 << 20, depth: 100 }
    }
}

/// A parsed chat template with the texts of its model's special tokens.
pub struct ChatTemplate {
    environment: Environment<'static>,
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
        nesting::check(source)?;
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| syntax_error(&e))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_recursion_limit(limits.depth);
        environment.set_fuel(Some(limits.steps));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", json::tojson);
        // As in Python, and unlike the engine's own: none is nothing to iterate over.
        environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
        environment.add_function("raise_exception", raise_exception);
        environment.add_template_owned(NAME, generation::plain(source).into_owned()).map_err(|e| syntax_error(&e))?;
        Ok(Self { environment, special, limits })
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// [`TextError::TemplateRaised`] where the template refuses the conversation, [`TextError::TemplateLimit`] where it
    /// uses up a bound, [`TextError::TemplateRender`] for any other failure; all with the template's line.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        let template = self.environment.get_template(NAME).map_err(|e| syntax_error(&e))?;
        let context = context::variables(messages, options, &self.special);
        let written = AtomicUsize::new(0);
        let mut output = Vec::new();
        let writer = Capped { output: &mut output, written: &written, limit: self.limits.output_bytes };
        if let Err(error) = template.render_captured_to(context, writer) {
            let overflow = written.load(Ordering::Relaxed) > self.limits.output_bytes;
            return Err(self.failure(&error, overflow));
        }
        String::from_utf8(output).map_err(|e| TextError::TemplateRender { message: e.to_string(), line: 0 })
    }

    /// What a failed rendering means.
    fn failure(&self, error: &Error, overflow: bool) -> TextError {
        let line = error.line().unwrap_or(0);
        let limit = |resource, limit| TextError::TemplateLimit { resource, limit, line };
        let cause = chain(error).find_map(|e| e.downcast_ref::<Raised>());
        let kinds = || chain(error).filter_map(|e| e.downcast_ref::<Error>());
        if let Some(Raised(message)) = cause {
            TextError::TemplateRaised { message: message.clone(), line }
        } else if overflow {
            limit("bytes", self.limits.output_bytes as u64)
        } else if kinds().any(|e| e.kind() == ErrorKind::OutOfFuel) {
            limit("steps", self.limits.steps)
        } else if kinds().any(|e| e.detail().is_some_and(|d| d.contains("recursion limit"))) {
            limit("nested levels", self.limits.depth as u64)
        } else {
            TextError::TemplateRender { message: describe(error), line }
        }
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The template's own refusal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// `raise_exception(message)`.
fn raise_exception(message: String) -> std::result::Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

/// An error and its causes.
fn chain(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    std::iter::from_fn(move || {
        let current = next?;
        next = current.source();
        Some(current)
    })
}

/// An engine's error without its file name, which users do not know.
fn describe(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn syntax_error(error: &Error) -> TextError {
    TextError::TemplateSyntax { message: describe(error), line: error.line().unwrap_or(0) }
}

/// Output that ends at a limit.
struct Capped<'a> {
    output: &'a mut Vec<u8>,
    written: &'a AtomicUsize,
    limit: usize,
}

impl Write for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.written.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if written > self.limit {
            return Err(io::Error::other("the output is too long"));
        }
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
