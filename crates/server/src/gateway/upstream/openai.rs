//! OpenAI's chat completions, as a client.

use honelm_gateway::accounting::Usage;
use honelm_gateway::policy::Upstream;
use honelm_grammar::Constraint;
use honelm_text::Message;
use honelm_text::answer::{Tool, ToolChoice};
use serde_json::{Map, Value, json};

use super::sse::Event;
use super::{Broken, Piece, Read, arguments_text};
use crate::job::{Finish, Job, Prompt, TokenLogprob, TopLogprob};

/// The most calls of an answer.
const MOST_CALLS: usize = 128;

/// Returns the body of a request.
pub(super) fn body(to: &Upstream, job: &Job, answer_tokens: Option<u64>) -> Value {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    set("model", to.model.as_str().into());
    set("stream", true.into());
    set("stream_options", json!({"include_usage": true}));
    if let Prompt::Chat { messages, options } = &job.prompt {
        set("messages", messages.iter().map(message).collect());
        if let Some(effort) = options.extra.get("reasoning_effort") {
            set("reasoning_effort", effort.clone());
        }
    }
    let given = &job.given;
    // A number as people write it: a float of 32 bits has no short form as one of 64.
    let number = |x: f32| x.to_string().parse::<f64>().map_or(Value::Null, Value::from);
    for (name, value) in [
        ("temperature", given.temperature),
        ("top_p", given.top_p),
        ("frequency_penalty", given.frequency_penalty),
        ("presence_penalty", given.presence_penalty),
    ] {
        if let Some(value) = value {
            set(name, number(value));
        }
    }
    if let Some(seed) = given.seed.filter(|seed| *seed >= 0) {
        set("seed", seed.into());
    }
    if !given.stop.is_empty() {
        set("stop", json!(given.stop));
    }
    if let Some(most) = answer_tokens {
        set(limit_name(&to.url), most.into());
    }
    if job.choices > 1 {
        set("n", job.choices.into());
    }
    if let Some(top) = given.logprobs {
        set("logprobs", true.into());
        set("top_logprobs", top.into());
    }
    if !job.tools.is_empty() {
        set("tools", job.tools.iter().map(Tool::to_value).collect());
        set("tool_choice", tool_choice(&job.tool_choice));
        if !job.parallel_calls {
            set("parallel_tool_calls", false.into());
        }
    }
    if let Some(format) = job.constraint.as_ref().and_then(response_format) {
        set("response_format", format);
    }
    Value::Object(body)
}

/// Returns the name of the limit of tokens. OpenAI refuses the older one for its newer models; other servers may know only
/// that.
fn limit_name(url: &str) -> &'static str {
    let host = url.split('/').nth(2).unwrap_or_default();
    if host.ends_with("openai.com") || host.ends_with("azure.com") { "max_completion_tokens" } else { "max_tokens" }
}

fn message(message: &Message) -> Value {
    let mut out = json!({"role": message.role, "content": message.content});
    if let Some(id) = message.extra.get("tool_call_id") {
        out["tool_call_id"] = id.clone();
    }
    if let Some(name) = message.extra.get("name").filter(|_| message.role != "tool") {
        out["name"] = name.clone();
    }
    let calls = message.extra.get("tool_calls").and_then(Value::as_array).filter(|calls| !calls.is_empty());
    if let Some(calls) = calls {
        let call = |call: &Value| {
            let function = &call["function"];
            let arguments = arguments_text(&function["arguments"]);
            json!({"id": call["id"], "type": "function", "function": {"name": function["name"], "arguments": arguments}})
        };
        out["tool_calls"] = calls.iter().map(call).collect();
        if out["content"] == "" {
            out["content"] = Value::Null;
        }
    }
    out
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn response_format(constraint: &Constraint) -> Option<Value> {
    match constraint {
        Constraint::JsonObject => Some(json!({"type": "json_object"})),
        Constraint::JsonSchema(schema) => {
            let schema = json!({"name": "answer", "schema": schema, "strict": is_strict(schema)});
            Some(json!({"type": "json_schema", "json_schema": schema}))
        }
        _ => None,
    }
}

/// Returns `true` if OpenAI can enforce a schema: every object lists all its properties as required, and has no others.
fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            let own = match fields.get("properties").and_then(Value::as_object) {
                Some(properties) => {
                    let required = fields.get("required").and_then(Value::as_array).map_or(0, Vec::len);
                    required == properties.len() && fields.get("additionalProperties") == Some(&Value::Bool(false))
                }
                None => fields.get("type").is_none_or(|kind| kind != "object"),
            };
            own && fields.values().all(is_strict)
        }
        Value::Array(values) => values.iter().all(is_strict),
        _ => true,
    }
}

/// The reader of a stream of chunks.
pub(super) struct Reader {
    choices: Vec<Choice>,
    done: bool,
}

#[derive(Default)]
struct Choice {
    calls: Vec<Call>,
    finished: bool,
}

#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Reader {
    pub fn new(choices: usize) -> Self {
        Self { choices: (0..choices.max(1)).map(|_| Choice::default()).collect(), done: false }
    }

    fn choice(&mut self, value: &Value, out: &mut Vec<Piece>) -> Result<(), Broken> {
        let choice = value["index"].as_u64().map_or(Some(0), |index| usize::try_from(index).ok()).ok_or(Broken)?;
        let state = self.choices.get_mut(choice).ok_or(Broken)?;
        let delta = &value["delta"];
        let text = |names: &[&str]| {
            let found = names.iter().find_map(|name| delta[name].as_str());
            found.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        if let Some(text) = text(&["reasoning_content", "reasoning"]) {
            out.push(Piece::Reasoning { choice, text });
        }
        let logprobs: Vec<TokenLogprob> =
            value["logprobs"]["content"].as_array().into_iter().flatten().map(logprob).collect();
        match text(&["content", "refusal"]) {
            Some(text) => out.push(Piece::Text { choice, text, logprobs }),
            None if !logprobs.is_empty() => out.push(Piece::Text { choice, text: String::new(), logprobs }),
            None => {}
        }
        for (i, call) in delta["tool_calls"].as_array().into_iter().flatten().enumerate() {
            state.call(i, call)?;
            out.push(Piece::Progress);
        }
        if let Some(reason) = value["finish_reason"].as_str()
            && !std::mem::replace(&mut state.finished, true)
        {
            let finish = match reason {
                "length" => Finish::Length,
                _ if !state.calls.is_empty() => Finish::ToolCalls,
                _ => Finish::Stop,
            };
            out.extend(state.calls.drain(..).map(|call| call.whole(choice)));
            out.push(Piece::Finish { choice, finish });
        }
        Ok(())
    }
}

impl Choice {
    fn call(&mut self, position: usize, delta: &Value) -> Result<(), Broken> {
        let index = delta["index"].as_u64().map_or(position, |index| usize::try_from(index).unwrap_or(usize::MAX));
        if index >= MOST_CALLS {
            return Err(Broken);
        }
        if self.calls.len() <= index {
            self.calls.resize_with(index + 1, Call::default);
        }
        let call = &mut self.calls[index];
        if let Some(id) = delta["id"].as_str().filter(|id| !id.is_empty()) {
            id.clone_into(&mut call.id);
        }
        if let Some(name) = delta["function"]["name"].as_str() {
            call.name.push_str(name);
        }
        match &delta["function"]["arguments"] {
            Value::String(text) => call.arguments.push_str(text),
            // Some servers send the arguments as an object.
            object @ Value::Object(_) => call.arguments.push_str(&object.to_string()),
            _ => {}
        }
        Ok(())
    }
}

impl Call {
    fn whole(self, choice: usize) -> Piece {
        let id = if self.id.is_empty() { crate::ids::new("call_") } else { self.id };
        let arguments = if self.arguments.is_empty() { "{}".to_owned() } else { self.arguments };
        Piece::Call { choice, id, name: self.name, arguments }
    }
}

impl Read for Reader {
    fn event(&mut self, event: &Event) -> Result<Vec<Piece>, Broken> {
        if event.data.trim() == "[DONE]" {
            self.done = true;
            let open = self.choices.iter_mut().enumerate().filter(|(_, choice)| !choice.finished);
            return open.map(|(choice, state)| state.end(choice)).collect();
        }
        let chunk: Value = serde_json::from_str(&event.data).map_err(|_| Broken)?;
        if !chunk.is_object() || chunk.get("error").is_some_and(|error| !error.is_null()) {
            return Err(Broken);
        }
        let mut out = Vec::new();
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            self.choice(choice, &mut out)?;
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            out.push(Piece::Usage(used(usage)));
        }
        Ok(out)
    }

    fn is_complete(&self) -> bool {
        self.choices.iter().all(|choice| choice.finished)
    }

    fn has_ended(&self) -> bool {
        self.done
    }
}

impl Choice {
    /// Ends an answer whose stream names no reason. Calls without a reason may be cut.
    fn end(&mut self, choice: usize) -> Result<Piece, Broken> {
        self.finished = true;
        if self.calls.is_empty() { Ok(Piece::Finish { choice, finish: Finish::Stop }) } else { Err(Broken) }
    }
}

fn used(usage: &Value) -> Usage {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let cached_input = number(&usage["prompt_tokens_details"]["cached_tokens"]);
    Usage { input: number(&usage["prompt_tokens"]), cached_input, output: number(&usage["completion_tokens"]) }
}

fn logprob(entry: &Value) -> TokenLogprob {
    let (text, bytes, logprob) = named(entry);
    let top = entry["top_logprobs"].as_array().into_iter().flatten().map(|entry| {
        let (text, bytes, logprob) = named(entry);
        TopLogprob { id: 0, text, bytes, logprob }
    });
    TokenLogprob { id: 0, text, bytes, logprob: Some(logprob), top: top.collect() }
}

fn named(entry: &Value) -> (String, Vec<u8>, f32) {
    let text = entry["token"].as_str().unwrap_or_default().to_owned();
    let bytes = match entry["bytes"].as_array() {
        Some(bytes) => bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect(),
        None => text.clone().into_bytes(),
    };
    (text, bytes, entry["logprob"].as_f64().unwrap_or(0.0) as f32)
}
