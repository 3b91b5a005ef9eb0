//! What is needed of HTTP: one request, one answer, its body as a stream. Redirects, tokens, retries and checks are the
//! client's, so that they are tested without a network.

use std::io::Read;
use std::time::Duration;

use super::url::Url;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The contents.
    Get,
    /// The headers alone.
    Head,
}

/// A header's name and value.
pub type Header = (&'static str, String);

/// An answer, its body not yet read.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names, in any case, and values.
    pub headers: Vec<(String, String)>,
    /// The body. An error or an early end means that the connection broke.
    pub body: Box<dyn Read>,
}

impl Response {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The length of the body as the server promises it.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub struct TransportError {
    /// What happened.
    pub problem: String,
    /// Whether another attempt may do better.
    pub passing: bool,
}

/// A way to ask servers.
pub trait Transport {
    /// Sends one request and waits for the head of its answer. Follows no redirect; every status is an answer.
    fn send(&self, method: Method, url: &Url, headers: &[Header]) -> Result<Response, TransportError>;

    /// Lets time pass.
    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
