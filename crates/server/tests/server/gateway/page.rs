//! The page of a gateway, its document, and its metrics, on records in a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use honelm::policy::Settings;
use honelm_server::gateway::store::{By, Location, Store, StoredAccounts};
use honelm_server::{Gateway, LogFormat, Registry, Server};
use serde_json::{Value, json};

use super::upstream::{Act, Upstream};
use super::{CHAT, WORDS, file, send};
use crate::common::{self, Running, config, raw, runtime};
use crate::scripted;

/// Starts a server with a gateway whose records are in a file of a folder.
fn start(folder: &Path, file: &str, key: Option<&str>) -> Running {
    let (config, key) = (config(), key.map(str::to_owned));
    let registry = Registry::of(&config);
    scripted::add(&registry, "edge", |_| WORDS.concat());
    let settings = Settings::from_toml("gateway.toml", file).unwrap();
    let location = Location::File(folder.join("gateway.db"));
    let bind = move || async move {
        let store = Store::new(location, &settings.currency).unwrap();
        let accounts = StoredAccounts::open(store, 0, LogFormat::Off).await.unwrap();
        let gateway = Gateway::new(settings, Arc::new(accounts)).unwrap();
        Server::bind_with(config, registry, key, Some(gateway)).await.unwrap()
    };
    common::start_server(bind)
}

/// Asks the chat API by a policy.
fn chat(server: &Running, policy: &str, key: &str, text: &str) -> Value {
    let headers = [("x-honelm-policy", policy), ("x-api-key", key)];
    let body = json!({"messages": [{"role": "user", "content": text}]});
    let (status, _, answer) = runtime().block_on(send(server.port, CHAT, &headers, &body));
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).unwrap()
}

/// Asks for a page. Returns the status and the whole response.
fn get(server: &Running, path: &str, key: Option<&str>) -> (u16, String) {
    let host = format!("127.0.0.1:{}", server.port);
    let key = key.map(|key| ("X-Api-Key", key));
    raw(server, &format!("GET {path} HTTP/1.1"), &[&[("Host", &*host)][..], key.as_slice()].concat(), "")
}

/// Asks for the document of the page until all of `requests` are recorded.
fn document(server: &Running, requests: usize) -> Value {
    for _ in 0..200 {
        let (status, text) = get(server, "/gateway.json", Some("server-key"));
        assert_eq!(status, 200, "{text}");
        let text = text.split_once("\r\n\r\n").unwrap().1;
        let text = text.get(text.find('{').unwrap()..=text.rfind('}').unwrap()).unwrap();
        let document: Value = serde_json::from_str(text).unwrap();
        if document["requests"].as_array().map(Vec::len) == Some(requests) {
            return document;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{requests} requests are not recorded")
}

fn with_client(folder: &Path, text: &str) -> String {
    let key: PathBuf = folder.join("key");
    std::fs::write(&key, "client-key\n").unwrap();
    format!("{text}[[client]]\nname = \"editor\"\nkey = {{ file = {key:?} }}\n")
}

#[test]
fn requests_are_shown_and_counted_without_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let text = file("policy = \"local-first\"", &[(upstream.port, "openai", "budget = { day = 0.5 }")]);
    let server = start(folder.path(), &with_client(folder.path(), &text), Some("server-key"));
    let secret = "Write to zoltan.quux@example.com about it.";
    let cloud = chat(&server, "cloud-first", "client-key", secret);
    assert_eq!(cloud["honelm"]["route"], "cloud", "{cloud}");
    assert_eq!(cloud["honelm"]["replaced"]["EMAIL_ADDRESS"], 1, "{cloud}");
    chat(&server, "local-only", "server-key", secret);
    let page = document(&server, 2);
    let (local, cloud) = (&page["requests"][0], &page["requests"][1]);
    assert_eq!(
        (&local["route"], &local["reason"], &local["client"]),
        (&json!("local"), &json!("local-only"), &json!(null))
    );
    assert_eq!(
        (&cloud["route"], &cloud["upstream"], &cloud["client"]),
        (&json!("cloud"), &json!("cloud-0"), &json!("editor"))
    );
    assert_eq!(cloud["replaced"], json!({"EMAIL_ADDRESS": 1}), "{cloud}");
    let today = &page["sums"][0];
    assert_eq!(
        (&today["requests"], &today["local_requests"], &today["local_share"]),
        (&json!(2), &json!(1), &json!(0.5))
    );
    // 100 tokens of input at 1, 20 of output at 10, a million.
    assert_eq!(today["cost"], json!(0.0003));
    assert!(today["saved"].as_f64().unwrap() > 0.0, "{today}");
    let of = &page["upstreams"][0];
    assert_eq!(
        (&of["name"], &of["breaker"], &of["requests"]),
        (&json!("cloud-0"), &json!("closed"), &json!(1)),
        "{of}"
    );
    assert_eq!((&of["spent_day"], &of["budget_day"]), (&json!(0.0003), &json!(0.5)), "{of}");
    assert_eq!((&page["problem"], &page["lost_records"]), (&json!(null), &json!(0)));
    let (_, metrics) = get(&server, "/metrics", Some("server-key"));
    for line in [
        "honelm_gateway_requests_total{route=\"cloud\",upstream=\"cloud-0\"} 1",
        "honelm_gateway_requests_total{route=\"local\",upstream=\"\"} 1",
        "honelm_gateway_tokens_total{route=\"cloud\",upstream=\"cloud-0\",kind=\"output\"} 20",
        "honelm_gateway_cost_total{route=\"cloud\",upstream=\"cloud-0\",currency=\"USD\"} 0.0003",
        "honelm_gateway_replaced_total{kind=\"EMAIL_ADDRESS\"} 1",
        "honelm_gateway_breaker{upstream=\"cloud-0\",state=\"closed\"} 1",
        "honelm_gateway_upstream_first_token_seconds_count{upstream=\"cloud-0\"} 1",
        "honelm_gateway_lost_records_total 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(!metrics.contains("quux") && !page.to_string().contains("quux"));
    server.stop();
    // The end of the server has written everything.
    let bytes = std::fs::read(folder.path().join("gateway.db")).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("quux"));
    let sums = runtime().block_on(async {
        let store = Store::open(Location::File(folder.path().join("gateway.db"))).await.unwrap();
        store.usage(std::time::UNIX_EPOCH, By::Client).await.unwrap()
    });
    assert_eq!(
        sums.iter().map(|group| (&*group.name, group.totals.requests)).collect::<Vec<_>>(),
        [("", 1), ("editor", 1)]
    );
}

#[test]
fn the_page_has_the_rules_of_the_status_page() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let text = with_client(folder.path(), &file("", &[(upstream.port, "openai", "")]));
    let server = start(folder.path(), &text, Some("server-key"));
    let (status, page) = get(&server, "/gateway", None);
    assert!(status == 200 && page.contains("content-security-policy: default-src 'none'"), "{page}");
    for (path, key, expected) in [
        ("/gateway.json", None, 401),
        ("/gateway.json", Some("client-key"), 401),
        ("/metrics", Some("client-key"), 401),
        ("/gateway.json", Some("server-key"), 200),
    ] {
        assert_eq!(get(&server, path, key).0, expected, "{path} {key:?}");
    }
    let foreign = [("Host", "evil.example"), ("X-Api-Key", "server-key")];
    assert_eq!(raw(&server, "GET /gateway.json HTTP/1.1", &foreign, "").0, 403);
    let plain = common::start(config());
    assert_eq!(plain.get("/gateway.json").0, 404);
}

#[test]
fn a_store_that_fails_keeps_requests_with_budgets_on_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let text = file("policy = \"cloud-first\"", &[(upstream.port, "openai", "budget = { day = 0.5 }")]);
    let server = start(folder.path(), &text, Some("server-key"));
    assert_eq!(chat(&server, "cloud-first", "server-key", "Hello")["honelm"]["route"], "cloud");
    document(&server, 1);
    let path = folder.path().join("gateway.db");
    runtime().block_on(async {
        use sqlx::{Connection, Executor};
        let mut other = sqlx::AnyConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        other.execute("BEGIN EXCLUSIVE").await.unwrap();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = chat(&server, "cloud-first", "server-key", "Hello");
            (server, answer)
        });
        let (server, answer) = answer.await.unwrap();
        assert_eq!(answer["honelm"]["route"], "local", "{answer}");
        other.execute("COMMIT").await.unwrap();
        other.close().await.unwrap();
        tokio::task::spawn_blocking(move || document(&server, 2)).await.unwrap();
    });
    assert_eq!(upstream.received().len(), 1, "nothing left without a budget check");
}
