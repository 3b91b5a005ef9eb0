//! The long proofs of the gateway: a thousand faults, what the gateway adds, and a real model as the cloud.

use std::time::Duration;

use honelm::RunOptions;
use honelm_server::{Config, models};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::faults::all_faults;
use super::upstream::{Act, Upstream, micros};
use super::{CHAT, Hybrid, apis, file, question, read, start, start_registry};
use crate::common::{config, run_options, runtime, start_with};

fn print(figures: &Value) {
    println!("proof: {figures}");
}

#[test]
#[ignore = "long proof: cargo xtask prove gateway"]
fn a_thousand_faults() {
    print(&all_faults(1000));
}

/// Streams an answer. Returns the times of the request's way to the upstream's socket, unknown here, and of each token from
/// the upstream to the client, in microseconds.
async fn timed(port: u16, body: Value) -> (u128, Vec<u128>) {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        Request::post(CHAT).header("host", "localhost").body(Full::new(Bytes::from(body.to_string()))).unwrap();
    let sent = micros();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let (mut text, mut times) = (String::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let now = micros();
        text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap_or_default()).unwrap());
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let event = event.trim().strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
            let word = event.as_ref().and_then(|event| event["choices"][0]["delta"]["content"].as_str());
            if let Some(written) = word.and_then(|word| word.trim().parse::<u128>().ok()) {
                times.push(now.saturating_sub(written));
            }
        }
    }
    (sent, times)
}

fn percentile(mut all: Vec<f64>, percent: usize) -> f64 {
    all.sort_by(f64::total_cmp);
    all[(all.len() * percent / 100).min(all.len() - 1)]
}

/// Returns the 99th percentiles of the ways of requests and of tokens, in milliseconds, at a number of streams.
fn ways(port: u16, upstream: &Upstream, streams: usize, rounds: usize) -> (f64, f64) {
    let (mut requests, mut tokens) = (Vec::new(), Vec::new());
    runtime().block_on(async {
        for _ in 0..rounds {
            let before = upstream.received().len();
            let asked = (0..streams).map(|i| {
                let mut body = question();
                body["stream"] = json!(true);
                body["seed"] = json!(before + i);
                tokio::spawn(async move {
                    // Streams do not begin in the same moment.
                    tokio::time::sleep(Duration::from_micros(1371 * i as u64)).await;
                    (before + i, timed(port, body).await)
                })
            });
            for asked in asked.collect::<Vec<_>>() {
                let (seed, (sent, times)) = asked.await.unwrap();
                let arrived =
                    upstream.received().into_iter().find(|request| request.body["seed"] == json!(seed)).unwrap().at;
                requests.push(arrived.saturating_sub(sent) as f64 / 1e3);
                tokens.extend(times.into_iter().map(|time| time as f64 / 1e3));
            }
        }
    });
    (percentile(requests, 99), percentile(tokens, 99))
}

#[test]
#[ignore = "long proof: cargo xtask prove gateway"]
fn what_the_gateway_adds() {
    let mut figures = json!({});
    for (name, privacy) in [("open", "open"), ("masked", "masked")] {
        let upstream = Upstream::start(&[], |_, _| Act::Clock(40, Duration::from_millis(20)));
        let head = format!("policy = \"cloud-first\"\nprivacy = \"{privacy}\"");
        let hybrid = start(&file(&head, &[(upstream.port, "openai", "")]));
        // Connections stand, and the model of names is in memory.
        ways(hybrid.server.port, &upstream, 32, 1);
        for (streams, rounds) in [(1, 30), (32, 6)] {
            let (direct_request, direct_token) = ways(upstream.port, &upstream, streams, rounds);
            let (request, token) = ways(hybrid.server.port, &upstream, streams, rounds);
            figures[format!("{name}_{streams}_request_ms")] = json!((request - direct_request).max(0.0));
            figures[format!("{name}_{streams}_token_ms")] = json!((token - direct_token).max(0.0));
        }
    }
    print(&figures);
}

/// A real model as the cloud, and the shipped one on the device.
fn pair(cloud: &str) -> Option<(crate::common::Running, Hybrid)> {
    let run = RunOptions { context: Some(1024), ..run_options() };
    let of_cloud = Config { models: vec![cloud.to_owned()], ..config() };
    let registry = models(&of_cloud, &run, None).ok()?;
    let (cloud_name, cloud) = (cloud, start_with(of_cloud, registry, None));
    let edge = config();
    let registry = models(&edge, &run, None).unwrap();
    let text = file("", &[(cloud.port, "openai", "")]).replace("context = 4000", "context = 1024");
    let text = text.replace("\"large\"", &format!("{cloud_name:?}"));
    Some((cloud, start_registry(&text, edge, registry, None)))
}

#[test]
fn two_servers_are_edge_and_cloud() {
    let (cloud, hybrid) = pair("pocket").unwrap();
    for stream in [false, true] {
        for (path, mut body) in apis("Tell me a story about a river.", stream) {
            body["max_tokens"] = json!(12);
            body["options"] = json!({"num_predict": 12});
            if path == "/v1/responses" {
                body["max_output_tokens"] = json!(12);
            }
            if path == "/api/chat" {
                body["model"] = json!("pocket");
            }
            let mut texts = Vec::new();
            for policy in ["cloud-first", "local-only"] {
                let headers = [("x-honelm-policy", policy)];
                let (status, _, text) = runtime().block_on(hybrid.send(path, &headers, &body));
                let (answer, about) = read(path, &text);
                let route = if policy == "cloud-first" { "cloud" } else { "local" };
                assert_eq!((status, &about["route"]), (200, &json!(route)), "{text}");
                texts.push(answer);
            }
            assert!(texts.iter().all(|text| text.len() > 10), "{texts:?}");
        }
    }
    // The cloud goes away, and the device answers.
    cloud.stop();
    let body = json!({"messages": question()["messages"], "max_tokens": 12, "temperature": 0});
    let (answer, about) = hybrid.chat("cloud-first", body);
    assert!(!answer.is_empty() && about["degraded"] == true, "{answer}: {about}");
}
