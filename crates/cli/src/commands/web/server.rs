//! An HTTP server for the page and the models, reachable from this machine only.
//!
//! Files are served by tower-http, with ranges, conditional requests and HEAD. Connections are handled by hyper itself,
//! which has a time limit for the headers of a request.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use honelm_server::Files;
use honelm_server::web::add_headers;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::interrupt;

/// The interval at which the server checks for Ctrl-C.
const POLL: Duration = Duration::from_millis(50);

/// The time limit for the headers of a request.
const HEADERS: Duration = Duration::from_secs(30);

/// The time that responses in progress have after Ctrl-C.
const GRACE: Duration = Duration::from_millis(500);

/// A model on the server.
pub struct Served {
    name: String,
    /// The folder, or the GGUF file.
    path: PathBuf,
    files: Files,
}

impl Served {
    /// Creates the entry of a folder with `config.json`, or of a file.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        let names_a_folder = path.file_name().is_some_and(|name| name == "config.json");
        let path = path.parent().filter(|_| names_a_folder).unwrap_or(path);
        if path.is_dir() && !path.join("config.json").is_file() {
            return Err(Failure::Usage(format!("{}: not a model folder: it has no config.json", path.display())));
        }
        let files = if path.is_dir() {
            Files::below(path).map_err(|error| Failure::Io(path.display().to_string(), error))?
        } else {
            drop(honelm::open_file(path).map_err(honelm::Error::from)?);
            Files::file(path)
        };
        Ok(Self { name: honelm::model_name(path), path: path.to_owned(), files })
    }

    /// Returns the files that are not served because they are links to files outside the model's folder.
    pub fn links_out(&self) -> Vec<String> {
        self.files.links_out()
    }

    /// Returns the URL relative to the page.
    fn url(&self) -> String {
        // A name becomes one path segment, whatever characters it has.
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let name: String = self.name.chars().map(plain).collect();
        let name = name.trim_start_matches('.');
        if self.path.is_dir() { format!("models/{name}/") } else { format!("models/{name}.gguf") }
    }

    /// Returns the entry of the model in `models.json`.
    pub fn json(&self) -> Value {
        json!({"name": self.name, "url": self.url(), "bytes": self.files.weight_bytes()})
    }
}

/// Serves until Ctrl-C.
pub fn serve(listener: TcpListener, page: &Path, models: Vec<Served>) -> Result<(), Failure> {
    let failed = |error| Failure::Io("the server".to_owned(), error);
    listener.set_nonblocking(true).map_err(failed)?;
    let page = Files::below(page).map_err(|error| Failure::Io(page.display().to_string(), error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let served = runtime.block_on(accept(listener, router(page, &models)));
    // Do not wait for a read from a disk that does not respond.
    runtime.shutdown_background();
    served.map_err(failed)
}

/// Serves requests until Ctrl-C, then waits at most [`GRACE`] for responses in progress.
async fn accept(listener: TcpListener, router: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let connections = GracefulShutdown::new();
    let mut stopped = pin!(interrupted());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => break,
        };
        let Ok((stream, _)) = accepted else {
            // The client has gone, or there are too many connections.
            tokio::time::sleep(POLL).await;
            continue;
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADERS);
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        tokio::spawn(connections.watch(connection));
    }
    tokio::select! {
        () = connections.shutdown() => {}
        () = tokio::time::sleep(GRACE) => {}
    }
    Ok(())
}

async fn interrupted() {
    while !interrupt::pressed() {
        tokio::time::sleep(POLL).await;
    }
}

fn router(page: Files, models: &[Served]) -> Router {
    let list = json!({"models": models.iter().map(Served::json).collect::<Vec<_>>()});
    let mut router = Router::new().route("/models.json", get(move || async move { Json(list) }));
    for model in models {
        let url = format!("/{}", model.url());
        // Of two models of one name, the first one is served.
        let taken =
            models.iter().take_while(|other| !std::ptr::eq(*other, model)).any(|other| other.url() == model.url());
        router = match model.path.is_dir() {
            _ if taken => router,
            true => router.nest_service(url.trim_end_matches('/'), model.files.clone().service()),
            false => router.route_service(&url, model.files.clone().service()),
        };
    }
    router.fallback_service(page.service()).layer(middleware::from_fn(guarded))
}

/// Refuses requests for another host, since a website could otherwise read models through a name that resolves to this
/// machine (DNS rebinding), and sets the headers of responses.
async fn guarded(request: Request, next: Next) -> Response {
    if !is_local(request.headers()) {
        return (StatusCode::FORBIDDEN, "this server only serves this machine\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    add_headers(headers);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    ["127.0.0.1", "localhost", "[::1]"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_accepted() {
        let host = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).expect("a header"));
            is_local(&headers)
        };
        assert!(host("127.0.0.1:8417") && host("localhost:1") && host("localhost"));
        assert!(!host("example.com:8417") && !host("127.0.0.1.example.com") && !host(""));
        assert!(!is_local(&HeaderMap::new()));
    }

    #[test]
    fn models_have_plain_addresses() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("my model");
        std::fs::create_dir(&folder).expect("a folder");
        assert!(Served::new(&folder).is_err(), "a folder without config.json");
        std::fs::write(folder.join("config.json"), "{}").expect("written");
        assert_eq!(Served::new(&folder).expect("a model").url(), "models/my-model/");
        assert_eq!(Served::new(&folder.join("config.json")).expect("a model").url(), "models/my-model/");
        std::fs::write(folder.join("a.safetensors"), [0; 5]).expect("written");
        assert_eq!(Served::new(&folder).expect("a model").json()["bytes"], 5);
        let file = dir.path().join("x?.gguf");
        let files = Files::file(&file);
        assert_eq!(Served { name: "x?".to_owned(), path: file, files }.url(), "models/x-.gguf");
    }
}
