//! The page that runs models in the browser and talks to those of a server: the folder that `cargo xtask web` builds.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};

use crate::app::Shared;
use crate::files::Files;
use crate::{ApiError, routes, status};

/// The content security policy of the page: its own scripts, its own workers and the wasm module. It may fetch models, and talk
/// to servers, that the user names.
pub const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
                          img-src 'self' data: blob:; connect-src * blob: data:; object-src 'none'; base-uri 'none'; \
                          form-action 'none'; frame-ancestors 'none'";

/// The largest size of the page's document, in bytes.
const MOST: u64 = 1 << 20;

/// The tag behind which the page's document names its server.
const HEAD: &str = "<head>";

/// The built page.
#[derive(Debug, Clone)]
pub struct WebPage {
    document: PathBuf,
    files: Files,
}

impl WebPage {
    /// Opens the folder of the page.
    ///
    /// # Errors
    /// A folder without an `index.html` that has a `<head>`.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let page = Self { document: folder.join("index.html"), files: Files::below(folder)? };
        page.document("none")?;
        Ok(page)
    }

    /// Returns the document, with the address of the server's API and the need of a key. A page that a server without models
    /// serves lacks both.
    fn document(&self, key: &str) -> io::Result<String> {
        let place = self.document.display().to_string();
        let read = || honelm::read_limited(honelm::open_file(&self.document)?, &place, MOST);
        let bytes = read().map_err(|error| io::Error::other(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong(format!("{place}: found bytes that are not UTF-8")))?;
        let (before, behind) = text.split_once(HEAD).ok_or_else(|| wrong(format!("{place}: found no {HEAD}")))?;
        let named = format!("<meta name=\"honelm-server\" content=\"v1/\" data-key=\"{key}\" />");
        Ok(format!("{before}{HEAD}{named}{behind}"))
    }

    /// Returns the service of the page's files; what is no file of the page does not exist.
    pub(crate) fn routes(&self) -> Router<Shared> {
        Router::new().fallback_service(self.files.clone().service()).layer(middleware::from_fn(answered))
    }
}

fn wrong(problem: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, problem)
}

/// Adds the headers of the page to a file, or refuses the request in the form of the API.
async fn answered(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    match response.status() {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => routes::unknown(method, uri).await,
        _ => with_headers(response),
    }
}

fn with_headers(mut response: Response) -> Response {
    add_headers(response.headers_mut());
    response
}

/// Adds the headers of the page's files: the policy, and that browsers ask before they use an old file.
pub fn add_headers(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
}

/// Serves `/`: the built page, or else the small one.
pub(crate) async fn index(State(app): State<Shared>) -> Response {
    let Some(page) = app.web.clone() else { return status::page(include_str!("index.html")) };
    let key = if app.security.asks_for_key() { "required" } else { "none" };
    match tokio::task::spawn_blocking(move || page.document(key)).await {
        Ok(Ok(document)) => with_headers(Html(document).into_response()),
        failed => {
            let problem = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => "the page cannot be read".to_owned(),
            };
            crate::log::message(app.config.log_format, &format!("warning: {problem}"));
            let message = "the page cannot be read; the server's log has the reason";
            crate::Api::OpenAi.respond(&ApiError::internal("page_unreadable", message))
        }
    }
}
