//! Many clients at once: streams, clients that go, clients that do not read, queues, the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use honelm_server::client::Client;
use honelm_server::{Config, Limits, Registry, models};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};

use crate::common::{Running, config, events, runtime, start, start_with};
use crate::scripted::loader;

/// A server of one scripted model.
fn scripted(config: Config, pause: Duration) -> Running {
    let config = Config { models: vec!["pocket".to_owned()], ..config };
    let registry = Registry::of(&config);
    registry.add("script".to_owned(), loader(0, pause));
    start_with(config, registry, None)
}

fn ask(tokens: usize) -> Value {
    json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": tokens, "stream": true})
}

fn model_state(server: &Running) -> Value {
    server.get("/status.json").1["models"][0].clone()
}

/// Waits until no request is answered or waits.
fn wait_until_idle(server: &Running, limit: Duration) {
    let begin = Instant::now();
    while model_state(server)["active"] != 0 || model_state(server)["waiting"] != 0 {
        assert!(begin.elapsed() < limit, "requests do not end: {}", model_state(server));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn thirty_two_streams_at_once_have_the_answers_that_they_have_alone() {
    let server = start(config());
    let request = |i: usize| {
        json!({"messages": [{"role": "user", "content": format!("Tell me a story about the number {i}.")}],
            "max_tokens": 12, "seed": i, "stream": true})
    };
    let text = |events: &[String]| -> String {
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        let chunks = events[..events.len() - 1].iter().map(|event| serde_json::from_str::<Value>(event).unwrap());
        chunks.map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let client = server.client();
    let together: Vec<String> = runtime().block_on(async {
        let requests = (0..32).map(|i| {
            let client = client.clone();
            tokio::spawn(async move { events(&client, "/v1/chat/completions", request(i)).await })
        });
        let requests: Vec<_> = requests.collect();
        let mut all = Vec::new();
        for request in requests {
            all.push(text(&request.await.unwrap()));
        }
        all
    });
    assert_eq!(together.len(), 32);
    for i in [0, 13, 31] {
        assert_eq!(text(&server.events("/v1/chat/completions", request(i))), together[i], "{i}");
    }
}

#[test]
fn a_client_that_disconnects_ends_its_answer_and_no_other() {
    let server = scripted(config(), Duration::from_millis(2));
    let client = server.client();
    let other = runtime().block_on(async {
        let other = tokio::spawn({
            let client = client.clone();
            async move { events(&client, "/v1/chat/completions", ask(300)).await }
        });
        for stream in [true, false] {
            let mut request = ask(90_000);
            request["stream"] = json!(stream);
            let sent = client.send(Method::POST, "/v1/chat/completions", Some(&request));
            if stream {
                let mut body = sent.await.unwrap().into_body();
                assert!(body.frame().await.unwrap().unwrap().is_data());
            } else {
                assert!(tokio::time::timeout(Duration::from_millis(100), sent).await.is_err(), "the answer is long");
            }
        }
        other.await.unwrap()
    });
    assert_eq!(other.len(), 300 + 3, "a beginning, 300 tokens, an end, and [DONE]");
    wait_until_idle(&server, Duration::from_secs(10));
    assert!(model_state(&server)["answer_tokens"].as_u64().unwrap() < 20_000);
}

#[test]
fn slow_readers_are_dropped_and_disturb_nobody() {
    let limits = Limits { client_seconds: 1, ..Limits::default() };
    let server = scripted(Config { limits, ..config() }, Duration::ZERO);
    let body = ask(99_000).to_string();
    let mut slow = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    slow.write_all(head.as_bytes()).unwrap();
    slow.write_all(body.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.events("/v1/chat/completions", ask(50)).last().unwrap(), "[DONE]");
    wait_until_idle(&server, Duration::from_secs(30));
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    let rest = String::from_utf8_lossy(&rest);
    assert!(!rest.contains("\"finish_reason\":\"length\""), "the answer did not end well");
}

#[test]
fn a_full_queue_is_told_with_the_time_to_come_back() {
    let limits = Limits { queue: 2, ..Limits::default() };
    let server = scripted(Config { limits, ..config() }, Duration::from_millis(5));
    let client = server.client();
    runtime().block_on(async {
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(client.send(Method::POST, "/v1/chat/completions", Some(&ask(50_000))).await.unwrap());
        }
        let refused = client.send(Method::POST, "/v1/chat/completions", Some(&ask(5))).await.unwrap();
        assert_eq!(refused.status(), 429);
        assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
        drop(held);
    });
    wait_until_idle(&server, Duration::from_secs(10));
    assert_eq!(server.events("/v1/chat/completions", ask(5)).last().unwrap(), "[DONE]");
}

#[test]
fn an_answer_that_takes_too_long_is_an_error() {
    let limits = Limits { request_seconds: 1, ..Limits::default() };
    let server = scripted(Config { limits, ..config() }, Duration::from_millis(5));
    let mut request = ask(90_000);
    let events = server.events("/v1/chat/completions", request.clone());
    let error: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!(error["error"]["code"], "timeout");
    request["stream"] = json!(false);
    let (status, answer) = server.post("/v1/chat/completions", request);
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (504, &json!("timeout")));
}

#[test]
fn the_end_lets_answers_in_progress_finish_and_refuses_others() {
    let server = scripted(config(), Duration::from_millis(5));
    let client = server.client();
    let (sender, begun) = std::sync::mpsc::channel();
    let streaming = std::thread::spawn(move || {
        runtime().block_on(async {
            let response = client.send(Method::POST, "/v1/chat/completions", Some(&ask(200))).await.unwrap();
            sender.send(()).unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        })
    });
    begun.recv().unwrap();
    let address = server.address.clone();
    let begin = Instant::now();
    server.stop();
    let text = streaming.join().unwrap();
    assert!(text.ends_with(b"data: [DONE]\n\n"), "the answer was complete");
    assert!(begin.elapsed() < Duration::from_secs(20));
    let gone = runtime().block_on(Client::new(&address, None).json(Method::GET, "/health", None));
    assert!(gone.is_err(), "nobody listens");
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let limits = Limits { drain_seconds: 1, ..Limits::default() };
    let server = scripted(Config { limits, ..config() }, Duration::from_millis(5));
    let client = server.client();
    runtime().block_on(async {
        let response = client.send(Method::POST, "/v1/chat/completions", Some(&ask(90_000))).await.unwrap();
        let begin = Instant::now();
        tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(15));
        drop(response);
    });
}

#[test]
fn a_port_in_use_is_an_error() {
    let server = start(config());
    let taken = Config { port: server.port, ..config() };
    let registry = models(&taken, &crate::common::run_options(), None).unwrap();
    let error = runtime().block_on(honelm_server::Server::bind(taken, registry, None)).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
#[cfg(unix)]
fn a_socket_serves_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("honelm.sock");
    let on_socket = || Config { bind: Some(format!("unix:{}", path.display())), ..config() };
    let server = scripted(on_socket(), Duration::ZERO);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.get("/health").0, 200);
    assert_eq!(server.events("/v1/chat/completions", ask(3)).last().unwrap(), "[DONE]");
    let second = runtime().block_on(honelm_server::Server::bind(on_socket(), Registry::of(&on_socket()), None));
    assert_eq!(second.err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
    server.stop();
    assert!(!path.exists());
    // The socket that a killed server leaves behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert_eq!(scripted(on_socket(), Duration::ZERO).get("/health").0, 200);
}

#[test]
fn the_servers_own_time_is_short() {
    let server = scripted(config(), Duration::ZERO);
    let client = server.client();
    let request = json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1});
    let mut times: Vec<Duration> = runtime().block_on(async {
        let mut times = Vec::new();
        for _ in 0..300 {
            let begin = Instant::now();
            let (status, _) = client.json(Method::POST, "/v1/chat/completions", Some(&request)).await.unwrap();
            times.push(begin.elapsed());
            assert_eq!(status, 200);
        }
        times
    });
    times.sort();
    println!("a request to a model without arithmetic: p50 {:?}, p99 {:?}", times[150], times[297]);
    assert!(times[150] < Duration::from_millis(100), "far above what was measured, so that a busy machine passes");
}
