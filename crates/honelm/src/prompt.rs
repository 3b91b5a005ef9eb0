//! What a model would be given for a conversation.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use honelm_engine::rendered_ids;
use honelm_text::{ChatTemplate, Clock, SpecialTokens, TextError, Tokenizer};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Error;
use crate::open::tokenizer_of_gguf;
use crate::texts::read_named;

/// Most bytes of a template; published ones have at most some 100 kB.
const MOST_TEMPLATE: u64 = 16 << 20;

/// A conversation as a chat template writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prompt {
    /// The text.
    pub prompt: String,
    /// Its tokens, where a tokenizer is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// Writes a conversation with the chat template of a model (a folder or a GGUF file; no weights are read), or with a bare
/// template (`*.jinja`).
///
/// `given` holds `messages`, and as they are wanted `tools`, `add_generation_prompt`, `now` (the date for
/// `strftime_now`, else the present) and any other variable of the template, `bos_token` and `eos_token` among them.
/// `template` is the name of one of the model's templates, or a file; by default as transformers chooses. Texts of special
/// tokens in the conversation are text, or with `parse_special` those tokens.
///
/// # Errors
/// Files that cannot be read, variables of the wrong form, and a template that refuses the conversation.
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
            return Err(Error::Usage("a template is given already; --template is for models".to_owned()));
        }
        let rendered = ChatTemplate::new(&read(path)?, SpecialTokens::default())?;
        return Ok(Prompt { prompt: rendered.render_variables(&variables, Some(clock))?.text, token_ids: None });
    }
    let tokenizer = tokenizer_at(path)?;
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

/// Checks the variables that every template takes for granted.
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

/// What a JSON value is.
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

/// The present moment, in UTC.
pub(crate) fn now() -> Clock {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), 0)
}

/// Whether a path is a template's by its name.
fn is_template(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["jinja", "jinja2", "j2"].iter().any(|known| extension == *known))
}

/// The source of a template in a file of its own.
fn read(path: &Path) -> Result<String, Error> {
    String::from_utf8(read_named(path, MOST_TEMPLATE)?).map_err(|error| {
        let problem = format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to());
        Error::Text { path: path.display().to_string(), problem }
    })
}

/// Whether a path is there and no folder: what else it may be, reading it tells.
fn names_a_file(path: &Path) -> bool {
    path.exists() && !path.is_dir()
}

/// The tokenizer of a folder or GGUF file, whose weights stay unread and need not be there.
fn tokenizer_at(path: &Path) -> Result<Tokenizer, Error> {
    if path.is_dir() {
        return Ok(Tokenizer::from_dir(path)?);
    }
    let of_folder = ["json", "safetensors"].iter().any(|known| path.extension().is_some_and(|found| found == *known));
    match path.parent() {
        Some(dir) if of_folder => Ok(Tokenizer::from_dir(dir)?),
        _ => tokenizer_of_gguf(path),
    }
}

/// The source of a model's template: one of its own by name, a file, or the one that transformers would choose.
pub(crate) fn template_source(tokenizer: &Tokenizer, wanted: Option<&str>, tools: bool) -> Result<String, Error> {
    match (tokenizer.choose_template(wanted, tools), wanted) {
        (Ok(found), _) => Ok(found.source.clone()),
        (Err(TextError::TemplateNotFound { .. }), Some(wanted)) if names_a_file(Path::new(wanted)) => {
            read(Path::new(wanted))
        }
        (Err(error), _) => Err(error.into()),
    }
}
