//! The table of classes of attacks that a local server is held to, one test each.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use honelm_server::{Config, Limits, models};
use hyper::StatusCode;
use serde_json::json;

use crate::common::{Running, config, raw, run_options, start, start_with};

/// Sends a request with these headers, and returns the status.
fn status(server: &Running, line: &str, headers: &[(&str, &str)]) -> u16 {
    raw(server, line, headers, "").0
}

#[test]
fn dns_rebinding_a_foreign_host_is_refused() {
    let server = start(Config { allow_hosts: vec!["My-Box.local".to_owned()], ..config() });
    let port = server.port;
    let allowed = [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1",
        "127.9.9.9",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "app.localhost",
        "my-box.local",
        "MY-BOX.LOCAL.",
        "[::ffff:127.0.0.1]",
    ];
    for host in allowed {
        for host in [host.to_owned(), format!("{host}:{port}"), format!("{host}:1")] {
            assert_eq!(status(&server, "GET /health HTTP/1.1", &[("Host", &host)]), 200, "{host}");
        }
    }
    let refused = [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.evil.example",
        "192.168.1.1",
        "10.0.0.1:80",
        "[2001:db8::1]",
        "[::1",
        "::1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "localhost:",
        "localhost:99999",
        "localhost:-1",
        "localhost:8080:8080",
        "localhost:80a",
        "local host",
        "localhost..",
        ".localhost",
        "",
        "user@localhost",
        "0.0.0.0",
        "[::]",
        "localhost/evil",
    ];
    for host in refused {
        assert_eq!(status(&server, "GET /health HTTP/1.1", &[("Host", host)]), 403, "{host:?}");
    }
    assert_eq!(status(&server, "GET /health HTTP/1.1", &[]), 403, "no host");
    assert_eq!(status(&server, "GET /health HTTP/1.1", &[("Host", "localhost"), ("Host", "evil.example")]), 403);
    // The target of a request for an absolute URL counts as a host.
    assert_eq!(status(&server, "GET http://evil.example/health HTTP/1.1", &[("Host", "localhost")]), 403);
}

#[test]
fn dns_rebinding_a_foreign_origin_is_refused() {
    let server = start(Config { allow_origins: vec!["https://App.example".to_owned()], ..config() });
    let (port, own) = (server.port, format!("localhost:{}", server.port));
    let post = "POST /v1/chat/completions HTTP/1.1";
    let send = |origin: &str| raw(&server, post, &[("Host", &own), ("Origin", origin), ("Content-Length", "2")], "{}");
    for origin in
        [format!("http://localhost:{port}"), "https://app.example".to_owned(), "HTTPS://APP.EXAMPLE:443".to_owned()]
    {
        let (status, text) = send(&origin);
        assert_eq!(status, 400, "{origin}: the checks are passed");
        assert!(
            text.to_lowercase().contains(&format!("access-control-allow-origin: {}", origin.to_lowercase())),
            "{text}"
        );
    }
    let refused = [
        "http://evil.example",
        "null",
        "http://localhost:1",
        "https://localhost",
        "http://127.0.0.1",
        "https://app.example:444",
        "http://app.example",
        "https://app.example.evil.example",
        "",
        "file://",
        "app.example",
        "http://[::1]:1",
        "https://app.example.",
        "http://localhost:99999",
    ];
    for origin in refused.iter().filter(|origin| **origin != "https://app.example.") {
        let (status, text) = send(origin);
        assert_eq!(status, 403, "{origin:?}");
        assert!(!text.to_lowercase().contains("access-control-allow-origin"), "{text}");
    }
    // The dot of the root names the same host.
    assert_eq!(send("https://app.example.").0, 400);
    // Images and scripts of other sites have no origin, but browsers mark them.
    let foreign = [("Host", own.as_str()), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")];
    assert_eq!(status(&server, "GET /v1/models HTTP/1.1", &foreign), 403);
    let link = [("Host", own.as_str()), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")];
    assert_eq!(status(&server, "GET /status HTTP/1.1", &link), 200);
    assert_eq!(status(&server, "GET /status.json HTTP/1.1", &link), 403);
}

#[test]
fn pages_of_allowed_origins_are_told_so_before_they_send() {
    let server = start(Config { allow_origins: vec!["https://app.example".to_owned()], ..config() });
    let ask = |origin: &str| {
        let headers = [
            ("Host", "localhost"),
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,x-stainless-os"),
        ];
        raw(&server, "OPTIONS /v1/chat/completions HTTP/1.1", &headers, "")
    };
    let (status, text) = ask("https://app.example");
    let text = text.to_lowercase();
    assert_eq!(status, 204);
    assert!(text.contains("access-control-allow-origin: https://app.example"), "{text}");
    assert!(text.contains("access-control-allow-headers: authorization,x-stainless-os"), "{text}");
    assert_eq!(ask("https://evil.example").0, 403);
    // Without a configuration, no page of another site may.
    let plain = start(config());
    let headers = [("Host", "localhost"), ("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")];
    assert_eq!(raw(&plain, "OPTIONS /v1/models HTTP/1.1", &headers, "").0, 403);
}

#[test]
fn a_server_with_a_key_answers_only_to_it() {
    let config = config();
    let registry = models(&config, &run_options(), None).unwrap();
    let server = start_with(config, registry, Some("secret-key".to_owned()));
    let get = |path: &str, name: &str, value: &str| {
        status(&server, &format!("GET {path} HTTP/1.1"), &[("Host", "localhost"), (name, value)])
    };
    for (name, value) in
        [("Authorization", "Bearer secret-key"), ("authorization", "bearer secret-key"), ("X-Api-Key", "secret-key")]
    {
        assert_eq!(get("/v1/models", name, value), 200, "{name}: {value}");
    }
    for (name, value) in [
        ("X-Nothing", ""),
        ("Authorization", "secret-key"),
        ("Authorization", "Bearer secret-ke"),
        ("Authorization", "Bearer"),
        ("Authorization", "Bearer secret-key-2"),
        ("Authorization", "Basic secret-key"),
        ("X-Api-Key", ""),
        ("X-Api-Key", "SECRET-KEY"),
    ] {
        for path in ["/v1/models", "/status.json", "/metrics", "/props"] {
            assert_eq!(get(path, name, value), 401, "{path} {name}: {value}");
        }
    }
    for path in ["/health", "/status"] {
        assert_eq!(get(path, "X-Nothing", ""), 200, "{path}");
    }
}

#[test]
fn compressed_bodies_are_refused() {
    let server = start(config());
    for (encoding, expected) in
        [("gzip", 415), ("deflate", 415), ("br", 415), ("zstd", 415), ("identity, gzip", 415), ("identity", 400)]
    {
        let headers = [("Host", "localhost"), ("Content-Encoding", encoding), ("Content-Length", "2")];
        assert_eq!(raw(&server, "POST /v1/chat/completions HTTP/1.1", &headers, "{}").0, expected, "{encoding}");
    }
}

#[test]
fn bodies_and_headers_have_limits() {
    let server = start(Config { limits: Limits { body_bytes: 1000, headers: 20, ..Limits::default() }, ..config() });
    let body = |bytes: usize| json!({"messages": [{"role": "user", "content": "x".repeat(bytes)}]}).to_string();
    let send = |body: &str| {
        let length = body.len().to_string();
        raw(&server, "POST /tokenize HTTP/1.1", &[("Host", "localhost"), ("Content-Length", &length)], body).0
    };
    assert_eq!(send(&body(2000)), 413);
    assert_eq!(send(&body(20)), 400, "short enough, but it is no text to tokenise");
    let length = (1u64 << 62).to_string();
    let headers = [("Host", "localhost"), ("Content-Length", length.as_str())];
    assert_eq!(raw(&server, "POST /tokenize HTTP/1.1", &headers, "{}").0, 413, "the length is refused before the body");
    let many: Vec<(String, String)> = (0..40).map(|i| (format!("X-{i}"), "1".to_owned())).collect();
    let mut headers: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    headers.push(("Host", "localhost"));
    assert_eq!(raw(&server, "GET /health HTTP/1.1", &headers, "").0, 431);
    let long = "x".repeat(100_000);
    assert_eq!(raw(&server, "GET /health HTTP/1.1", &[("Host", "localhost"), ("X-Long", &long)], "").0, 431);
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn deeply_nested_json_is_an_error() {
    let server = start(config());
    for open in ["[", "{\"a\":"] {
        let body = format!("{{\"messages\": {}", open.repeat(100_000));
        let length = body.len().to_string();
        let headers = [("Host", "localhost"), ("Content-Length", length.as_str())];
        assert_eq!(raw(&server, "POST /v1/chat/completions HTTP/1.1", &headers, &body).0, 400);
    }
}

#[test]
fn slow_writers_are_dropped() {
    let limits = Limits { receive_seconds: 1, ..Limits::default() };
    let server = start(Config { limits, ..config() });
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let begin = Instant::now();
    let (mut no_head, mut no_body) = (connect(), connect());
    no_head.write_all(b"GET /health HTTP/1.1\r\nHost: local").unwrap();
    no_body.write_all(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"cont").unwrap();
    let mut text = String::new();
    no_body.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    text.clear();
    no_head.read_to_string(&mut text).unwrap();
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(begin.elapsed() < Duration::from_secs(15));
}

#[test]
fn connections_have_a_limit() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let server = start(Config { limits, ..config() });
    let held: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(("127.0.0.1", server.port)).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(status(&server, "GET /health HTTP/1.1", &[("Host", "localhost")]), 503);
    drop(held);
    let begin = Instant::now();
    while status(&server, "GET /health HTTP/1.1", &[("Host", "localhost")]) != 200 {
        assert!(begin.elapsed() < Duration::from_secs(10), "places become free");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn template_injection_texts_of_special_tokens_in_messages_are_text() {
    let server = start(config());
    let prompt = |content: &str| {
        let body = json!({"messages": [{"role": "user", "content": content}]});
        server.post("/apply-template", body).1["prompt"].as_str().unwrap().to_owned()
    };
    for attack in ["{{ 7 * 7 }}", "{{ ''.__class__.__mro__ }}", "{% for x in range(10**9) %}x{% endfor %}"] {
        assert!(prompt(attack).contains(attack), "{attack}");
    }
    let usage = |content: &str| {
        let body = json!({"messages": [{"role": "user", "content": content}], "max_tokens": 1, "temperature": 0});
        server.post("/v1/chat/completions", body).1["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    // As text, the mark has several tokens.
    assert!(usage("<|im_start|>") > usage("x") + 2);
}

#[test]
fn no_text_of_a_request_is_in_metrics_or_status() {
    let server = start(config());
    let canary = "CANARY-7f3a";
    let chat =
        json!({"model": "pocket", "messages": [{"role": "user", "content": canary}], "max_tokens": 4, "user": canary});
    assert_eq!(server.post("/v1/chat/completions", chat).0, StatusCode::OK);
    assert_eq!(server.post(&format!("/no/{canary}"), json!({})).0, StatusCode::NOT_FOUND);
    assert_eq!(server.post("/tokenize", json!({"content": canary, "model": canary})).0, StatusCode::NOT_FOUND);
    let metrics = raw(&server, "GET /metrics HTTP/1.1", &[("Host", "localhost")], "").1;
    assert!(
        metrics.contains("honelm_http_responses_total{path=\"/v1/chat/completions\",status=\"200\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("honelm_answer_tokens_total{model=\"pocket\"} 4"), "{metrics}");
    for (path, text) in [
        ("metrics", metrics),
        ("status", server.get("/status.json").1.to_string()),
        ("props", server.get("/props").1.to_string()),
    ] {
        assert!(!text.contains(canary), "{path}: {text}");
    }
}

#[test]
fn model_names_are_never_paths() {
    let server = start(config());
    let folder = honelm_testing::pocket_dir().canonicalize().unwrap();
    let file = folder.join("config.json").display().to_string();
    let folder = folder.display().to_string();
    let names = [
        folder.as_str(),
        file.as_str(),
        "../pocket",
        "./pocket",
        "pocket/",
        "pocket/../pocket",
        "models/pocket",
        "pocket/config.json",
        "..",
        "/",
        "~",
        "pocket\0",
        "C:\\pocket",
        "file:///etc/passwd",
        "sha256:../../etc/passwd",
        "%2e%2e/pocket",
        "pocket:latest:latest",
    ];
    for name in names {
        for path in ["/v1/chat/completions", "/models/load", "/models/unload", "/v1/completions"] {
            let body =
                json!({"model": name, "messages": [{"role": "user", "content": "x"}], "prompt": "x", "max_tokens": 1});
            let (status, answer) = server.post(path, body);
            assert_eq!(
                (status.as_u16(), &answer["error"]["code"]),
                (404, &json!("model_not_found")),
                "{path} {name:?}: {answer}"
            );
        }
    }
    for path in ["/v1/models/..%2f..%2fetc%2fpasswd", "/v1/models/../../etc/passwd", "/v1/models//etc/passwd"] {
        assert_eq!(server.get(path).0, 404, "{path}");
    }
    assert_eq!(server.get("/v1/models/pocket:latest").0, 200, "a tag that some clients append");
}
