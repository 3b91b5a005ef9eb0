//! Anthropic's messages, as a client.

use std::collections::BTreeMap;

use honelm_gateway::accounting::Usage;
use honelm_gateway::policy::Upstream;
use honelm_grammar::Constraint;
use honelm_text::Message;
use honelm_text::answer::{Tool, ToolChoice};
use serde_json::{Map, Value, json};

use super::sse::Event;
use super::{Broken, Piece, Read, arguments_text};
use crate::job::{Finish, Job, Prompt};

/// The most tokens of an answer whose request names no number; the API needs one.
const USUAL_TOKENS: u64 = 4096;
/// The most blocks of an answer.
const MOST_BLOCKS: u64 = 4096;

/// Returns the body of a request.
pub(super) fn body(to: &Upstream, job: &Job, answer_tokens: Option<u64>) -> Value {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    set("model", to.model.as_str().into());
    set("stream", true.into());
    set("max_tokens", answer_tokens.unwrap_or(USUAL_TOKENS.min(to.context / 2)).max(1).into());
    if let Prompt::Chat { messages, .. } = &job.prompt {
        let system: Vec<&str> = messages.iter().filter(|m| m.role == "system").filter_map(text_of).collect();
        if !system.is_empty() {
            set("system", system.join("\n\n").into());
        }
        set("messages", turns(messages));
    }
    let given = &job.given;
    let number = |x: f32| x.to_string().parse::<f64>().map_or(Value::Null, Value::from);
    if let Some(temperature) = given.temperature {
        set("temperature", number(temperature.min(1.0)));
    }
    if let Some(top_p) = given.top_p {
        set("top_p", number(top_p));
    }
    if let Some(top_k) = given.top_k.filter(|top_k| *top_k > 0) {
        set("top_k", top_k.into());
    }
    // The API refuses stop texts of white space alone.
    let stops: Vec<&String> = given.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if !stops.is_empty() {
        set("stop_sequences", json!(stops));
    }
    if !job.tools.is_empty() {
        set("tools", job.tools.iter().map(tool).collect());
        let mut choice = match &job.tool_choice {
            ToolChoice::Auto => json!({"type": "auto"}),
            ToolChoice::Required => json!({"type": "any"}),
            ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
        };
        if !job.parallel_calls {
            choice["disable_parallel_tool_use"] = true.into();
        }
        set("tool_choice", choice);
    }
    let schema = match &job.constraint {
        Some(Constraint::JsonSchema(schema)) => Some(schema.clone()),
        Some(Constraint::JsonObject) => Some(json!({"type": "object"})),
        _ => None,
    };
    if let Some(schema) = schema {
        set("output_config", json!({"format": {"type": "json_schema", "schema": schema}}));
    }
    Value::Object(body)
}

fn text_of(message: &Message) -> Option<&str> {
    message.content.as_str()
}

fn tool(tool: &Tool) -> Value {
    let mut out = json!({"name": tool.name, "input_schema": tool.parameters});
    if let Some(description) = &tool.description {
        out["description"] = description.as_str().into();
    }
    out
}

/// Returns the messages without the system's. Neighbours of one role become one message.
fn turns(messages: &[Message]) -> Value {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages.iter().filter(|message| message.role != "system") {
        let role = if message.role == "assistant" { "assistant" } else { "user" };
        let blocks = blocks(message);
        match turns.last_mut() {
            Some((last, into)) if *last == role => into.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    turns.retain(|(_, blocks)| !blocks.is_empty());
    turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

fn blocks(message: &Message) -> Vec<Value> {
    if message.role == "tool" {
        let id = message.extra.get("tool_call_id").cloned().unwrap_or_default();
        return vec![json!({"type": "tool_result", "tool_use_id": id, "content": message.content})];
    }
    let mut out = match &message.content {
        Value::String(text) if text.trim().is_empty() => Vec::new(),
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => Vec::new(),
    };
    for call in message.extra.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let function = &call["function"];
        let input: Value = serde_json::from_str(&arguments_text(&function["arguments"])).unwrap_or_else(|_| json!({}));
        out.push(json!({"type": "tool_use", "id": call["id"], "name": function["name"], "input": input}));
    }
    out
}

/// Converts a part in OpenAI's form: a text or an image.
fn part(part: &Value) -> Value {
    let Some(url) = part["image_url"]["url"].as_str() else {
        return json!({"type": "text", "text": part["text"]});
    };
    let source = match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((kind, data)) => json!({"type": "base64", "media_type": kind, "data": data}),
        None => json!({"type": "url", "url": url}),
    };
    json!({"type": "image", "source": source})
}

/// The reader of a stream of events.
#[derive(Default)]
pub(super) struct Reader {
    /// The calls that are being written, by the index of their block: id, name and arguments.
    calls: BTreeMap<u64, (String, String, String)>,
    complete: Vec<Piece>,
    usage: Usage,
    finished: bool,
    ended: bool,
}

impl Reader {
    fn block_begins(&mut self, event: &Value) -> Result<Piece, Broken> {
        let (index, block) = (index(event)?, &event["content_block"]);
        let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
        Ok(match block["type"].as_str() {
            Some("tool_use") => {
                // The input is empty here unless the server does not stream it.
                let whole = block["input"].as_object().filter(|input| !input.is_empty());
                let arguments = whole.map_or_else(String::new, |input| Value::Object(input.clone()).to_string());
                self.calls.insert(index, (text("id"), text("name"), arguments));
                Piece::Progress
            }
            Some("text") => Piece::Text { choice: 0, text: text("text"), logprobs: Vec::new() },
            Some("thinking") => Piece::Reasoning { choice: 0, text: text("thinking") },
            _ => Piece::Progress,
        })
    }

    fn delta(&mut self, event: &Value) -> Result<Piece, Broken> {
        let delta = &event["delta"];
        let text = |name: &str| delta[name].as_str().unwrap_or_default().to_owned();
        Ok(match delta["type"].as_str() {
            Some("text_delta") => Piece::Text { choice: 0, text: text("text"), logprobs: Vec::new() },
            Some("thinking_delta") => Piece::Reasoning { choice: 0, text: text("thinking") },
            Some("input_json_delta") => {
                let (.., arguments) = self.calls.get_mut(&index(event)?).ok_or(Broken)?;
                arguments.push_str(&text("partial_json"));
                Piece::Progress
            }
            _ => Piece::Progress,
        })
    }

    fn block_ends(&mut self, event: &Value) -> Result<(), Broken> {
        if let Some((id, name, arguments)) = self.calls.remove(&index(event)?) {
            let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments };
            self.complete.push(Piece::Call { choice: 0, id, name, arguments });
        }
        Ok(())
    }

    fn counted(&mut self, usage: &Value) {
        let number = |name: &str| usage[name].as_u64();
        if let Some(input) = number("input_tokens") {
            let (read, written) = (number("cache_read_input_tokens"), number("cache_creation_input_tokens"));
            self.usage.cached_input = read.unwrap_or(0);
            self.usage.input = input + self.usage.cached_input + written.unwrap_or(0);
        }
        self.usage.output = number("output_tokens").unwrap_or(self.usage.output);
    }
}

fn index(event: &Value) -> Result<u64, Broken> {
    event["index"].as_u64().filter(|index| *index < MOST_BLOCKS).ok_or(Broken)
}

impl Read for Reader {
    fn event(&mut self, event: &Event) -> Result<Vec<Piece>, Broken> {
        let event: Value = serde_json::from_str(&event.data).map_err(|_| Broken)?;
        let kind = event["type"].as_str().ok_or(Broken)?;
        Ok(match kind {
            "message_start" => {
                self.counted(&event["message"]["usage"]);
                vec![Piece::Usage(self.usage)]
            }
            "content_block_start" => vec![self.block_begins(&event)?],
            "content_block_delta" => vec![self.delta(&event)?],
            "content_block_stop" => {
                self.block_ends(&event)?;
                vec![Piece::Progress]
            }
            "message_delta" => {
                self.counted(&event["usage"]);
                let mut out = vec![Piece::Usage(self.usage)];
                if let Some(reason) = event["delta"]["stop_reason"].as_str()
                    && !std::mem::replace(&mut self.finished, true)
                {
                    let finish = match (reason, event["delta"]["stop_sequence"].as_str()) {
                        ("stop_sequence", Some(text)) => Finish::StopText(text.to_owned()),
                        ("max_tokens" | "model_context_window_exceeded", _) => Finish::Length,
                        _ if !self.complete.is_empty() => Finish::ToolCalls,
                        _ => Finish::Stop,
                    };
                    out.append(&mut self.complete);
                    out.push(Piece::Finish { choice: 0, finish });
                }
                out
            }
            "message_stop" => {
                self.ended = true;
                Vec::new()
            }
            "error" => return Err(Broken),
            // Signs of life, and events of later versions.
            _ => Vec::new(),
        })
    }

    fn is_complete(&self) -> bool {
        self.finished
    }

    fn has_ended(&self) -> bool {
        self.ended
    }
}
