//! The interface to HTTP: one request, one answer with a body to be read. Redirects, tokens, retries and checks belong to
//! the client, so that they can be tested without a network.

use std::io::Read;
use std::time::Duration;

use super::url::Url;

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`: headers and contents.
    Get,
    /// `HEAD`: headers only.
    Head,
}

/// A header's name and value.
pub type Header = (&'static str, String);

/// An answer whose body has not been read.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The names of the headers, in any case, and their values.
    pub headers: Vec<(String, String)>,
    /// The body. An error or an early end means that the connection broke.
    pub body: Box<dyn Read>,
}

impl Response {
    /// Returns the value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Returns the length of the body as the server announced it.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }
}

/// The error of a request without an answer.
#[derive(Debug, Clone)]
pub struct TransportError {
    /// A description of the error.
    pub problem: String,
    /// `true` if another attempt may succeed.
    pub passing: bool,
}

/// Sends requests to servers.
pub trait Transport {
    /// Sends one request and waits for the headers of its answer. Redirects are not followed, and no status is an error.
    ///
    /// # Errors
    /// The server could not be reached or did not answer.
    fn send(&self, method: Method, url: &Url, headers: &[Header]) -> Result<Response, TransportError>;

    /// Waits.
    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
