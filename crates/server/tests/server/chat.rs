//! Chat completions with the shipped model.

use serde_json::{Value, json};

use crate::common::{config, run_options, start, start_long};

#[test]
fn an_answer_is_the_same_whole_and_streamed() {
    let server = start(config());
    let request = json!({
        "model": "pocket", "messages": [{"role": "user", "content": "Tell me a story."}],
        "max_tokens": 24, "temperature": 0.8, "seed": 7, "n": 2,
    });
    let (status, whole) = server.post("/v1/chat/completions", request.clone());
    assert_eq!(status, 200, "{whole}");
    assert_eq!((&whole["object"], &whole["model"]), (&json!("chat.completion"), &json!("pocket")));
    let texts: Vec<&str> = (0..2).map(|i| whole["choices"][i]["message"]["content"].as_str().unwrap()).collect();
    assert!(!texts[0].is_empty() && texts[0] != texts[1], "{whole}");
    assert_eq!(whole["usage"]["completion_tokens"].as_u64().unwrap(), 48);

    let mut streamed = request;
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    let events = server.events("/v1/chat/completions", streamed);
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let mut found = [String::new(), String::new()];
    let mut ends = [0, 0];
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        for choice in chunk["choices"].as_array().unwrap() {
            let index = choice["index"].as_u64().unwrap() as usize;
            found[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            ends[index] += usize::from(choice["finish_reason"] == "length");
        }
    }
    assert_eq!((found[0].as_str(), found[1].as_str(), ends), (texts[0], texts[1], [1, 1]));
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!(usage["completion_tokens"], 48);
    assert_eq!(usage["prompt_tokens"], whole["usage"]["prompt_tokens"]);
    assert!(usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 0, "the prompt was cached");
}

fn weather() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
        "required": ["city", "days"],
        "additionalProperties": false,
    });
    json!([
        {"type": "function", "function": {"name": "weather", "description": "Tells the weather.", "parameters": parameters}},
        {"type": "web_search_preview"},
    ])
}

#[test]
fn a_call_that_is_required_is_valid_and_the_same_streamed() {
    let server = start_long();
    let request = json!({
        "messages": [{"role": "user", "content": "How is the weather in Rome?"}],
        "tools": weather(), "tool_choice": "required", "parallel_tool_calls": false, "max_tokens": 120, "seed": 3,
    });
    let (status, whole) = server.post("/v1/chat/completions", request.clone());
    assert_eq!(status, 200, "{whole}");
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{whole}");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("weather")));
    let arguments = call["function"]["arguments"].as_str().unwrap();
    let parsed: Value = serde_json::from_str(arguments).unwrap();
    assert!(parsed["city"] == "Oslo" || parsed["city"] == "Rome", "{arguments}");
    assert!((1..=7).contains(&parsed["days"].as_i64().unwrap()), "{arguments}");

    let mut streamed = request.clone();
    streamed["stream"] = json!(true);
    let events = server.events("/v1/chat/completions", streamed);
    let (mut name, mut written, mut finish, mut content) = (String::new(), String::new(), Value::Null, String::new());
    for chunk in events.iter().filter(|event| *event != "[DONE]") {
        let chunk: Value = serde_json::from_str(chunk).unwrap();
        let choice = &chunk["choices"][0];
        content.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            name.push_str(call["function"]["name"].as_str().unwrap_or_default());
            written.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
        if !choice["finish_reason"].is_null() {
            finish = choice["finish_reason"].clone();
        }
    }
    assert_eq!((name.as_str(), written.as_str(), finish), ("weather", arguments, json!("tool_calls")));
    assert_eq!(content.trim(), "", "no part of a call is text");

    // The call and its result go back into the conversation.
    let mut next = request;
    let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "Sunny."});
    next["messages"].as_array_mut().unwrap().extend([choice["message"].clone(), result]);
    next["tool_choice"] = json!("none");
    let (status, answer) = server.post("/v1/chat/completions", next);
    assert_eq!((status.as_u16(), &answer["choices"][0]["message"]["tool_calls"]), (200, &Value::Null), "{answer}");
}

#[test]
fn an_answer_matches_its_schema() {
    let server = start_long();
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "old": {"type": "boolean"}},
        "required": ["name", "old"], "additionalProperties": false});
    for format in [
        json!({"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}),
        json!({"type": "json_object", "schema": schema}),
    ] {
        let request = json!({"messages": [{"role": "user", "content": "Who?"}], "response_format": format, "max_tokens": 500, "temperature": 1, "seed": 2});
        let (status, answer) = server.post("/v1/chat/completions", request);
        assert_eq!(status, 200, "{answer}");
        let choice = &answer["choices"][0];
        let person: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).expect("JSON");
        assert!(person["name"].is_string() && person["old"].is_boolean(), "{person}");
        assert_eq!(choice["finish_reason"], "stop");
    }
}

#[test]
fn a_header_line_that_changes_does_not_empty_the_prefix_cache() {
    let server = start(config());
    let cached = |line: &str| {
        let system =
            format!("{line}You are a storyteller who writes short stories about the sea, the wind and the boats.");
        let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": "Begin."}]);
        let (status, answer) =
            server.post("/v1/chat/completions", json!({"messages": messages, "max_tokens": 1, "temperature": 0}));
        assert_eq!(status, 200, "{answer}");
        let usage = &answer["usage"];
        (usage["prompt_tokens"].as_u64().unwrap(), usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap())
    };
    let line =
        |changing: &str| format!("x-anthropic-billing-header: cc_version=2.1.0; cc_entrypoint=cli; cch={changing};\n");
    let (tokens, first) = cached(&line("0f3a1"));
    assert!(first < tokens / 2, "{first} of {tokens}");
    let (_, second) = cached(&line("99b07"));
    assert_eq!(second, tokens - 1, "all but the token whose logits are needed");
    assert_eq!(cached("").0, tokens, "the line is not part of the prompt");
}

#[test]
fn log_probabilities_are_those_of_the_tokens() {
    let server = start(config());
    let request = json!({"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 5, "temperature": 0,
        "logprobs": true, "top_logprobs": 3});
    let (_, answer) = server.post("/v1/chat/completions", request);
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), 5);
    for token in tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!((&top[0]["token"], &top[0]["logprob"]), (&token["token"], &token["logprob"]), "greedy");
        assert!(token["logprob"].as_f64().unwrap() <= 0.0 && token["bytes"].is_array());
    }
}

#[test]
fn a_prompt_is_echoed_with_the_log_probabilities_of_its_tokens() {
    let server = start(config());
    let text = "Once upon a time there was a";
    let request = json!({"prompt": text, "max_tokens": 0, "echo": true, "logprobs": 2});
    let (status, answer) = server.post("/v1/completions", request);
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], text);
    let (tokens, scores) =
        (choice["logprobs"]["tokens"].as_array().unwrap(), choice["logprobs"]["token_logprobs"].as_array().unwrap());
    assert_eq!(tokens.len(), scores.len());
    assert!(scores[0].is_null() && scores[1..].iter().all(|score| score.as_f64().unwrap() <= 0.0), "{answer}");
    // The prompt begins with BOS, which has a name and no text.
    assert_eq!(tokens[1..].iter().map(|token| token.as_str().unwrap()).collect::<String>(), text);
    assert_eq!(
        (&choice["logprobs"]["text_offset"][1], &choice["logprobs"]["text_offset"][2]),
        (&json!(0), &json!(tokens[1].as_str().unwrap().len()))
    );
    // The answer has the same log-probabilities whether the prompt is echoed or not.
    let ask = |echo: bool| {
        let request = json!({"prompt": text, "max_tokens": 3, "temperature": 0, "echo": echo, "logprobs": 1});
        server.post("/v1/completions", request).1["choices"][0].clone()
    };
    let (with, without) = (ask(true), ask(false));
    assert_eq!(with["text"].as_str().unwrap(), format!("{text}{}", without["text"].as_str().unwrap()));
    let (of_with, of_without) = (
        with["logprobs"]["token_logprobs"].as_array().unwrap(),
        without["logprobs"]["token_logprobs"].as_array().unwrap(),
    );
    assert_eq!(of_with[tokens.len()..], of_without[..]);
}

#[test]
fn completions_take_texts_and_tokens() {
    let server = start(config());
    let ids = server.post("/tokenize", json!({"content": "Once upon a time", "add_special": true})).1["tokens"].clone();
    assert!(ids.as_array().unwrap().len() > 1);
    let complete = |prompt: Value, n: u64| {
        let (status, answer) = server
            .post("/v1/completions", json!({"prompt": prompt, "n": n, "max_tokens": 6, "seed": 1, "temperature": 0.5}));
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let one = complete(json!("Once upon a time"), 1);
    let several = complete(json!(["Once upon a time", "The sea"]), 2);
    assert_eq!(several["choices"].as_array().unwrap().len(), 4);
    assert_eq!(several["choices"][0]["text"], one["choices"][0]["text"]);
    assert_eq!(several["usage"]["completion_tokens"], 24);
    assert_eq!(complete(json!([ids]), 1)["usage"]["completion_tokens"], 6);
    for (prompt, part) in
        [(json!([-1]), "prompt"), (json!([99_999_999]), "token"), (json!({}), "prompt"), (json!([["a"]]), "prompt")]
    {
        let (status, answer) = server.post("/v1/completions", json!({"prompt": prompt}));
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(part), "{answer}");
    }
    let (status, answer) = server.post("/v1/completions", json!({"prompt": "a", "suffix": "b"}));
    assert_eq!((status.as_u16(), &answer["error"]["param"]), (400, &json!("suffix")), "pocket has no tokens for gaps");
}

#[test]
fn texts_become_tokens_and_back() {
    let server = start(config());
    for text in ["Hello, world", "", "日本語 🦀\n<|im_start|>"] {
        let (_, found) = server.post("/tokenize", json!({"content": text, "parse_special": false}));
        let (_, back) = server.post("/detokenize", json!({"tokens": found["tokens"]}));
        assert_eq!(back["content"], text);
    }
    let (_, pieces) = server.post("/tokenize", json!({"content": "Hello", "with_pieces": true}));
    assert!(pieces["tokens"][0]["piece"].is_string() && pieces["tokens"][0]["id"].is_u64(), "{pieces}");
    assert_eq!(server.post("/detokenize", json!({"tokens": [99_999_999]})).0, 400);
    let body = json!({"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]});
    let (_, rendered) = server.post("/apply-template", body);
    assert!(rendered["prompt"].as_str().unwrap().contains("Be brief."), "{rendered}");
}

#[test]
fn the_properties_tell_context_sampling_and_limits() {
    let server = start(config());
    assert_eq!(server.post("/models/load", json!({"model": ""})).0, 200);
    let (_, props) = server.get("/props");
    assert_eq!(props["default_generation_settings"]["n_ctx"], 256);
    assert!(props["default_generation_settings"]["params"]["temperature"].is_number(), "{props}");
    assert!(props["limits"]["body_bytes"].is_u64() && props["models"][0]["name"] == "pocket", "{props}");
    let template = props["chat_template"].as_str().unwrap();
    assert_eq!(props["models"][0]["template_digest"], honelm::text_digest(template));
    // The digest of the weights is computed beside the first answers.
    let expected = honelm::model_digest(&honelm_testing::pocket_dir(), &run_options()).unwrap();
    let mut digest = props["models"][0]["digest"].clone();
    for _ in 0..600 {
        if digest.is_null() {
            std::thread::sleep(std::time::Duration::from_millis(50));
            digest = server.get("/props").1["models"][0]["digest"].clone();
        }
    }
    assert_eq!(digest, expected);
    let (_, models) = server.get("/v1/models");
    assert_eq!((&models["data"][0]["id"], &models["data"][0]["context_length"]), (&json!("pocket"), &json!(256)));
}
