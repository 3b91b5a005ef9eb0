//! A line that some clients change with every request, at the head of the system prompt.
//!
//! A coding agent begins its system prompt with a header for its own service's accounting, such as
//! `x-anthropic-billing-header: cc_version=2.1.0; cc_entrypoint=cli; cch=0f3a1;`. Part of it differs from request to
//! request, so that no two prompts would share a prefix. It says nothing to the model and is left out.

use honelm_text::Message;
use serde_json::Value;

/// The name of the header.
const HEADER: &str = "x-anthropic-billing-header:";
/// The part of such a line that changes, for headers of other names.
const CHANGING: &str = "cch=";
/// The longest line that is left out, in bytes.
const LONGEST: usize = 512;

/// Removes the changing line from the first system message, if there is one. Returns `true` if there was.
pub fn without_changing_line(messages: &mut [Message]) -> bool {
    let is_system = |message: &&mut Message| matches!(message.role.as_str(), "system" | "developer");
    let Some(message) = messages.first_mut().filter(is_system) else { return false };
    match &mut message.content {
        Value::String(text) => cut(text),
        Value::Array(parts) => {
            let Some(Value::String(text)) = parts.first_mut().and_then(|part| part.get_mut("text")) else {
                return false;
            };
            let is_cut = cut(text);
            if is_cut && text.is_empty() {
                parts.remove(0);
            }
            is_cut
        }
        _ => false,
    }
}

fn cut(text: &mut String) -> bool {
    let end = text.find('\n').unwrap_or(text.len());
    if !is_changing(&text[..end]) {
        return false;
    }
    let rest = text[end..].trim_start_matches(['\n', '\r']).to_owned();
    *text = rest;
    true
}

/// Returns `true` for a line of the form `name: key=value; …` that has a changing part.
fn is_changing(line: &str) -> bool {
    let line = line.trim();
    let Some((name, values)) = line.split_once(':') else { return false };
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let changes = values.split(';').any(|value| value.trim_start().starts_with(CHANGING));
    line.len() <= LONGEST && is_name && (changes || line.to_ascii_lowercase().starts_with(HEADER))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cut_of(content: Value) -> (bool, Value) {
        let mut messages = [Message { content, ..Message::new("system", "") }, Message::new("user", "cch=1")];
        let was = without_changing_line(&mut messages);
        (was, messages[0].content.clone())
    }

    #[test]
    fn only_a_header_with_a_changing_part_is_left_out() {
        let line = "x-anthropic-billing-header: cc_version=2.1.0; cc_entrypoint=cli; cch=0f3a1;";
        assert_eq!(cut_of(json!(format!("{line}\n\nYou are an agent."))), (true, json!("You are an agent.")));
        assert_eq!(cut_of(json!(line)), (true, json!("")));
        assert_eq!(cut_of(json!("x-other: a=1; cch=77\nText")), (true, json!("Text")));
        let parts = json!([{"type": "text", "text": line}, {"type": "text", "text": "You are an agent."}]);
        assert_eq!(cut_of(parts), (true, json!([{"type": "text", "text": "You are an agent."}])));
        for kept in ["You are an agent.", "Note: cch is a word\n", "a b: cch=1\n", "\nx: cch=1", "", "cch=1"] {
            assert_eq!(cut_of(json!(kept)), (false, json!(kept)), "{kept:?}");
        }
        let mut user = [Message::new("user", line)];
        assert!(!without_changing_line(&mut user));
    }
}
