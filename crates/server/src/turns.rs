//! Conversations as chat templates expect them, from the parts that the APIs have.

use honelm_text::Message;
use serde_json::{Value, json};

use crate::messages;

/// A conversation under construction. Parts that belong to the same turn become one message, because chat templates refuse
/// two messages of the same role in a row, or lose the first.
#[derive(Debug, Default)]
pub struct Turns {
    messages: Vec<Message>,
}

impl Turns {
    /// Adds an instruction. Those at the start become one system message.
    pub fn system(&mut self, text: &str) {
        self.text("system", text);
    }

    /// Adds a text of the user.
    pub fn user(&mut self, text: &str) {
        self.text("user", text);
    }

    /// Adds an image of the user, by its address.
    pub fn image(&mut self, url: &str) {
        if self.messages.last().is_none_or(|last| last.role != "user") {
            self.messages.push(Message { content: json!([]), ..Message::new("user", "") });
        }
        let last = self.messages.len() - 1;
        let content = &mut self.messages[last].content;
        if let Value::String(text) = content {
            *content = json!([{"type": "text", "text": text}]);
        }
        if let Value::Array(parts) = content {
            parts.push(messages::image(url));
        }
    }

    /// Adds a text of the model.
    pub fn assistant(&mut self, text: &str) {
        let message = self.answer();
        let before = message.content.as_str().unwrap_or_default();
        message.content = Value::String(format!("{before}{text}"));
    }

    /// Adds reasoning of the model.
    pub fn reasoning(&mut self, text: &str) {
        let extra = &mut self.answer().extra;
        let before = extra.get("reasoning_content").and_then(Value::as_str).unwrap_or_default();
        let whole = format!("{before}{text}");
        extra.insert("reasoning_content".to_owned(), Value::String(whole));
    }

    /// Adds a call of a tool; `arguments` is JSON text.
    pub fn call(&mut self, id: &str, name: &str, arguments: &str) {
        let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let calls = self.answer().extra.entry("tool_calls").or_insert_with(|| json!([]));
        if let Value::Array(calls) = calls {
            calls.push(call);
        }
    }

    /// Adds the result of the call `id`.
    pub fn result(&mut self, id: &str, text: &str) {
        let mut message = Message::new("tool", text);
        message.extra.insert("tool_call_id".to_owned(), id.into());
        if let Some(name) = self.name_of(id) {
            message.extra.insert("name".to_owned(), name.into());
        }
        self.messages.push(message);
    }

    /// Returns an id for a call that has none.
    #[must_use]
    pub fn new_id(&self) -> String {
        format!("call{:05}", self.calls().count())
    }

    /// Returns the id of the first call without a result, of the tool `name` if one is given.
    #[must_use]
    pub fn open_call(&self, name: Option<&str>) -> Option<String> {
        let has_result = |id: &Value| self.messages.iter().any(|message| message.extra.get("tool_call_id") == Some(id));
        let is_named = |call: &&Value| name.is_none_or(|name| call["function"]["name"] == name);
        let mut open = self.calls().filter(is_named).filter(|call| !has_result(&call["id"]));
        Some(open.next()?["id"].as_str()?.to_owned())
    }

    /// Returns the messages.
    #[must_use]
    pub fn finish(self) -> Vec<Message> {
        self.messages
    }

    /// Returns the tool that the call `id` called.
    fn name_of(&self, id: &str) -> Option<String> {
        let call = self.calls().filter(|call| call["id"] == id).last()?;
        Some(call["function"]["name"].as_str()?.to_owned())
    }

    /// Returns all calls.
    fn calls(&self) -> impl Iterator<Item = &Value> {
        let lists = self.messages.iter().filter_map(|message| message.extra.get("tool_calls")?.as_array());
        lists.flatten()
    }

    /// Adds a text, to the last message if that has the same role.
    fn text(&mut self, role: &str, text: &str) {
        match self.messages.last_mut().filter(|last| last.role == role).map(|last| &mut last.content) {
            Some(Value::String(before)) => {
                before.push_str("\n\n");
                before.push_str(text);
                return;
            }
            Some(Value::Array(parts)) => return parts.push(json!({"type": "text", "text": text})),
            _ => {}
        }
        self.messages.push(Message::new(role, text));
    }

    /// Returns the message of the model that is being written.
    fn answer(&mut self) -> &mut Message {
        if self.messages.last().is_none_or(|last| last.role != "assistant") {
            self.messages.push(Message::new("assistant", ""));
        }
        let last = self.messages.len() - 1;
        &mut self.messages[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_turn_become_one_message() {
        let mut turns = Turns::default();
        turns.system("Be brief.");
        turns.system("Use metres.");
        turns.user("How far?");
        turns.reasoning("The tool knows.");
        turns.assistant("I ask.");
        turns.call("c1", "distance", "{\"to\":\"Rome\"}");
        turns.call("c2", "time", "{}");
        turns.result("c2", "noon");
        turns.result("c1", "3 m");
        turns.user("And now?");
        let messages = turns.finish();
        let shown: Vec<(&str, &str)> =
            messages.iter().map(|m| (m.role.as_str(), m.content.as_str().unwrap_or_default())).collect();
        let expected = [
            ("system", "Be brief.\n\nUse metres."),
            ("user", "How far?"),
            ("assistant", "I ask."),
            ("tool", "noon"),
            ("tool", "3 m"),
            ("user", "And now?"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(messages[2].extra["tool_calls"][0]["function"]["name"], "distance");
        assert_eq!(messages[2].extra["reasoning_content"], "The tool knows.");
        assert_eq!((&messages[3].extra["name"], &messages[4].extra["name"]), (&json!("time"), &json!("distance")));
    }
}
