//! Redaction of requests: nothing private leaves from any position of any API, in any encoding.

use honelm_gateway::pii::{Api, Mode, Redactor, Vault};
use honelm_testing::egress::leaks;
use serde_json::{Value, json};

use crate::detector;

/// Secrets of different kinds; each test puts all of them at one position.
const SECRETS: [&str; 6] = [
    "4111 1111 1111 1111",
    "anna.kowalska@example.org",
    "GB82 WEST 1234 5698 7654 32",
    "Katarzyna Nowak",
    "536-90-4399",
    "+49 30 901820",
];

fn secret() -> String {
    format!(
        "My name is {}, card {}, mail {}, IBAN {}, SSN {}, phone {}.",
        SECRETS[3], SECRETS[0], SECRETS[1], SECRETS[2], SECRETS[4], SECRETS[5]
    )
}

/// A request with a text at each of eleven positions.
fn positions(api: Api, s: &str) -> Vec<(&'static str, Value)> {
    let inner = json!({ "q": s, "deep": [{ "x": s }] }).to_string();
    let keyed = json!({ s: 1 }).to_string();
    match api {
        Api::Chat => {
            let with = |message: Value| json!({ "model": "m", "messages": [{ "role": "system", "content": "Be kind." }, message] });
            let call = |arguments: &str| {
                with(
                    json!({ "role": "assistant", "tool_calls": [{ "id": "call_1", "type": "function", "function": { "name": "f", "arguments": arguments } }] }),
                )
            };
            vec![
                ("message", with(json!({ "role": "user", "content": s }))),
                ("part", with(json!({ "role": "user", "content": [{ "type": "text", "text": s }] }))),
                ("system", with(json!({ "role": "system", "content": s }))),
                ("history", with(json!({ "role": "assistant", "content": s }))),
                ("name", with(json!({ "role": "user", "name": s, "content": "Hi" }))),
                ("arguments", call(&inner)),
                ("key", call(&keyed)),
                ("result", with(json!({ "role": "tool", "tool_call_id": "call_1", "content": inner }))),
                ("metadata", json!({ "model": "m", "messages": [], "metadata": { "note": s } })),
                ("user", json!({ "model": "m", "messages": [], "user": s })),
                (
                    "description",
                    json!({ "model": "m", "messages": [], "tools": [{ "type": "function", "function": { "name": "f", "description": s,
                    "parameters": { "type": "object", "properties": { "x": { "type": "string", "enum": [s] } } } } }] }),
                ),
            ]
        }
        Api::Responses => {
            let with = |item: Value| json!({ "model": "m", "input": [item] });
            let call = |arguments: &str| {
                with(json!({ "type": "function_call", "call_id": "call_1", "name": "f", "arguments": arguments }))
            };
            vec![
                ("input", json!({ "model": "m", "input": s })),
                ("message", with(json!({ "type": "message", "role": "user", "content": s }))),
                ("part", with(json!({ "role": "user", "content": [{ "type": "input_text", "text": s }] }))),
                ("instructions", json!({ "model": "m", "input": "Hi", "instructions": s })),
                (
                    "history",
                    with(
                        json!({ "type": "message", "id": "msg_1", "role": "assistant", "content": [{ "type": "output_text", "text": s }] }),
                    ),
                ),
                ("arguments", call(&inner)),
                ("key", call(&keyed)),
                ("result", with(json!({ "type": "function_call_output", "call_id": "call_1", "output": inner }))),
                ("metadata", json!({ "model": "m", "input": "Hi", "metadata": { "note": s } })),
                ("user", json!({ "model": "m", "input": "Hi", "safety_identifier": s, "user": s })),
                (
                    "summary",
                    with(
                        json!({ "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": s }] }),
                    ),
                ),
            ]
        }
        Api::Messages => {
            let with = |role: &str, content: Value| json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": role, "content": content }] });
            let call = |input: Value| {
                with("assistant", json!([{ "type": "tool_use", "id": "toolu_1", "name": "f", "input": input }]))
            };
            vec![
                ("message", with("user", json!(s))),
                (
                    "part",
                    with("user", json!([{ "type": "text", "text": s, "cache_control": { "type": "ephemeral" } }])),
                ),
                ("system", json!({ "model": "m", "system": s, "messages": [] })),
                ("system part", json!({ "model": "m", "system": [{ "type": "text", "text": s }], "messages": [] })),
                ("history", with("assistant", json!([{ "type": "text", "text": s }]))),
                ("arguments", call(json!({ "q": s, "deep": [{ "type": s }] }))),
                ("key", call(json!({ s: 1 }))),
                (
                    "result",
                    with("user", json!([{ "type": "tool_result", "tool_use_id": "toolu_1", "content": inner }])),
                ),
                (
                    "result part",
                    with(
                        "user",
                        json!([{ "type": "tool_result", "tool_use_id": "toolu_1", "content": [{ "type": "text", "text": s }] }]),
                    ),
                ),
                ("metadata", json!({ "model": "m", "messages": [], "metadata": { "user_id": s } })),
                (
                    "description",
                    json!({ "model": "m", "messages": [], "tools": [{ "name": "f", "description": s, "input_schema": { "type": "object" } }] }),
                ),
            ]
        }
    }
}

#[test]
fn no_secret_leaves_from_any_position() {
    let detector = detector();
    let secret = secret();
    for api in [Api::Chat, Api::Responses, Api::Messages] {
        let all = positions(api, &secret);
        assert_eq!(all.len(), 11);
        for (position, body) in all {
            let recorded = body.to_string();
            assert_eq!(
                leaks(&SECRETS, recorded.as_bytes()).len(),
                SECRETS.len(),
                "{api:?} {position}: the test sees them"
            );
            for mode in [Mode::Mask, Mode::Surrogate] {
                let mut own = body.clone();
                let mut redactor = Redactor::new(&detector, mode, Vault::new([1; 32]));
                redactor.request(api, &mut own).unwrap_or_else(|e| panic!("{api:?} {position}: {e}"));
                assert_eq!(leaks(&SECRETS, own.to_string().as_bytes()), [], "{api:?} {position} {mode:?}: {own}");
                assert!(redactor.replaced().values().sum::<usize>() >= SECRETS.len());
                if mode == Mode::Surrogate {
                    let restored = redactor.vault().restorer().text(&own.to_string());
                    let back = leaks(&SECRETS, restored.as_bytes());
                    assert_eq!(back.len(), SECRETS.len(), "{api:?} {position}: {restored}");
                }
            }
            let mut blocked = Redactor::new(&detector, Mode::Block, Vault::new([1; 32]));
            let error = blocked.request(api, &mut body.clone()).expect_err("a block");
            assert_eq!(
                (error.code(), leaks(&SECRETS, error.to_string().as_bytes()), blocked.vault().len()),
                ("private-data", vec![], 0)
            );
        }
    }
}

#[test]
fn names_of_the_protocol_stay() {
    let detector = detector();
    let mut body = json!({
        "model": "gpt-4o-2024-08-06", "stream": true, "temperature": 0.5, "max_tokens": 4111, "tool_choice": { "type": "function", "function": { "name": "book" } },
        "messages": [
            { "role": "user", "content": "Katarzyna Nowak, anna.kowalska@example.org" },
            { "role": "assistant", "content": null, "tool_calls": [{ "id": "call_9f", "type": "function", "function": { "name": "book", "arguments": "{\"n\": 2}" } }] },
            { "role": "tool", "tool_call_id": "call_9f", "content": "done" },
        ],
        "tools": [{ "type": "function", "function": { "name": "book", "parameters": { "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } } } }],
    });
    let before = body.clone();
    Redactor::new(&detector, Mode::Mask, Vault::new([1; 32])).request(Api::Chat, &mut body).expect("a request");
    assert_eq!(body["messages"][0]["content"], "<PERSON>, <EMAIL_ADDRESS>");
    body["messages"][0]["content"] = before["messages"][0]["content"].clone();
    assert_eq!(body, before);
}

#[test]
fn a_value_found_once_is_replaced_everywhere() {
    let detector = detector();
    let mut body = json!({ "model": "m", "messages": [
        { "role": "user", "content": "My name is Katarzyna Nowak." },
        { "role": "assistant", "content": "as Katarzyna said to Nowak there" },
        { "role": "user", "content": "so, Nowak and Katarzyna" },
    ] });
    let mut redactor = Redactor::new(&detector, Mode::Surrogate, Vault::new([1; 32]));
    redactor.request(Api::Chat, &mut body).expect("a request");
    let text = body.to_string();
    assert!(!text.contains("Katarzyna") && !text.contains("Nowak"), "{text}");
    let name = body["messages"][0]["content"]
        .as_str()
        .and_then(|t| t.strip_prefix("My name is "))
        .map(|t| t.trim_end_matches('.'))
        .expect("a name");
    let (first, last) = name.split_once(' ').expect("two words");
    assert_eq!(body["messages"][1]["content"], format!("as {first} said to {last} there"));
}

#[test]
fn replayed_history_has_the_same_surrogates() {
    let detector = detector();
    let turn = |n: usize| {
        let messages: Vec<Value> =
            (0..=n).map(|i| json!({ "role": "user", "content": format!("{i}: {}", secret()) })).collect();
        let mut body = json!({ "model": "m", "messages": messages });
        Redactor::new(&detector, Mode::Surrogate, Vault::new([5; 32]))
            .request(Api::Chat, &mut body)
            .expect("a request");
        body["messages"].as_array().cloned().expect("messages")
    };
    let (one, three) = (turn(0), turn(2));
    assert_eq!(one[0], three[0]);
    let other = |key| {
        let mut redactor = Redactor::new(&detector, Mode::Surrogate, Vault::new([key; 32]));
        redactor.text(&secret()).expect("a text")
    };
    assert_ne!(other(5), other(6), "the key decides");
}

#[test]
fn surrogates_have_the_form_but_not_the_check_digits() {
    let detector = detector();
    let text = "card 4111 1111 1111 1111, IBAN GB82WEST12345698765432, SSN 536-90-4399, host 10.1.2.3";
    for key in 0..40 {
        let mut redactor = Redactor::new(&detector, Mode::Surrogate, Vault::new([key; 32]));
        let out = redactor.text(text).expect("a text");
        let shape = |text: &str| -> String {
            text.chars()
                .map(|c| {
                    if c.is_ascii_digit() {
                        '9'
                    } else if c.is_alphabetic() {
                        'a'
                    } else {
                        c
                    }
                })
                .collect()
        };
        assert_eq!(
            shape(out.split(", host").next().unwrap_or_default()),
            shape(text.split(", host").next().unwrap_or_default())
        );
        let again: Vec<&str> = detector.detect(&out).iter().map(|s| s.kind.name()).collect();
        assert!(!again.iter().any(|kind| ["CREDIT_CARD", "IBAN_CODE", "US_SSN"].contains(kind)), "{out}: {again:?}");
        assert!(out.contains("host 198.18."), "{out}");
    }
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let detector = detector();
    let image = json!({ "model": "m", "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }] }] });
    let tool = json!({ "model": "m", "messages": [], "tools": [{ "type": "function", "function": { "name": "mail_anna.kowalska@example.org" } }] });
    let mut deep = json!("x");
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let cases = [
        (image, "/messages/0/content/0/image_url/url: found contents that are not text"),
        (tool, "/tools/0/function/name: found private data"),
        (json!([]), "request: found no object"),
        (json!({ "model": "m", "messages": deep }), "found deeper nesting"),
    ];
    for (mut body, expected) in cases {
        let error = Redactor::new(&detector, Mode::Mask, Vault::new([1; 32]))
            .request(Api::Chat, &mut body)
            .expect_err("a refusal");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.code(), "unsearchable-request");
    }
}
