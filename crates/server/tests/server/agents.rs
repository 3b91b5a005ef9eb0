//! The requests of three coding agents, written by hand from their documentation, in a conversation of two turns: the model
//! calls a tool, gets its result, and answers.

use hyper::Method;
use serde_json::{Value, json};

use crate::common::{Running, config, runtime, start_with};
use crate::scripted;

/// The arguments of the call that the script makes.
const ARGUMENTS: &str = r#"{"command": ["bash", "-lc", "ls"]}"#;

/// Starts a server whose model lists the files with `tool`, and then tells how many there are.
fn agent_server(tool: &'static str, arguments: &'static str) -> Running {
    let registry = honelm_server::models(&config(), &crate::common::run_options(), None).unwrap();
    scripted::add(&registry, "scripted", move |prompt| {
        if prompt.contains("<tool_response>\n") {
            assert!(prompt.contains("main.rs"), "the result is in the prompt: {prompt}");
            return "<think>There is one.</think>One file: main.rs".to_owned();
        }
        assert!(prompt.contains(&format!("\"name\":\"{tool}\"")), "the tools are in the prompt: {prompt}");
        format!(
            "<think>I list them.</think>I look.<tool_call>\n{{\"name\": \"{tool}\", \"arguments\": {arguments}}}\n</tool_call>"
        )
    });
    start_with(config(), registry, None)
}

/// Sends a request, and returns the number of ignored fields and the events.
fn stream(server: &Running, path: &str, request: &Value) -> (usize, Vec<(Option<String>, String)>) {
    let headers = runtime().block_on(async {
        let response = server.client().send(Method::POST, path, Some(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        response.headers().clone()
    });
    let ignored = headers.get("x-honelm-ignored-fields").map_or(0, |n| n.to_str().unwrap().parse().unwrap());
    (ignored, server.frames(path, request.clone()))
}

fn json_of(frames: &[(Option<String>, String)]) -> Vec<Value> {
    frames.iter().filter(|(_, data)| data != "[DONE]").map(|(_, data)| serde_json::from_str(data).unwrap()).collect()
}

#[test]
fn an_agent_that_speaks_responses_is_answered() {
    let server = agent_server("shell", ARGUMENTS);
    let mut request: Value = serde_json::from_str(include_str!("../agents/responses.json")).unwrap();
    let (ignored, frames) = stream(&server, "/v1/responses", &request);
    // Twelve fields, and five tools that are no functions.
    assert_eq!(ignored, 17);
    let events = json_of(&frames);
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let mut shape = types.clone();
    shape.dedup();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(shape, expected);
    let last = &events[events.len() - 1]["response"];
    let output = last["output"].as_array().unwrap();
    let kinds: Vec<&str> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call"]);
    assert_eq!(output[1]["content"][0]["text"], "I look.");
    let arguments: Value = serde_json::from_str(output[2]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, serde_json::from_str::<Value>(ARGUMENTS).unwrap());
    assert!(last["usage"]["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);
    for (i, item) in output.iter().enumerate() {
        let done =
            events.iter().find(|event| event["type"] == "response.output_item.done" && event["output_index"] == i);
        assert_eq!(&done.unwrap()["item"], item);
    }

    // The next turn repeats everything, with the result of the call.
    let input = request["input"].as_array_mut().unwrap();
    input.extend(output.iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": output[2]["call_id"], "output": "main.rs\n"}));
    let (_, frames) = stream(&server, "/v1/responses", &request);
    let events = json_of(&frames);
    let last = &events[events.len() - 1]["response"];
    assert_eq!(
        (&last["status"], &last["output"][1]["content"][0]["text"]),
        (&json!("completed"), &json!("One file: main.rs"))
    );
    assert!(last["usage"]["input_tokens_details"]["cached_tokens"].as_u64().unwrap() > 100, "{}", last["usage"]);
}

#[test]
fn an_agent_that_begins_with_a_changing_line_finds_its_prefix_cached() {
    let server = agent_server("Bash", r#"{"command": "ls"}"#);
    let text = include_str!("../agents/messages.json");
    let turn = |cch: &str| -> Value { serde_json::from_str(&text.replace("CHANGES", cch)).unwrap() };
    let path = "/v1/messages?beta=true";
    let frames = server.frames(path, turn("0a1b2"));
    let events = json_of(&frames);
    let names: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let mut shape = names.clone();
    shape.dedup();
    let part = ["content_block_start", "content_block_delta", "content_block_stop"];
    let expected = [&["message_start", "ping"][..], &part, &part, &part, &["message_delta", "message_stop"]].concat();
    assert_eq!(shape, expected);
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
    let prompt = events[0]["message"]["usage"]["input_tokens"].as_u64().unwrap();

    // The same request with another number in its first line.
    let (ignored, frames) = stream(&server, path, &turn("9f8e7"));
    assert_eq!(ignored, 2, "one field, and one tool that another server runs");
    let usage = json_of(&frames)[0]["message"]["usage"].clone();
    assert!(usage["cache_read_input_tokens"].as_u64().unwrap() >= prompt - 2, "{usage} of {prompt}");

    let mut whole = turn("00000");
    whole["stream"] = json!(false);
    let (_, first) = server.post(path, whole.clone());
    let content = first["content"].as_array().unwrap();
    let kinds: Vec<&str> = content.iter().map(|part| part["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use"]);
    assert_eq!((&content[2]["name"], &content[2]["input"]), (&json!("Bash"), &json!({"command": "ls"})));
    let result = json!({"type": "tool_result", "tool_use_id": content[2]["id"], "content": [{"type": "text", "text": "main.rs"}], "is_error": false});
    let messages = whole["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": content}));
    messages.push(json!({"role": "user", "content": [result]}));
    let (_, second) = server.post(path, whole);
    assert_eq!(
        (&second["stop_reason"], &second["content"][1]["text"]),
        (&json!("end_turn"), &json!("One file: main.rs"))
    );
}

#[test]
fn an_agent_that_speaks_chat_completions_is_answered() {
    let server = agent_server("bash", r#"{"command": "ls", "description": "list"}"#);
    let mut request: Value = serde_json::from_str(include_str!("../agents/chat.json")).unwrap();
    let (ignored, frames) = stream(&server, "/v1/chat/completions", &request);
    assert_eq!(ignored, 2);
    assert_eq!(frames[frames.len() - 1].1, "[DONE]");
    let (mut text, mut call, mut arguments, mut finish) = (String::new(), Value::Null, String::new(), Value::Null);
    for chunk in json_of(&frames) {
        let Some(choice) = chunk["choices"].get(0) else { continue };
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        if let Some(delta) = choice["delta"]["tool_calls"].get(0) {
            if delta["id"].is_string() {
                call = delta.clone();
            }
            arguments.push_str(delta["function"]["arguments"].as_str().unwrap_or_default());
        }
        if choice["finish_reason"].is_string() {
            finish = choice["finish_reason"].clone();
        }
    }
    assert_eq!((text.as_str(), finish, &call["function"]["name"]), ("I look.", json!("tool_calls"), &json!("bash")));
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap()["command"], "ls");
    let messages = request["messages"].as_array_mut().unwrap();
    let function = json!({"name": "bash", "arguments": arguments});
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": [{"id": call["id"], "type": "function", "function": function}]}));
    messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "main.rs"}));
    request["stream"] = json!(false);
    request.as_object_mut().unwrap().remove("stream_options");
    let (status, second) = server.post("/v1/chat/completions", request);
    assert_eq!((status.as_u16(), &second["choices"][0]["message"]["content"]), (200, &json!("One file: main.rs")));
}
