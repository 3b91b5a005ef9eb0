//! Servers in the test process.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use honelm::RunOptions;
use honelm_server::client::Client;
use honelm_server::{Config, LogFormat, Registry, Server, models};
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::runtime::Runtime;

/// A server that runs until it is dropped.
pub struct Running {
    pub address: String,
    pub port: u16,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Returns the configuration of tests: any free port, and the shipped model alone.
pub fn config() -> Config {
    Config { port: 0, all_models: false, log_format: LogFormat::Off, parallel: 32, ..Config::default() }
}

/// Options that run models on the CPU with a short context.
pub fn run_options() -> RunOptions {
    RunOptions { device: honelm::DeviceChoice::Cpu, context: Some(256), threads: Some(2), ..RunOptions::default() }
}

/// Starts a server with the models of its configuration.
pub fn start(config: Config) -> Running {
    let registry = models(&config, &run_options(), None).unwrap();
    start_with(config, registry, None)
}

/// Starts a server of the shipped model with its whole context.
pub fn start_long() -> Running {
    let config = config();
    let run = RunOptions { context: Some(1024), ..run_options() };
    let registry = models(&config, &run, None).unwrap();
    start_with(config, registry, None)
}

/// Starts a server with these models.
pub fn start_with(config: Config, registry: Registry, key: Option<String>) -> Running {
    start_server(move || async move { Server::bind(config, registry, key).await.unwrap() })
}

/// Starts a server that a function makes on the server's thread.
pub fn start_server<F: Future<Output = Server>>(make: impl FnOnce() -> F + Send + 'static) -> Running {
    let (sender, receiver) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        runtime().block_on(async {
            let server = make().await;
            sender.send((server.address(), server.port().unwrap_or(0))).unwrap();
            server.run(async { drop(stopped.await) }).await;
        });
    });
    let (address, port) = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
    Running { address, port, stop: Some(stop), thread: Some(thread) }
}

impl Running {
    /// Tells the server to end, and waits for it.
    pub fn stop(mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }

    pub fn client(&self) -> Client {
        Client::new(&self.address, None)
    }

    /// Sends a request and returns status and document.
    pub fn json(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        runtime().block_on(self.client().json(method, path, body.as_ref())).unwrap()
    }

    pub fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.json(Method::POST, path, Some(body))
    }

    pub fn get(&self, path: &str) -> (StatusCode, Value) {
        self.json(Method::GET, path, None)
    }

    /// Sends a request and returns the names and the data of the events of its stream.
    pub fn frames(&self, path: &str, body: Value) -> Vec<(Option<String>, String)> {
        let (kind, text) = self.text(path, body);
        assert_eq!(kind, "text/event-stream");
        let frame = |frame: &str| {
            let (mut name, mut data) = (None, String::new());
            for line in frame.lines() {
                match line.split_once(": ") {
                    Some(("event", found)) => name = Some(found.to_owned()),
                    Some(("data", found)) => data.push_str(found),
                    // A comment shows that a silent stream is alive.
                    Some(("", _)) => {}
                    _ => panic!("an unknown line of a frame: {line:?}"),
                }
            }
            (name, data)
        };
        text.split_terminator("\n\n").map(frame).filter(|(name, data)| name.is_some() || !data.is_empty()).collect()
    }

    /// Sends a request and returns the content type and the whole text of its answer.
    pub fn text(&self, path: &str, body: Value) -> (String, String) {
        runtime().block_on(async {
            let response = self.client().send(Method::POST, path, Some(&body)).await.unwrap();
            let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
            let text = response.into_body().collect().await.unwrap().to_bytes();
            (kind, String::from_utf8(text.to_vec()).unwrap())
        })
    }

    /// Sends a request and returns the events of its stream, `[DONE]` included.
    pub fn events(&self, path: &str, body: Value) -> Vec<String> {
        runtime().block_on(events(&self.client(), path, body))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Returns the data of all events of a stream.
pub async fn events(client: &Client, path: &str, body: Value) -> Vec<String> {
    let response = client.send(Method::POST, path, Some(&body)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    text.split("\n\n").filter_map(|event| event.strip_prefix("data: ").map(str::to_owned)).collect()
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Sends a request as it is written here, and returns the status and the whole response.
pub fn raw(server: &Running, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut text = format!("{line}\r\n");
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    text.push_str("Connection: close\r\n\r\n");
    text.push_str(body);
    // A server that refuses the headers need not read them.
    let _ = stream.write_all(text.as_bytes());
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    let response = String::from_utf8_lossy(&response).into_owned();
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no response to {line} {headers:?}: {response:?}")), response)
}
