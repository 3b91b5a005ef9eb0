//! The Responses API with the shipped model.

use hyper::Method;
use serde_json::{Value, json};

use crate::common::{Running, config, start};

/// Sends a request and returns its events.
fn stream(server: &Running, request: Value) -> Vec<Value> {
    let events = server.frames("/v1/responses", request);
    events
        .into_iter()
        .map(|(name, data)| {
            let event: Value = serde_json::from_str(&data).unwrap();
            assert_eq!(event["type"], name.unwrap(), "the name of an event is its type");
            event
        })
        .collect()
}

fn output_text(response: &Value) -> String {
    let parts = response["output"].as_array().unwrap().iter().flat_map(|item| item["content"].as_array().unwrap());
    parts.map(|part| part["text"].as_str().unwrap()).collect()
}

#[test]
fn events_come_in_order_and_make_the_same_response() {
    let server = start(config());
    let request = json!({
        "model": "pocket", "instructions": "You are kind.", "input": "Tell me a story.", "max_output_tokens": 16,
        "temperature": 0, "metadata": {"purpose": "test"}, "include": ["message.output_text.logprobs"], "top_logprobs": 2,
    });
    let (status, whole) = server.post("/v1/responses", request.clone());
    assert_eq!(status, 200, "{whole}");
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("incomplete")), "{whole}");
    assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!((&whole["metadata"]["purpose"], &whole["usage"]["output_tokens"]), (&json!("test"), &json!(16)));
    assert_eq!(whole["output"][0]["content"][0]["logprobs"].as_array().unwrap().len(), 16);

    let mut streamed = request;
    streamed["stream"] = json!(true);
    let events = stream(&server, streamed);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let opening =
        ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"];
    let closing =
        ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete"];
    assert_eq!(types[..4], opening);
    assert_eq!(types[types.len() - 4..], closing);
    assert!(types[4..types.len() - 4].iter().all(|name| *name == "response.output_text.delta"));
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    let last = &events[events.len() - 1]["response"];
    assert_eq!((deltas.as_str(), output_text(last)), (output_text(&whole).as_str(), output_text(&whole)));
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert!(last["usage"]["input_tokens_details"]["cached_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn a_response_follows_a_stored_one() {
    let server = start(config());
    let ask = |request: Value| server.post("/v1/responses", request);
    let (_, first) = ask(json!({"model": "pocket", "input": "Tell me a story.", "max_output_tokens": 4}));
    let id = first["id"].as_str().unwrap();
    let question = json!({"role": "user", "content": [{"type": "input_text", "text": "And then?"}]});
    let next = json!({
        "model": "pocket", "input": [question], "previous_response_id": id, "max_output_tokens": 4, "temperature": 0
    });
    let (status, second) = ask(next.clone());
    assert_eq!((status.as_u16(), &second["previous_response_id"]), (200, &json!(id)), "{second}");
    // The same conversation, sent at once.
    let mut items = vec![json!({"role": "user", "content": "Tell me a story."})];
    items.extend(first["output"].as_array().unwrap().iter().cloned());
    items.push(question);
    let stateless =
        json!({"model": "pocket", "input": items, "store": false, "max_output_tokens": 4, "temperature": 0});
    let (_, at_once) = ask(stateless);
    assert_eq!(output_text(&at_once), output_text(&second));
    assert_eq!(at_once["usage"]["input_tokens"], second["usage"]["input_tokens"]);

    let (_, counted) = server.post("/v1/responses/input_tokens", next);
    assert_eq!(counted["input_tokens"], second["usage"]["input_tokens"]);
    let path = format!("/v1/responses/{}", second["id"].as_str().unwrap());
    assert_eq!(server.get(&path).1["output"], second["output"]);
    let (_, items) = server.get(&format!("{path}/input_items"));
    assert_eq!((items["data"].as_array().unwrap().len(), &items["data"][0]["role"]), (1, &json!("user")));
    assert_eq!(server.json(Method::DELETE, &path, None).1["deleted"], true);
    for gone in [path, format!("/v1/responses/{}", at_once["id"].as_str().unwrap())] {
        let (status, error) = server.get(&gone);
        assert_eq!((status.as_u16(), &error["error"]["code"]), (404, &json!("response_not_found")));
    }
    let (status, error) = ask(json!({"model": "pocket", "input": "Hi", "previous_response_id": "resp_none"}));
    assert_eq!((status.as_u16(), &error["error"]["code"]), (400, &json!("previous_response_not_found")));
}

#[test]
fn broken_requests_are_refused_with_their_place() {
    let server = start(config());
    let cases = [
        (json!({}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": [{"role": "robot", "content": "Hi"}]}), "input[0].role"),
        (json!({"input": [{"content": "Hi"}]}), "input[0].role"),
        (json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}), "input[0].content[0].type"),
        (json!({"input": [{"type": "function_call", "name": "f"}]}), "input[0].call_id"),
        (json!({"input": [{"type": "function_call_output", "call_id": "c"}]}), "input[0].output"),
        (json!({"input": "Hi", "background": true}), "background"),
        (json!({"input": "Hi", "conversation": "conv_1"}), "conversation"),
        (json!({"input": "Hi", "truncation": "half"}), "truncation"),
        (json!({"input": "Hi", "max_output_tokens": 0}), "max_output_tokens"),
        (json!({"input": "Hi", "temperature": 3}), "temperature"),
        (json!({"input": "Hi", "tool_choice": "maybe"}), "tool_choice"),
        (json!({"input": "Hi", "tool_choice": {"type": "function"}}), "tool_choice"),
        (json!({"input": "Hi", "text": {"format": {"type": "json_schema"}}}), "text.format.schema"),
        (json!({"input": "Hi", "text": {"format": {"type": "xml"}}}), "text.format.type"),
    ];
    for (mut request, place) in cases {
        request["model"] = json!("pocket");
        let (status, error) = server.post("/v1/responses", request.clone());
        assert_eq!((status.as_u16(), &error["error"]["param"]), (400, &json!(place)), "{request} {error}");
        assert_eq!(error["error"]["type"], "invalid_request_error");
    }
}
