//! What a model would be given for a conversation.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use honelm_formats::gguf::Gguf;
use honelm_text::{ChatTemplate, Clock, EncodeOptions, SpecialTokens, TextError, Tokenizer};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Error;

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
/// `template` is the name of one of the model's templates, or a file; by default as transformers chooses.
///
/// # Errors
/// Files that cannot be read, variables of the wrong form, and a template that refuses the conversation.
pub fn prompt(path: &Path, template: Option<&str>, given: &Map<String, Value>) -> Result<Prompt, Error> {
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
        return Ok(Prompt { prompt: rendered.render_variables(&variables, Some(clock))?, token_ids: None });
    }
    let tokenizer = tokenizer_at(path)?;
    let tools = variables.get("tools").is_some_and(|tools| !tools.is_null());
    let source = template_source(&tokenizer, template, tools)?;
    let rendered = ChatTemplate::new(&source, tokenizer.special_tokens())?;
    let prompt = rendered.render_variables(&variables, Some(clock))?;
    let token_ids = tokenizer.encode(&prompt, EncodeOptions { add_special: false, parse_special: true })?;
    Ok(Prompt { prompt, token_ids: Some(token_ids) })
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

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// The tokenizer of a folder or GGUF file, whose weights stay unread and need not be there.
fn tokenizer_at(path: &Path) -> Result<Tokenizer, Error> {
    if path.is_dir() {
        return Ok(Tokenizer::from_dir(path)?);
    }
    let of_folder = ["json", "safetensors"].iter().any(|known| path.extension().is_some_and(|found| found == *known));
    match path.parent() {
        Some(dir) if of_folder => Ok(Tokenizer::from_dir(dir)?),
        _ => Ok(Tokenizer::from_gguf(&Gguf::open(path)?)?),
    }
}

/// The source of a model's template: one of its own by name, a file, or the one that transformers would choose.
pub(crate) fn template_source(tokenizer: &Tokenizer, wanted: Option<&str>, tools: bool) -> Result<String, Error> {
    match (tokenizer.choose_template(wanted, tools), wanted) {
        (Ok(found), _) => Ok(found.source.clone()),
        (Err(TextError::TemplateNotFound { .. }), Some(wanted)) if Path::new(wanted).is_file() => {
            read(Path::new(wanted))
        }
        (Err(error), _) => Err(error.into()),
    }
}
