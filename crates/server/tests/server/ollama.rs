//! Ollama's API with the shipped model.

use serde_json::{Value, json};

use crate::common::{Running, config, start};

fn lines(server: &Running, path: &str, request: Value) -> Vec<Value> {
    let (kind, text) = server.text(path, request);
    assert_eq!(kind, "application/x-ndjson");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_chat_is_the_same_whole_and_in_lines() {
    let server = start(config());
    let request = json!({
        "model": "pocket", "messages": [{"role": "user", "content": "Tell me a story."}],
        "options": {"num_predict": 12, "temperature": 0, "num_gpu": 1, "num_ctx": 2048}, "stream": false, "keep_alive": "5m",
    });
    let (status, whole) = server.post("/api/chat", request.clone());
    assert_eq!(status, 200, "{whole}");
    assert_eq!((&whole["done"], &whole["done_reason"]), (&json!(true), &json!("length")));
    assert_eq!((&whole["eval_count"], &whole["message"]["role"]), (&json!(12), &json!("assistant")));
    for name in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "prompt_eval_count"] {
        assert!(whole[name].as_u64().unwrap() > 0, "{name}: {whole}");
    }
    let mut streamed = request;
    streamed.as_object_mut().unwrap().remove("stream");
    let lines = lines(&server, "/api/chat", streamed);
    let text: String = lines.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(text, whole["message"]["content"].as_str().unwrap());
    let (last, others) = lines.split_last().unwrap();
    assert!(others.iter().all(|line| line["done"] == false && line.get("eval_count").is_none()));
    assert_eq!((&last["done"], &last["eval_count"]), (&json!(true), &json!(12)));
}

#[test]
fn generate_continues_with_and_without_the_template() {
    let server = start(config());
    let ask = |extra: Value| {
        let mut request = json!({"model": "pocket", "prompt": "Once upon a time", "stream": false});
        request["options"] = json!({"num_predict": 8, "temperature": 0});
        request.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        server.post("/api/generate", request).1
    };
    let (raw, chat) = (ask(json!({"raw": true})), ask(json!({"system": "You are kind."})));
    assert!(raw["prompt_eval_count"].as_u64().unwrap() < chat["prompt_eval_count"].as_u64().unwrap());
    let (_, completed) = server.post(
        "/v1/completions",
        json!({"model": "pocket", "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}),
    );
    assert_eq!(raw["response"], completed["choices"][0]["text"]);
    let scored = ask(json!({"raw": true, "logprobs": true, "top_logprobs": 1}));
    assert_eq!(scored["logprobs"].as_array().unwrap().len(), 8);
}

#[test]
fn models_are_listed_shown_loaded_and_unloaded() {
    let server = start(config());
    let (_, tags) = server.get("/api/tags");
    let model = &tags["models"][0];
    assert_eq!((&model["name"], &model["details"]["family"]), (&json!("pocket"), &json!("llama")), "{tags}");
    assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    let (_, shown) = server.post("/api/show", json!({"model": "pocket:latest"}));
    assert_eq!(shown["model_info"]["llama.context_length"], 1024);
    assert_eq!(shown["model_info"]["general.architecture"], "llama");
    assert_eq!(shown["capabilities"], json!(["completion", "tools"]));
    assert_eq!(server.get("/api/ps").1, json!({"models": []}));
    let (_, loaded) = server.post("/api/generate", json!({"model": "pocket", "stream": false, "keep_alive": "10m"}));
    assert_eq!((&loaded["done_reason"], &loaded["response"]), (&json!("load"), &json!("")));
    let (_, running) = server.get("/api/ps");
    assert_eq!(
        (&running["models"][0]["name"], &running["models"][0]["context_length"]),
        (&json!("pocket"), &json!(256))
    );
    assert!(running["models"][0]["size"].as_u64().unwrap() > 1_000_000 && running["models"][0]["size_vram"] == 0);
    let (_, unloaded) =
        server.post("/api/chat", json!({"model": "pocket", "messages": [], "stream": false, "keep_alive": 0}));
    assert_eq!(unloaded["done_reason"], "unload");
    assert_eq!(server.get("/api/ps").1, json!({"models": []}));
    let (_, version) = server.get("/api/version");
    let numbers: Vec<u32> = version["version"].as_str().unwrap().split('.').map(|n| n.parse().unwrap()).collect();
    assert!(numbers >= vec![0, 6, 4], "{version}");
}

#[test]
fn pulling_reports_success_and_honest_errors() {
    let server = start(config());
    let done = json!({"status": "success"});
    assert_eq!(lines(&server, "/api/pull", json!({"model": "pocket"})), std::slice::from_ref(&done));
    assert_eq!(server.post("/api/pull", json!({"model": "pocket", "stream": false})).1, done);
    for (request, place) in [
        (json!({"model": "../etc/passwd"}), "model"),
        (json!({"model": "llama3"}), "model"),
        (json!({"model": "org/repo", "insecure": true}), "insecure"),
        (json!({}), "model"),
    ] {
        let (status, error) = server.post("/api/pull", request.clone());
        assert_eq!(status.as_u16(), 400, "{request} {error}");
        assert!(error["error"].as_str().unwrap().starts_with(place), "{error}");
    }
}

#[test]
fn broken_requests_are_refused_with_their_place() {
    let server = start(config());
    let hello = json!([{"role": "user", "content": "Hi"}]);
    let cases = [
        ("/api/chat", json!({"messages": hello}), "model"),
        ("/api/chat", json!({"messages": [{"role": "robot", "content": "Hi"}]}), "messages[0].role"),
        (
            "/api/chat",
            json!({"messages": [{"role": "user", "content": "Hi", "images": ["AAAA"]}]}),
            "messages[0].images",
        ),
        ("/api/chat", json!({"messages": hello, "options": {"temperature": -1}}), "options.temperature"),
        ("/api/chat", json!({"messages": hello, "options": {"num_predict": -3}}), "options.num_predict"),
        ("/api/chat", json!({"messages": hello, "keep_alive": "soon"}), "keep_alive"),
        ("/api/chat", json!({"messages": hello, "think": "a lot"}), "think"),
        ("/api/chat", json!({"messages": hello, "think": true}), "think"),
        (
            "/api/chat",
            json!({"messages": hello, "tools": [{"type": "function", "function": {}}]}),
            "tools[0].function.name",
        ),
        ("/api/generate", json!({"prompt": "Hi", "images": ["AAAA"]}), "images"),
        ("/api/generate", json!({"prompt": "Hi", "suffix": "!"}), "suffix"),
        ("/api/generate", json!({"prompt": "Hi", "format": "xml"}), "format"),
        ("/api/generate", json!({"prompt": "Hi", "template": "{{ .Prompt }}"}), "template"),
        ("/api/embed", json!({"input": "Hi", "dimensions": 0}), "dimensions"),
        ("/api/embed", json!({"input": "Hi", "dimensions": 100_000}), "dimensions"),
    ];
    for (i, (path, mut request, place)) in cases.into_iter().enumerate() {
        if i > 0 {
            request["model"] = json!("pocket");
        }
        let (status, error) = server.post(path, request.clone());
        assert_eq!(status.as_u16(), 400, "{request} {error}");
        assert!(error["error"].as_str().unwrap().contains(place), "{request} {error}");
    }
    let (status, error) = server.post("/api/show", json!({"model": "none"}));
    assert!(status == 404 && error["error"].is_string(), "{error}");
}
