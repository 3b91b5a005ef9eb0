//! Models within a budget of memory.

use std::time::{Duration, Instant};

use honelm_server::{Config, Loader, Registry};
use hyper::Method;
use serde_json::{Value, json};

use crate::common::{Running, config, runtime, start_with};
use crate::scripted::loader;

fn server(memory: u64, idle_seconds: u64) -> Running {
    let config = Config { memory_bytes: Some(memory), idle_seconds, ..config() };
    let registry = Registry::of(&config);
    for (name, bytes) in [("a", 60), ("b", 60), ("small", 30), ("huge", 1000)] {
        registry.add(name.to_owned(), loader(bytes, Duration::from_millis(2)));
    }
    start_with(config, registry, None)
}

fn ask(model: &str, tokens: usize) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": tokens})
}

fn loaded(server: &Running) -> Vec<String> {
    let state = server.get("/status.json").1;
    assert!(state["memory"]["planned_bytes"].as_u64() <= state["memory"]["budget_bytes"].as_u64(), "{state}");
    state["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
}

fn answer(server: &Running, model: &str) -> (u16, Value) {
    let (status, answer) = server.post("/v1/chat/completions", ask(model, 2));
    (status.as_u16(), answer)
}

#[test]
fn the_least_recently_used_idle_model_gives_way() {
    let server = server(100, 0);
    let steps = [
        ("a", &["a"][..]),
        ("small", &["a", "small"]),
        ("b", &["b", "small"]),
        // `small` is used least recently, but its place is not needed.
        ("a", &["a", "small"]),
        ("small", &["a", "small"]),
    ];
    for (model, expected) in steps {
        assert_eq!(answer(&server, model).0, 200, "{model}");
        assert_eq!(loaded(&server), expected);
    }
    assert_eq!(
        (&server.get("/status.json").1["loads"], &server.get("/status.json").1["unloads"]),
        (&json!(4), &json!(2))
    );
}

#[test]
fn a_model_in_use_never_gives_way_and_the_refusal_says_why() {
    let server = server(100, 0);
    let client = server.client();
    runtime().block_on(async {
        let mut request = ask("a", 50_000);
        request["stream"] = json!(true);
        let held = client.send(Method::POST, "/v1/chat/completions", Some(&request)).await.unwrap();
        let refused = client.send(Method::POST, "/v1/chat/completions", Some(&ask("b", 2))).await.unwrap();
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        let (status, answer) = client.json(Method::POST, "/v1/chat/completions", Some(&ask("b", 2))).await.unwrap();
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(status, 503);
        assert!(message.contains("models in use (a)") && message.contains("60 B"), "{message}");
        let (status, _) = client.json(Method::POST, "/v1/chat/completions", Some(&ask("small", 2))).await.unwrap();
        assert_eq!(status, 200, "a model that fits beside it");
        drop(held);
    });
    let begin = Instant::now();
    while answer(&server, "b").0 != 200 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!loaded(&server).contains(&"a".to_owned()));
}

#[test]
fn a_model_that_never_fits_is_refused_with_its_need() {
    let server = server(100, 0);
    let (status, refused) = answer(&server, "huge");
    let message = refused["error"]["message"].as_str().unwrap();
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("model_too_large")));
    assert!(message.contains("1.0 kB") && message.contains("100 B"), "{message}");
    assert_eq!(answer(&server, "a").0, 200);
}

#[test]
fn requests_for_the_same_model_share_one_load() {
    let server = server(1000, 0);
    let client = server.client();
    runtime().block_on(async {
        let requests: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    client.json(Method::POST, "/v1/chat/completions", Some(&ask("a", 3))).await.unwrap().0
                })
            })
            .collect();
        for request in requests {
            assert_eq!(request.await.unwrap(), 200);
        }
    });
    assert_eq!(server.get("/status.json").1["loads"], 1);
}

#[test]
fn unused_models_leave_after_their_time_and_on_request() {
    let server = server(1000, 1);
    assert_eq!(answer(&server, "a").0, 200);
    assert_eq!(loaded(&server), ["a"]);
    let begin = Instant::now();
    while !loaded(&server).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(answer(&server, "b").0, 200);
    let (status, done) = server.post("/models/unload", json!({"model": "b"}));
    assert_eq!((status.as_u16(), &done["was_loaded"]), (200, &json!(true)));
    assert!(loaded(&server).is_empty());
    assert_eq!(server.post("/models/unload", json!({"model": "b"})).1["was_loaded"], false);
    assert_eq!(server.post("/models/unload", json!({"model": "zzz"})).0, 404);
    assert_eq!(server.post("/models/load", json!({"model": "b"})).1["loaded"], true);
    assert_eq!(loaded(&server), ["b"]);
}

#[test]
fn a_model_that_cannot_be_loaded_is_an_error_and_the_others_answer() {
    let config = config();
    let registry = Registry::of(&config);
    registry.add("fine".to_owned(), loader(1, Duration::ZERO));
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.gguf");
    std::fs::write(&broken, "GGUF but nothing else").unwrap();
    registry.add("broken".to_owned(), Loader::of_path(&broken, &crate::common::run_options(), 1, None));
    let attempts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&attempts);
    let fails = move || -> honelm_server::registry::Loading {
        match counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => panic!("a loader that breaks down"),
            _ => Err(honelm::Error::Usage("no weights".to_owned())),
        }
    };
    registry.add("fails".to_owned(), Loader::new(|| Ok(Default::default()), fails));
    let server = start_with(config, registry, None);
    for (model, part) in
        [("broken", "broken"), ("fails", "unexpectedly"), ("fails", "no weights"), ("fails", "no weights")]
    {
        let (status, refused) = answer(&server, model);
        assert_eq!(status, 500, "{refused}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains(part) && refused["error"]["type"] == "server_error", "{message}");
        assert_eq!(answer(&server, "fine").0, 200);
    }
    assert_eq!(attempts.load(std::sync::atomic::Ordering::SeqCst), 3, "each request tries again");
}
