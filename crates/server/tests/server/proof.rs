//! The long proofs of the server: speed of streams, memory over a thousand requests, and the server's own time.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use honelm::RunOptions;
use honelm_server::client::Client;
use honelm_server::{Config, Registry, models};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::json;

use crate::common::{Running, config, runtime, start_with};
use crate::scripted::loader;

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Returns the seconds until the first token, and between the tokens, of a stream.
async fn timed(client: Client, model: &str, prompt: String, tokens: usize) -> (f64, Vec<f64>) {
    let request = json!({"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens,
        "ignore_eos": true, "stream": true});
    let begin = Instant::now();
    let mut body = client.send(Method::POST, "/v1/chat/completions", Some(&request)).await.unwrap().into_body();
    let (mut first, mut gaps, mut last) = (0.0, Vec::new(), begin);
    while let Some(frame) = body.frame().await {
        let text = frame.unwrap().into_data().unwrap_or_default();
        let now = Instant::now();
        // Chunks that arrive together count as one; the first chunk of a stream has no text.
        const CONTENT: &[u8] = b"\"content\":\"";
        if text.windows(CONTENT.len() + 1).any(|part| part.starts_with(CONTENT) && !part.ends_with(b"\"\"")) {
            if first == 0.0 {
                first = (now - begin).as_secs_f64();
            } else {
                gaps.push((now - last).as_secs_f64());
            }
            last = now;
        }
    }
    (first, gaps)
}

#[test]
#[ignore = "long proof: cargo xtask prove serve"]
fn latency_of_streams() {
    let Some(data) = honelm_testing::test_data() else { honelm_testing::skip!("latency_of_streams") };
    let path = data.join("models/reference").display().to_string();
    let config = Config { models: vec![path], ..config() };
    let run = RunOptions { device: honelm::DeviceChoice::Cpu, context: Some(1024), ..RunOptions::default() };
    let registry = models(&config, &run, None).unwrap();
    let server = start_with(config, registry, None);
    assert_eq!(server.post("/models/load", json!({"model": ""})).0, 200);
    let mut found = json!({});
    for streams in [1, 8, 32] {
        let (mut firsts, mut gaps) = runtime().block_on(async {
            let (mut firsts, mut gaps) = (Vec::new(), Vec::new());
            let rounds = if streams == 1 { 8 } else { 2 };
            for round in 0..rounds {
                let asked: Vec<_> = (0..streams)
                    .map(|i| {
                        let prompt = format!("Tell me a story about the numbers {streams}, {round} and {i}.");
                        tokio::spawn(timed(server.client(), "", prompt, 48))
                    })
                    .collect();
                for one in asked {
                    let (first, of_one) = one.await.unwrap();
                    firsts.push(first);
                    gaps.extend(of_one);
                }
            }
            (firsts, gaps)
        });
        firsts.sort_by(f64::total_cmp);
        gaps.sort_by(f64::total_cmp);
        for (name, all) in [("first", &firsts), ("gap", &gaps)] {
            for percent in [50, 99] {
                found[format!("{name}_{streams}_p{percent}_ms")] = json!(percentile(all, percent) * 1e3);
            }
        }
    }
    println!("proof: {found}");
}

/// Starts a server of one scripted model.
fn scripted() -> Running {
    let config = config();
    let registry = Registry::of(&config);
    registry.add("script".to_owned(), loader(0, Duration::ZERO));
    start_with(config, registry, None)
}

#[test]
#[ignore = "long proof: cargo xtask prove serve"]
fn the_servers_own_time() {
    let server = scripted();
    let client = server.client();
    let request = json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1});
    let mut times: Vec<f64> = runtime().block_on(async {
        let mut times = Vec::new();
        for _ in 0..2000 {
            let begin = Instant::now();
            assert_eq!(client.json(Method::POST, "/v1/chat/completions", Some(&request)).await.unwrap().0, 200);
            times.push(begin.elapsed().as_secs_f64());
        }
        times
    });
    times.sort_by(f64::total_cmp);
    println!("proof: {}", json!({"p50_ms": percentile(&times, 50) * 1e3, "p99_ms": percentile(&times, 99) * 1e3}));
}

/// Sends a request that is broken in one of five ways.
async fn broken(server: &Running, i: usize) {
    let client = server.client();
    let path = "/v1/chat/completions";
    let long = json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50_000, "stream": true});
    match i % 5 {
        0 => assert_eq!(client.send(Method::POST, path, Some(&json!({"messages": 1}))).await.unwrap().status(), 400),
        1 => {
            // The client goes in the middle of the answer.
            let mut body = client.send(Method::POST, path, Some(&long)).await.unwrap().into_body();
            drop(body.frame().await);
        }
        2 => {
            // The body breaks off.
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{\"mess";
            stream.write_all(head.as_bytes()).unwrap();
        }
        3 => {
            // The client waits before it reads.
            let response = client.send(Method::POST, path, Some(&long)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            drop(response);
        }
        _ => {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n").unwrap();
        }
    }
}

#[test]
#[ignore = "long proof: cargo xtask prove serve"]
fn a_thousand_requests() {
    let server = scripted();
    let memory = || honelm::bench::memory_bytes().expect("known on Linux");
    let request = json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20});
    let begin = Instant::now();
    let (mut at_100, mut slowest) = (0, 0f64);
    runtime().block_on(async {
        for round in 0..100 {
            let asked: Vec<_> = (0..9)
                .map(|_| {
                    let (client, request) = (server.client(), request.clone());
                    tokio::spawn(async move {
                        let begin = Instant::now();
                        let (status, answer) =
                            client.json(Method::POST, "/v1/chat/completions", Some(&request)).await.unwrap();
                        assert_eq!((status.as_u16(), &answer["usage"]["completion_tokens"]), (200, &json!(20)));
                        begin.elapsed().as_secs_f64()
                    })
                })
                .collect();
            broken(&server, round).await;
            for one in asked {
                slowest = slowest.max(one.await.unwrap());
            }
            if round == 9 {
                at_100 = memory();
            }
        }
    });
    let at_1000 = memory();
    let idle = Instant::now();
    while server.get("/status.json").1["models"][0]["active"] != 0 {
        assert!(idle.elapsed() < Duration::from_secs(30), "an answer hangs");
    }
    let growth = 100.0 * (at_1000 as f64 / at_100 as f64 - 1.0);
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "proof: {}",
        json!({"requests": 1000, "growth_percent": growth, "slowest_seconds": slowest, "seconds": seconds})
    );
}

#[test]
#[ignore = "long proof: cargo xtask prove serve"]
fn two_models_take_turns() {
    let Some(data) = honelm_testing::test_data() else { honelm_testing::skip!("two_models_take_turns") };
    let reference = data.join("models/reference");
    let run = RunOptions { device: honelm::DeviceChoice::Cpu, context: Some(1024), ..RunOptions::default() };
    let (parallel, contexts) = (4, 4);
    let plan = honelm::plan_run(&reference, &run, parallel).unwrap();
    let needed = plan.weights_bytes + plan.scratch_bytes + contexts * plan.cache_bytes;
    let names = vec![reference.display().to_string(), "pocket".to_owned()];
    let config = Config { models: names, memory_bytes: Some(needed), parallel, idle_seconds: 0, ..config() };
    let registry = models(&config, &run, None).unwrap();
    let server = start_with(config, registry, None);
    let own = honelm::bench::memory_bytes().expect("known on Linux");
    let ask = |model: &str, tokens: usize| json!({"model": model, "messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": tokens});
    let mut refused = 0;
    for _ in 0..3 {
        for model in ["reference", "pocket"] {
            assert_eq!(server.post("/v1/chat/completions", ask(model, 16)).0, 200, "{model}");
            let models = server.get("/status.json").1["models"].clone();
            assert_eq!((models.as_array().unwrap().len(), &models[0]["name"]), (1, &json!(model)));
        }
    }
    let client = server.client();
    runtime().block_on(async {
        let mut request = ask("reference", 200);
        request["stream"] = json!(true);
        let held = client.send(Method::POST, "/v1/chat/completions", Some(&request)).await.unwrap();
        let (status, _) = client.json(Method::POST, "/v1/chat/completions", Some(&ask("pocket", 2))).await.unwrap();
        refused += usize::from(status == 503);
        drop(held);
    });
    let state = server.get("/status.json").1;
    let peak = honelm::bench::peak_memory_bytes().expect("known on Linux").saturating_sub(own);
    println!(
        "proof: {}",
        json!({"planned_bytes": needed, "peak_bytes": peak, "loads": state["loads"], "unloads": state["unloads"],
            "refused": refused})
    );
}
