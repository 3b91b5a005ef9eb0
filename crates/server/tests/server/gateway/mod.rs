//! The gateway between the device and the cloud: a scripted local model, and upstreams that fail by script.

mod drafts;
mod faults;
mod page;
mod policies;
mod privacy;
mod proof;
mod upstream;

use std::sync::Arc;

use honelm::policy::Settings;
use honelm_server::gateway::accounts::{Accounts, Memory, Record};
use honelm_server::{Config, Gateway, Registry, Server};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::common::{self, Running, config, runtime};
use crate::scripted;
use upstream::Upstream;

/// The words of an answer, as all models of these tests give it.
pub const WORDS: [&str; 12] =
    ["The", " river", " runs", " past", " the", " old", " mill", " and", " into", " the", " cold", " sea."];

/// The way to the upstreams of a gateway file: their ports, interfaces, and further lines of their tables.
pub fn file(head: &str, upstreams: &[(u16, &str, &str)]) -> String {
    let mut text = format!("{head}\n[local]\nmodel = \"edge\"\ncontext = 4000\n{LOCAL}\n");
    for (i, (port, api, more)) in upstreams.iter().enumerate() {
        text.push_str(&format!(
            "[[upstream]]\nname = \"cloud-{i}\"\napi = \"{api}\"\nurl = \"http://127.0.0.1:{port}/v1\"\nmodel = \"large\"\n\
             key = \"none\"\nprice = {{ input = 1, output = 10 }}\ncontext = 32000\npriority = {i}\n{more}\n"
        ));
    }
    text
}

/// The abilities of the local model, which a head that sets them replaces.
const LOCAL: &str = "tools = true";

/// A server with a gateway, and the accounts that it keeps.
pub struct Hybrid {
    pub server: Running,
    pub accounts: Arc<Memory>,
}

/// Starts a server with a gateway and a scripted local model, which answers with [`WORDS`].
pub fn start(file: &str) -> Hybrid {
    start_with(file, |_| WORDS.concat())
}

/// Starts a server with a gateway whose local model answers by a script.
pub fn start_with(file: &str, script: impl Fn(&str) -> String + Send + Sync + 'static) -> Hybrid {
    let config = config();
    let registry = Registry::of(&config);
    scripted::add(&registry, "edge", script);
    start_registry(file, config, registry, None)
}

/// Starts a server with a gateway whose local model is the first of a registry.
pub fn start_registry(file: &str, config: Config, registry: Registry, key: Option<String>) -> Hybrid {
    let settings = Settings::from_toml("gateway.toml", file).unwrap();
    let accounts = Arc::new(Memory::default());
    let gateway = Gateway::new(settings, Arc::clone(&accounts) as Arc<dyn Accounts>).unwrap();
    let bind = move || async move { Server::bind_with(config, registry, key, Some(gateway)).await.unwrap() };
    let server = common::start_server(bind);
    Hybrid { server, accounts }
}

impl Hybrid {
    /// Sends a request with headers. Returns the status, the headers and the text of the response.
    pub async fn send(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, HeaderMap, String) {
        send(self.server.port, path, headers, body).await
    }

    /// Asks for an answer that is not streamed.
    pub fn ask(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, HeaderMap, Value) {
        let (status, headers, text) = runtime().block_on(self.send(path, headers, body));
        (status, headers, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
    }

    /// Asks the chat API, by a policy. Returns the text of the answer and the object about its route.
    pub fn chat(&self, policy: &str, body: Value) -> (String, Value) {
        let (status, headers, answer) = self.ask(CHAT, &[("x-honelm-policy", policy)], &body);
        assert_eq!(status, 200, "{answer}");
        let about = answer["honelm"].clone();
        assert!(
            headers["x-honelm"].to_str().unwrap().starts_with(&format!("route={}", about["route"].as_str().unwrap()))
        );
        (answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned(), about)
    }

    pub fn records(&self) -> Vec<Record> {
        runtime().block_on(self.accounts.recent(10_000)).unwrap()
    }
}

pub const CHAT: &str = "/v1/chat/completions";

/// The four APIs, with a request for an answer to a text.
pub fn apis(text: &str, stream: bool) -> [(&'static str, Value); 4] {
    let messages = json!([{"role": "user", "content": text}]);
    [
        (CHAT, json!({"messages": messages, "stream": stream})),
        ("/v1/responses", json!({"input": text, "stream": stream})),
        ("/v1/messages", json!({"messages": messages, "max_tokens": 200, "stream": stream})),
        ("/api/chat", json!({"model": "edge", "messages": messages, "stream": stream})),
    ]
}

/// Returns the text of an answer, and the object about its route.
pub fn read(path: &str, text: &str) -> (String, Value) {
    let events = |prefix: &'static str| {
        let lines = text.lines().filter_map(move |line| line.strip_prefix(prefix));
        lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>()
    };
    let join = |events: &[Value], place: &str| {
        events.iter().filter_map(|event| event.pointer(place)?.as_str()).collect::<String>()
    };
    let whole: Result<Value, _> = serde_json::from_str(text.trim());
    match (path, whole) {
        (CHAT, Ok(answer)) => {
            (join(std::slice::from_ref(&answer), "/choices/0/message/content"), answer["honelm"].clone())
        }
        (CHAT, Err(_)) => {
            let events = events("data: ");
            (join(&events, "/choices/0/delta/content"), events.last().unwrap()["honelm"].clone())
        }
        ("/v1/responses", Ok(answer)) => {
            let texts = answer["output"].as_array().unwrap().iter().map(|item| item["content"][0]["text"].as_str());
            (texts.flatten().collect(), answer["honelm"].clone())
        }
        ("/v1/responses", Err(_)) => {
            let events = events("data: ");
            let last = events.last().unwrap();
            let texts: Vec<Value> =
                events.iter().filter(|event| event["type"] == "response.output_text.delta").cloned().collect();
            (join(&texts, "/delta"), last["response"]["honelm"].clone())
        }
        ("/v1/messages", Ok(answer)) => {
            (join(std::slice::from_ref(&answer), "/content/0/text"), answer["honelm"].clone())
        }
        ("/v1/messages", Err(_)) => {
            let events = events("data: ");
            (join(&events, "/delta/text"), events.last().unwrap()["honelm"].clone())
        }
        (_, Ok(answer)) => (join(std::slice::from_ref(&answer), "/message/content"), answer["honelm"].clone()),
        (_, Err(_)) => {
            let lines = events("");
            (join(&lines, "/message/content"), lines.last().unwrap()["honelm"].clone())
        }
    }
}

/// Sends a request. Returns the status, the headers and the text of the response.
pub async fn send(port: u16, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, HeaderMap, String) {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(path).header("host", "localhost").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.into_body().collect().await.unwrap().to_bytes();
    (status, headers, String::from_utf8(text.to_vec()).unwrap())
}

/// A question, and nothing else.
pub fn question() -> Value {
    json!({"messages": [{"role": "user", "content": "Where does the river run?"}]})
}

/// Returns the JSON text of the last request that an upstream got.
pub fn last(upstream: &Upstream) -> Value {
    upstream.received().last().unwrap().body.clone()
}
