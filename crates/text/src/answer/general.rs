//! The general form, for models whose chat template does not describe tools: Hermes' tagged objects, and messages whose text
//! describes the tools and the form.

use serde_json::{Value, json};

use super::form::Form;
use super::{Tool, hermes};
use crate::template::Message;

pub(super) static FORM: Form = Form { name: "general", is_in: |_| false, messages: Some(messages), ..hermes::FORM };

/// Describes the tools, one JSON object a line, and the form.
fn system(tools: &[Tool]) -> String {
    let mut text = String::from("You can call these tools. Each line is the JSON description of one:\n\n");
    for tool in tools {
        let mut line = json!({"name": tool.name});
        if let Some(description) = &tool.description {
            line["description"] = description.as_str().into();
        }
        line["parameters"] = tool.parameters.clone();
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text.push_str(
        "\nTo call a tool, write one JSON object with its name and its arguments inside tags, and nothing after it:\n\n\
         <tool_call>\n{\"name\": \"the tool's name\", \"arguments\": {\"an argument's name\": \"its value\"}}\n</tool_call>\n\n\
         Write several such blocks to call several tools. The results come back inside <tool_response> tags. If no tool \
         is needed, answer without tags.",
    );
    text
}

/// Adds the description of the tools to the system message, and writes calls and results as text. Results become messages
/// of the user, because few templates know another role for them.
fn messages(tools: &[Tool], messages: &[Message]) -> Vec<Message> {
    let mut written: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    let mut rest = messages;
    let mut description = system(tools);
    if let [first, others @ ..] = messages
        && first.role == "system"
    {
        description = joined(&text_of(&first.content), &description);
        rest = others;
    }
    written.push(Message::new("system", description));
    for (i, message) in rest.iter().enumerate() {
        match (&*message.role, message.extra.get("tool_calls")) {
            ("assistant", Some(Value::Array(calls))) => {
                let mut message = message.clone();
                message.extra.remove("tool_calls");
                let mut text = text_of(&message.content);
                calls.iter().for_each(|call| text = joined_lines(&text, &call_text(call)));
                message.content = text.into();
                written.push(message);
            }
            ("tool", _) => {
                let text = format!("<tool_response>\n{}\n</tool_response>", text_of(&message.content));
                match written.last_mut() {
                    // The results of one turn are one message.
                    Some(last) if i > 0 && rest[i - 1].role == "tool" => {
                        last.content = joined_lines(&text_of(&last.content), &text).into();
                    }
                    _ => written.push(Message::new("user", text)),
                }
            }
            _ => written.push(message.clone()),
        }
    }
    written
}

/// Writes a call of a message in the form.
fn call_text(call: &Value) -> String {
    let function = call.get("function").unwrap_or(call);
    let arguments = match &function["arguments"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("{}\n{{\"name\": {}, \"arguments\": {arguments}}}\n{}", hermes::OPEN, function["name"], hermes::CLOSE)
}

/// Returns the text of a message's content: a string, or the text parts of a list.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn joined(a: &str, b: &str) -> String {
    if a.is_empty() { b.to_owned() } else { format!("{a}\n\n{b}") }
}

fn joined_lines(a: &str, b: &str) -> String {
    if a.is_empty() { b.to_owned() } else { format!("{a}\n{b}") }
}
