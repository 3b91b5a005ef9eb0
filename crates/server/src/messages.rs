//! Conversations as chat templates expect them.

use honelm_text::Message;
use serde_json::{Value, json};

use crate::ApiError;

/// The types of content parts with text.
const TEXTS: [&str; 4] = ["text", "input_text", "output_text", "refusal"];

/// Checks messages in OpenAI's form, and converts them to what templates expect: `developer` becomes `system`, parts of text
/// become one text, and the arguments of calls become objects. With `images`, a message of the user with images stays a list of
/// parts.
///
/// # Errors
/// 400 that names the message: no messages, an unknown role, content that is not text.
pub fn checked(messages: Vec<Message>, images: bool) -> Result<Vec<Message>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::invalid("messages", "found no messages, expected at least one"));
    }
    messages.into_iter().enumerate().map(|(i, message)| one(message, images, &format!("messages[{i}]"))).collect()
}

fn one(mut message: Message, images: bool, place: &str) -> Result<Message, ApiError> {
    let role = match message.role.as_str() {
        "developer" => "system",
        "function" => "tool",
        role @ ("system" | "user" | "assistant" | "tool") => role,
        other => {
            let message = format!("found {other:?}, expected system, developer, user, assistant or tool");
            return Err(ApiError::invalid(format!("{place}.role"), message));
        }
    };
    let takes_images = images && role == "user";
    message.role = role.to_owned();
    message.content = match std::mem::take(&mut message.content) {
        Value::Array(parts) if takes_images && parts.iter().any(is_image) => {
            Value::Array(parts.iter().enumerate().map(|(i, part)| kept(part, i, place)).collect::<Result<_, _>>()?)
        }
        Value::Array(parts) => Value::String(text_of(&parts, place)?),
        Value::Null if message.role == "assistant" => Value::String(String::new()),
        text @ Value::String(_) => text,
        other => {
            let found = format!("found {}, expected a text or a list of parts", kind(&other));
            return Err(ApiError::invalid(format!("{place}.content"), found));
        }
    };
    message.parse_arguments();
    message.extra.retain(|_, value| !value.is_null());
    Ok(message)
}

fn is_image(part: &Value) -> bool {
    part["type"] == "image_url"
}

/// Returns a part of a message with images: a text, or an image.
fn kept(part: &Value, i: usize, place: &str) -> Result<Value, ApiError> {
    if !is_image(part) {
        return Ok(json!({"type": "text", "text": text_of(std::slice::from_ref(part), place)?}));
    }
    match part["image_url"]["url"].as_str().or_else(|| part["image_url"].as_str()) {
        Some(url) => Ok(image(url)),
        None => {
            Err(ApiError::invalid(format!("{place}.content[{i}].image_url.url"), "found nothing, expected an address"))
        }
    }
}

/// Returns the part of an image, by its address or as a `data:` address.
pub(crate) fn image(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// Joins parts of text.
fn text_of(parts: &[Value], place: &str) -> Result<String, ApiError> {
    let text = |(i, part): (usize, &Value)| {
        let place = format!("{place}.content[{i}]");
        let kind = part["type"].as_str().unwrap_or("text");
        if !TEXTS.contains(&kind) {
            let message = format!("found a part of type {kind:?}, expected text: the model reads nothing else");
            return Err(ApiError::unsupported(place, message));
        }
        let text = if kind == "refusal" { &part["refusal"] } else { &part["text"] };
        let text = text.as_str().or_else(|| part.as_str());
        text.map(str::to_owned).ok_or_else(|| ApiError::invalid(place, "found no text"))
    };
    Ok(parts.iter().enumerate().map(text).collect::<Result<Vec<_>, _>>()?.join("\n"))
}

/// Returns the type of a JSON value, with its article.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
