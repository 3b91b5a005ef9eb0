//! The Messages API with the shipped model.

use serde_json::{Value, json};

use crate::common::{config, start};

fn text(message: &Value) -> String {
    message["content"].as_array().unwrap().iter().map(|part| part["text"].as_str().unwrap()).collect()
}

#[test]
fn events_come_in_order_and_make_the_same_message() {
    let server = start(config());
    let request = json!({
        "model": "pocket", "system": [{"type": "text", "text": "You are kind.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "Tell me a story."},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "A cat?", "signature": ""}, {"type": "text", "text": "A cat sat."}
            ]},
            {"role": "user", "content": [{"type": "text", "text": "And then?"}]},
        ],
        "max_tokens": 12, "temperature": 0,
    });
    let (status, whole) = server.post("/v1/messages", request.clone());
    assert_eq!(status, 200, "{whole}");
    assert_eq!((&whole["type"], &whole["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!((&whole["stop_reason"], &whole["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(12)));
    let (_, counted) = server.post(
        "/v1/messages/count_tokens",
        json!({
            "model": "pocket", "system": request["system"], "messages": request["messages"],
        }),
    );
    let prompt = |message: &Value| {
        ["input_tokens", "cache_read_input_tokens"].map(|name| message["usage"][name].as_u64().unwrap()).iter().sum()
    };
    assert_eq!(counted["input_tokens"].as_u64(), Some(prompt(&whole)));

    let mut streamed = request;
    streamed["stream"] = json!(true);
    let frames = server.frames("/v1/messages", streamed);
    let names: Vec<&str> = frames.iter().map(|(name, _)| name.as_deref().unwrap()).collect();
    assert_eq!(names[..3], ["message_start", "ping", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert!(names[3..names.len() - 3].iter().all(|name| *name == "content_block_delta"));
    let events: Vec<Value> = frames.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    let deltas: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(deltas, text(&whole));
    assert!(events[0]["message"]["usage"]["cache_read_input_tokens"].as_u64().unwrap() > 0);
    let end = &events[events.len() - 2];
    assert_eq!((&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(12)));
}

#[test]
fn a_stop_text_of_the_request_is_named() {
    let server = start(config());
    let request = json!({
        "model": "pocket", "messages": [{"role": "user", "content": "Tell me a story."}],
        "max_tokens": 60, "temperature": 0, "stop_sequences": [" "],
    });
    let (_, message) = server.post("/v1/messages", request);
    assert_eq!(
        (&message["stop_reason"], &message["stop_sequence"]),
        (&json!("stop_sequence"), &json!(" ")),
        "{message}"
    );
    assert!(!text(&message).contains(' '));
}

#[test]
fn broken_requests_are_refused_as_anthropic_does() {
    let server = start(config());
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let cases = [
        (json!({"messages": [{"role": "user", "content": "Hi"}]}), "max_tokens"),
        (json!({"max_tokens": 4}), "messages"),
        (json!({"max_tokens": 4, "messages": []}), "messages"),
        (json!({"max_tokens": 4, "messages": [{"role": "user", "content": [image]}]}), "messages.0.content.0.type"),
        (json!({"max_tokens": 4, "messages": [{"role": "robot", "content": "Hi"}]}), "messages.0.role"),
        (
            json!({"max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]}),
            "messages",
        ),
        (json!({"max_tokens": 4, "messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}), "tool_use_id"),
        (json!({"max_tokens": -4, "messages": [{"role": "user", "content": "Hi"}]}), "max_tokens"),
        (
            json!({"max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}], "tools": [{"input_schema": {}}]}),
            "tools[0].name",
        ),
        (
            json!({"max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}], "tool_choice": {"type": "tool"}}),
            "tool_choice.name",
        ),
    ];
    for (mut request, place) in cases {
        request["model"] = json!("pocket");
        let (status, error) = server.post("/v1/messages", request.clone());
        assert_eq!((status.as_u16(), &error["type"]), (400, &json!("error")), "{request} {error}");
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert!(error["error"]["message"].as_str().unwrap().contains(place), "{error}");
    }
    let hello = json!([{"role": "user", "content": "Hi"}]);
    let (status, error) = server.post("/v1/messages", json!({"model": "none", "max_tokens": 4, "messages": hello}));
    assert_eq!((status.as_u16(), &error["error"]["type"]), (404, &json!("not_found_error")));
}
