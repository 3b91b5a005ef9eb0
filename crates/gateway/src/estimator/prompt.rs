//! The part of a request that the estimator reads.

use serde_json::Value;

/// A prompt: the last message of the user and the state of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    /// The text of the last message that is not the model's.
    pub text: String,
    /// The number of messages of the user, the last one included.
    pub turns: u32,
    /// The number of words of all messages before it.
    pub history_words: u32,
    /// `true` if the request describes tools or holds their results.
    pub has_tools: bool,
}

impl Prompt {
    /// Creates the prompt of a conversation with one message.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), turns: 1, ..Self::default() }
    }

    /// Reads an object with a string `prompt`, or with a list `messages` as in requests of the chat APIs: each message has a
    /// `role` and a `content`, which is a string or a list of parts with a `text`.
    ///
    /// # Errors
    /// The field, with what was found and expected.
    pub fn from_request(request: &Value) -> Result<Self, Problem> {
        let object = request.as_object().ok_or_else(|| Problem::new(named(request), "an object"))?;
        let has_tools = object.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
        match (object.get("prompt"), object.get("messages")) {
            (Some(Value::String(text)), None) => Ok(Self { has_tools, ..Self::new(text) }),
            (Some(other), None) => Err(Problem::of("prompt", named(other), "a string")),
            (None, Some(Value::Array(messages))) if !messages.is_empty() => {
                let mut prompt = Self::from_messages(messages)?;
                prompt.has_tools |= has_tools;
                Ok(prompt)
            }
            (None, Some(Value::Array(_))) => Err(Problem::of("messages", "an empty list", "at least one message")),
            (None, Some(other)) => Err(Problem::of("messages", named(other), "a list")),
            (None, None) => Err(Problem::new("neither `prompt` nor `messages`", "one of them")),
            (Some(_), Some(_)) => Err(Problem::new("both `prompt` and `messages`", "one of them")),
        }
    }

    fn from_messages(messages: &[Value]) -> Result<Self, Problem> {
        let mut prompt = Self::default();
        for (at, message) in messages.iter().enumerate() {
            let field = |name: &str| format!("messages[{at}].{name}");
            let role = match message.get("role") {
                Some(Value::String(role)) => role.as_str(),
                Some(other) => return Err(Problem::of(&field("role"), named(other), "a string")),
                None => return Err(Problem::of(&field("role"), "nothing", "a string")),
            };
            let content = text_of(message.get("content"))
                .map_err(|found| Problem::of(&field("content"), found, "a string, or a list of parts"))?;
            prompt.has_tools |= role == "tool";
            prompt.turns += u32::from(role == "user");
            if role != "assistant" && (role == "user" || prompt.text.is_empty()) {
                prompt.history_words += count(&prompt.text);
                prompt.text = content;
            } else {
                prompt.history_words += count(&content);
            }
        }
        Ok(prompt)
    }
}

/// A value that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}found {found}, expected {expected}", .field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default())]
pub struct Problem {
    /// The field, if it is one.
    pub field: Option<String>,
    /// The value that was found.
    pub found: String,
    /// The values that are right.
    pub expected: String,
}

impl Problem {
    pub(crate) fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { field: None, found: found.into(), expected: expected.into() }
    }

    pub(crate) fn of(field: &str, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(found, expected) }
    }
}

fn text_of(content: Option<&Value>) -> Result<String, String> {
    match content {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
            Ok(texts.join("\n"))
        }
        Some(other) => Err(named(other)),
    }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

/// Names a JSON value for an error.
pub(crate) fn named(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_message_is_the_text_and_the_others_are_history() {
        let request = json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one two three"},
            {"role": "assistant", "content": "four"},
            {"role": "user", "content": [{"type": "text", "text": "Why?"}, {"type": "image_url"}]},
        ], "tools": [{}]});
        let prompt = Prompt::from_request(&request).expect("a prompt");
        assert_eq!(prompt, Prompt { text: "Why?".to_owned(), turns: 2, history_words: 6, has_tools: true });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (request, said) in [
            (json!([]), "found a list, expected an object"),
            (json!({}), "found neither `prompt` nor `messages`, expected one of them"),
            (json!({"prompt": 3}), "prompt: found 3, expected a string"),
            (json!({"messages": []}), "messages: found an empty list, expected at least one message"),
            (json!({"messages": [{"content": "a"}]}), "messages[0].role: found nothing, expected a string"),
            (json!({"messages": [{"role": "user", "content": 1}]}), "messages[0].content: found 1, expected a string"),
        ] {
            let problem = Prompt::from_request(&request).expect_err(said).to_string();
            assert!(problem.starts_with(said), "{problem}");
        }
    }
}
