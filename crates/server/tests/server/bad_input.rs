//! Bad requests: each gets the status and error object of its protocol, and the others are not disturbed.

use hyper::Method;
use serde_json::{Value, json};

use crate::common::{config, raw, start};
use honelm_server::{Config, Limits};

fn chat(changes: Value) -> Value {
    let mut request = json!({"model": "pocket", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2});
    for (name, value) in changes.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

#[test]
fn every_wrong_field_is_named() {
    let server = start(config());
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let schema = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}});
    let tool = |function: Value| json!({"tools": [{"type": "function", "function": function}]});
    let cases = [
        (json!({"messages": []}), 400, "messages"),
        (json!({"messages": "hi"}), 400, "messages"),
        (json!({"messages": [{"content": "x"}]}), 400, "messages"),
        (json!({"messages": [{"role": "wizard", "content": "x"}]}), 400, "messages[0].role"),
        (json!({"messages": [{"role": "user", "content": 5}]}), 400, "messages[0].content"),
        (user(json!([{"type": "image_url", "image_url": {"url": "data:x"}}])), 400, "messages[0].content[0]"),
        (user(json!([{"type": "text", "text": "x"}, {"type": "input_audio"}])), 400, "messages[0].content[1]"),
        (user(json!("long ".repeat(2000))), 400, "context"),
        (json!({"model": "no-such-model"}), 404, "model"),
        (json!({"model": 7}), 400, "model"),
        (json!({"model": "../../etc/passwd"}), 404, "model"),
        (json!({"model": "/etc/passwd"}), 404, "model"),
        (json!({"temperature": -1}), 400, "temperature"),
        (json!({"temperature": "hot"}), 400, "temperature"),
        (json!({"top_p": 2}), 400, "top_p"),
        (json!({"n": 0}), 400, "n"),
        (json!({"n": 17}), 400, "n"),
        (json!({"max_tokens": -1}), 400, "max_tokens"),
        (json!({"max_tokens": 1.5}), 400, "max_tokens"),
        (json!({"stop": vec!["x"; 17]}), 400, "stop"),
        (json!({"stop": "x".repeat(2000)}), 400, "stop"),
        (json!({"stop": {"a": 1}}), 400, "stop"),
        (json!({"logit_bias": {"999999": 1}}), 400, "logit_bias"),
        (json!({"logit_bias": {"x": 1}}), 400, "logit_bias"),
        (json!({"logit_bias": {"1": 1e9}}), 400, "logit_bias"),
        (json!({"logprobs": true, "top_logprobs": 21}), 400, "top_logprobs"),
        (json!({"tools": "x"}), 400, "tools"),
        (tool(json!({"parameters": {}})), 400, "tools"),
        (tool(json!({"name": "a b"})), 400, "tools"),
        (tool(json!({"name": "f", "parameters": {"type": "string"}})), 400, "tools"),
        (json!({"tool_choice": "required"}), 400, "tool_choice"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "g"}}}), 400, "tool_choice"),
        (json!({"tool_choice": "sometimes"}), 400, "tool_choice"),
        (json!({"response_format": {"type": "xml"}}), 400, "response_format"),
        (json!({"response_format": {"type": "json_schema"}}), 400, "response_format"),
        (schema(json!({"not": {}})), 400, "not"),
        (schema(json!({"type": "string", "minLength": 5, "maxLength": 2})), 400, "schema"),
        (schema(json!({"type": "nothing"})), 400, "schema"),
    ];
    for (changes, expected, part) in cases {
        let (status, answer) = server.post("/v1/chat/completions", chat(changes.clone()));
        assert_eq!(status, expected, "{changes}: {answer}");
        let error = &answer["error"];
        let said = format!("{} {}", error["param"], error["message"]);
        assert!(said.contains(part), "{changes:.300}: {answer}");
        assert!(error["type"].is_string() && error["code"].is_string(), "{answer}");
    }
    assert_eq!(server.post("/v1/chat/completions", chat(json!({}))).0, 200, "the model still answers");
}

#[test]
fn malformed_bodies_are_errors_of_the_client() {
    let server = start(config());
    for body in [
        "",
        "{",
        "null",
        "[]",
        "5",
        "{\"messages\": }",
        "{} {}",
        "\u{feff}{}",
        "{\"n\": 1e999}",
        "{\"n\": 1, \"n\": 2}",
        "'x'",
        "\0",
    ] {
        let length = body.len().to_string();
        let headers = [("Host", "localhost"), ("Content-Length", length.as_str())];
        for path in ["/v1/chat/completions", "/v1/completions", "/tokenize", "/models/unload"] {
            let (status, text) = raw(&server, &format!("POST {path} HTTP/1.1"), &headers, body);
            let is_fine = path == "/v1/completions" && matches!(body, "{}");
            assert!(status == 400 || is_fine, "{path} {body:?}: {text}");
            assert!(text.contains("\"error\""), "{text}");
        }
    }
    let headers = [("Host", "localhost"), ("Content-Length", "6")];
    let (status, _) = raw(&server, "POST /tokenize HTTP/1.1", &headers, "\u{fffd}{}\u{1}");
    assert_eq!(status, 400);
}

#[test]
fn other_addresses_and_methods_have_errors_too() {
    let server = start(config());
    assert_eq!(server.get("/v1/nothing").0, 404);
    let (status, answer) = server.get("/v1/chat/completions");
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (405, &json!("method_not_allowed")));
    assert_eq!(server.json(Method::DELETE, "/v1/models", None).0, 405);
    assert_eq!(server.get("/v1/models/pocket").1["id"], "pocket");
    assert_eq!(server.get("/v1/models/other").0, 404);
}

#[test]
fn unknown_fields_are_counted_or_refused() {
    let server = start(config());
    let request = chat(json!({"frobnicate": 1, "verbosity": "low", "service_tier": "auto"})).to_string();
    let length = request.len().to_string();
    let headers = [("Host", "localhost"), ("Content-Length", length.as_str())];
    let (status, text) = raw(&server, "POST /v1/chat/completions HTTP/1.1", &headers, &request);
    assert_eq!(status, 200);
    assert!(text.contains("x-honelm-ignored-fields: 2"), "{text}");
    let strict = start(Config { strict_fields: true, ..config() });
    let (status, answer) = strict.post("/v1/chat/completions", chat(json!({"frobnicate": 1})));
    assert_eq!((status.as_u16(), &answer["error"]["param"]), (400, &json!("frobnicate")));
    assert_eq!(strict.post("/v1/chat/completions", chat(json!({"user": "x"}))).0, 200);
}

#[test]
fn lists_have_limits() {
    let limits = Limits { messages: 3, logit_biases: 2, ..Limits::default() };
    let server = start(Config { limits, ..config() });
    let many = json!({"messages": vec![json!({"role": "user", "content": "x"}); 4]});
    let (status, answer) = server.post("/v1/chat/completions", chat(many));
    assert_eq!((status.as_u16(), &answer["error"]["param"]), (400, &json!("messages")));
    let (status, answer) = server.post("/v1/chat/completions", chat(json!({"logit_bias": {"1": 1, "2": 1, "3": 1}})));
    assert_eq!((status.as_u16(), &answer["error"]["param"]), (400, &json!("logit_bias")));
}

/// The fields of whole numbers of each address, with their bounds.
const INTEGERS: [(&str, &str, i64, i64); 9] = [
    ("/v1/chat/completions", "max_tokens", 0, 4_294_967_295),
    ("/v1/chat/completions", "max_completion_tokens", 0, 4_294_967_295),
    ("/v1/chat/completions", "n", 1, 16),
    ("/v1/chat/completions", "top_k", -1, 4_294_967_295),
    ("/v1/chat/completions", "repeat_last_n", -1, 4_294_967_295),
    ("/v1/chat/completions", "seed", i64::MIN, i64::MAX),
    ("/v1/completions", "max_tokens", 0, 4_294_967_295),
    ("/v1/completions", "n", 1, 16),
    ("/v1/completions", "logprobs", 0, 20),
];

#[test]
fn negative_and_extreme_integers_are_errors_at_both_ends() {
    let server = start(config());
    for (path, field, least, most) in INTEGERS {
        let mut values =
            vec![json!(i64::MIN), json!(-1), json!(0), json!(1), json!(1.0), json!(0.5), json!(1e300), json!(-1e300)];
        values.extend([
            json!(u64::MAX),
            json!(i64::MAX),
            json!(u32::MAX),
            json!(i32::MIN),
            json!(2f64.powi(53)),
            json!(2f64.powi(63)),
        ]);
        values.extend(
            [least.checked_sub(1), Some(least), Some(most), most.checked_add(1)]
                .into_iter()
                .flatten()
                .map(|v| json!(v)),
        );
        values.extend([json!("1"), json!([1]), json!({}), json!(true)]);
        for value in values {
            let whole = value
                .as_i64()
                .or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && x.abs() <= 2f64.powi(53)).map(|x| x as i64));
            let fits = whole.is_some_and(|whole| (least..=most).contains(&whole));
            let mut request = chat(json!({"temperature": 0, "stop": ["e", "a", " "]}));
            request["prompt"] = json!("Hello");
            request[field] = value.clone();
            if field == "max_completion_tokens" {
                request.as_object_mut().unwrap().remove("max_tokens");
            }
            if path == "/v1/completions" {
                request.as_object_mut().unwrap().remove("messages");
            }
            let (status, answer) = server.post(path, request);
            let expected = if fits { 200 } else { 400 };
            assert_eq!(status, expected, "{path} {field} {value}: {answer}");
            assert!(
                fits || answer["error"]["param"].as_str().is_some_and(|p| p.starts_with(field)) || field == "logprobs",
                "{answer}"
            );
        }
    }
}

mod integers {
    use honelm_server::fields::{Int, Num, parse};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_integer_is_read_exactly_or_refused(value in any::<i128>(), shift in 0u32..127) {
            let value = value >> shift;
            let read = parse::<Int<-5, 1_000_000>>(value.to_string().as_bytes());
            match i64::try_from(value).ok().filter(|value| (-5..=1_000_000).contains(value)) {
                Some(value) => prop_assert_eq!(read.unwrap().get(), value),
                None => prop_assert!(read.is_err()),
            }
        }

        #[test]
        fn a_number_is_finite_and_in_range_or_refused(value in any::<f64>()) {
            if let Ok(read) = parse::<Num<-2, 2>>(serde_json::json!(value).to_string().as_bytes()) {
                prop_assert!((-2.0..=2.0).contains(&read.get()) && (-2.0..=2.0).contains(&value));
            } else {
                prop_assert!(!(-2.0..=2.0).contains(&value));
            }
        }
    }
}
