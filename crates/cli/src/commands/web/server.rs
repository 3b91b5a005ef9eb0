//! The server: a page and some models, for this machine alone.
//!
//! axum and tower-http's file service, which answer ranges, conditional requests and HEAD as HTTP has them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_http::services::{ServeDir, ServeFile};

use crate::failure::Failure;
use crate::interrupt;

/// How often the server looks whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(50);

/// The page runs its own scripts and the wasm module, and may fetch models from anywhere.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
                      connect-src * blob: data:; frame-ancestors 'none'";

/// A model that is offered.
pub struct Served {
    name: String,
    /// The folder, or the GGUF file.
    path: PathBuf,
}

impl Served {
    /// A folder with `config.json`, or a file.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        let names_a_folder = path.file_name().is_some_and(|name| name == "config.json");
        let path = path.parent().filter(|_| names_a_folder).unwrap_or(path);
        if path.is_dir() && !path.join("config.json").is_file() {
            return Err(Failure::Usage(format!("{}: no model folder: it has no config.json", path.display())));
        }
        Ok(Self { name: honelm::model_name(path), path: path.to_owned() })
    }

    /// Where it is served, below the page's address.
    fn url(&self) -> String {
        // Names become one segment of a path, whatever characters they have.
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let name: String = self.name.chars().map(plain).collect();
        let name = name.trim_start_matches('.');
        if self.path.is_dir() { format!("models/{name}/") } else { format!("models/{name}.gguf") }
    }

    /// What the page is told of it.
    pub fn json(&self) -> Value {
        json!({"name": self.name, "url": self.url()})
    }
}

/// Serves until Ctrl-C.
pub fn serve(listener: TcpListener, page: &Path, models: Vec<Served>) -> Result<(), Failure> {
    let failed = |error| Failure::Io("the server".to_owned(), error);
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let server = axum::serve(listener, router(page, &models)).with_graceful_shutdown(interrupted());
        server.await.map_err(failed)
    })
}

async fn interrupted() {
    while !interrupt::pressed() {
        tokio::time::sleep(LOOK).await;
    }
}

fn router(page: &Path, models: &[Served]) -> Router {
    let list = json!({"models": models.iter().map(Served::json).collect::<Vec<_>>()});
    let mut router = Router::new().route("/models.json", get(move || async move { Json(list) }));
    for model in models {
        let url = format!("/{}", model.url());
        // Two models of one name: the first one keeps it.
        let taken =
            models.iter().take_while(|other| !std::ptr::eq(*other, model)).any(|other| other.url() == model.url());
        router = match model.path.is_dir() {
            _ if taken => router,
            true => router.nest_service(url.trim_end_matches('/'), ServeDir::new(&model.path)),
            false => router.route_service(&url, ServeFile::new(&model.path)),
        };
    }
    router.fallback_service(ServeDir::new(page)).layer(middleware::from_fn(guarded))
}

/// Refuses requests that were meant for another host, by which a site could read models through a name that leads here,
/// and says how answers may be used.
async fn guarded(request: Request, next: Next) -> Response {
    if !is_local(request.headers()) {
        return (StatusCode::FORBIDDEN, "this server is for this machine alone\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
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
    fn only_names_of_this_machine_are_answered() {
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
        let file = dir.path().join("tiny/../x?.gguf");
        assert_eq!(Served { name: "x?".to_owned(), path: file }.url(), "models/x-.gguf");
    }
}
