//! Renders a conversation as a model reads it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use honelm_engine::rendered_ids;
use honelm_text::{ChatTemplate, Clock, SpecialTokens, TextError, Tokenizer};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Error;
use crate::open::open_tokenizer;
use crate::texts::read_named;

/// The largest size of a template in bytes. Published templates have at most some 100 kB.
const MOST_TEMPLATE: u64 = 16 << 20;

/// A conversation as a chat template renders it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prompt {
    /// The text.
    pub prompt: String,
    /// The tokens; `None` for a template without a tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// Renders a conversation with the chat template of a model (a folder or a GGUF file, whose weights are not read), or
/// with a template file (`*.jinja`).
///
/// `given` holds the variables of the template: `messages`, and optionally `tools`, `add_generation_prompt`, `now` (the
/// time for `strftime_now`; the present by default) and others, for example `bos_token`. `template` is the name of one
/// of the model's templates, or a file; without it, the template is chosen as transformers does. With `parse_special`,
/// the texts of special tokens in messages become these tokens; otherwise they are ordinary text.
///
/// # Errors
/// A file that cannot be read, a variable of the wrong type, a template that rejects the conversation.
pub fn prompt(
    path: &Path,
    template: Option<&str>,
    given: &Map<String, Value>,
    parse_special: bool,
) -> Result<Prompt, Error> {
    let mut variables = given.clone();
    let clock = match variables.remove("now") {
        None | Some(Value::Null) => now(),
        Some(Value::String(text)) => Clock::parse(&text)
            .ok_or_else(|| usage("now", &text, "a date, for example 2024-02-29 or 2024-02-29 12:34:56"))?,
        Some(other) => return Err(usage("now", &other.to_string(), "a date as a string")),
    };
    check(&variables)?;
    if is_template(path) {
        if template.is_some() {
            return Err(Error::Usage("--template: found a second template, expected a model for it".to_owned()));
        }
        let rendered = ChatTemplate::new(&read(path)?, SpecialTokens::default())?;
        return Ok(Prompt { prompt: rendered.render_variables(&variables, Some(clock))?.text, token_ids: None });
    }
    let tokenizer = open_tokenizer(path)?;
    let tools = variables.get("tools").is_some_and(|tools| !tools.is_null());
    let source = template_source(&tokenizer, template, tools)?;
    let template = ChatTemplate::new(&source, tokenizer.special_tokens())?;
    let rendered = template.render_variables(&variables, Some(clock))?;
    let token_ids = rendered_ids(&tokenizer, &rendered, parse_special)?;
    Ok(Prompt { prompt: rendered.text, token_ids: Some(token_ids) })
}

fn usage(name: &str, found: &str, expected: &str) -> Error {
    Error::Usage(format!("{name}: found {found}, expected {expected}"))
}

/// Checks the types of the variables that templates rely on.
fn check(variables: &Map<String, Value>) -> Result<(), Error> {
    let Some(Value::Array(messages)) = variables.get("messages") else {
        let found = variables.get("messages").map_or("nothing", kind);
        return Err(usage("messages", found, "a list of {\"role\": ..., \"content\": ...}"));
    };
    for (index, message) in messages.iter().enumerate() {
        if !message["role"].is_string() {
            return Err(usage(&format!("messages[{index}]"), kind(message), "an object with a role"));
        }
    }
    let is_list = |value: &Value| value.is_array() || value.is_null();
    for (name, accepts, expected) in [
        ("tools", is_list as fn(&Value) -> bool, "a list of JSON schemas"),
        ("documents", is_list, "a list"),
        ("add_generation_prompt", Value::is_boolean, "true or false"),
    ] {
        if let Some(value) = variables.get(name).filter(|value| !accepts(value)) {
            return Err(usage(name, kind(value), expected));
        }
    }
    Ok(())
}

/// Returns the type of a JSON value, with its article.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Returns the present time in UTC.
#[must_use]
pub fn now() -> Clock {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), 0)
}

/// Returns `true` if the name of a file is that of a template.
fn is_template(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["jinja", "jinja2", "j2"].iter().any(|known| extension == *known))
}

/// Reads a template file.
fn read(path: &Path) -> Result<String, Error> {
    String::from_utf8(read_named(path, MOST_TEMPLATE)?).map_err(|error| {
        let problem = format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to());
        Error::Text { path: path.display().to_string(), problem }
    })
}

/// Returns `true` if the path exists and is no folder.
fn names_a_file(path: &Path) -> bool {
    path.exists() && !path.is_dir()
}

/// Returns the source of a template: one of the model's own by name, a file, or the one that transformers would choose.
pub(crate) fn template_source(tokenizer: &Tokenizer, wanted: Option<&str>, tools: bool) -> Result<String, Error> {
    match (tokenizer.choose_template(wanted, tools), wanted) {
        (Ok(found), _) => Ok(found.source.clone()),
        (Err(TextError::TemplateNotFound { .. }), Some(wanted)) if names_a_file(Path::new(wanted)) => {
            read(Path::new(wanted))
        }
        (Err(error), _) => Err(error.into()),
    }
}
