//! The way to an upstream: connections, time limits, and the stream of an answer.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use honelm_gateway::policy::{Api, Failure, Timeouts, Upstream as Settings};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use serde::de::DeserializeOwned;
use tokio::time::timeout_at;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::connection::{Connections, Sender};
use super::sse::Parser;
use super::{Broken, Failed, Piece, Read};
use crate::app::unix_seconds;
use crate::ids;

/// The most bytes of an answer.
const MOST_ANSWER: usize = 64 << 20;
/// The most bytes of a document.
const MOST_DOCUMENT: usize = 8 << 20;
/// The most bytes of a file of certificates.
const MOST_CERTIFICATES: u64 = 16 << 20;
/// The time for which the rest of an answer is awaited behind its end, so that its connection can be used again.
const REST: Duration = Duration::from_secs(1);
/// The longest time that an upstream may ask to wait.
const MOST_WAIT: Duration = Duration::from_secs(3600);
/// The version of Anthropic's API.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// Returns the settings of encrypted connections: Mozilla's roots, or the certificates in `SSL_CERT_FILE`.
///
/// # Errors
/// A file of certificates that cannot be read or has none.
pub(crate) fn tls() -> Result<ClientConfig, honelm::Error> {
    let mut roots = RootCertStore::empty();
    match std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from) {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = |problem: &str| honelm::Error::Text {
                path: path.display().to_string(),
                problem: format!("SSL_CERT_FILE: {problem}, expected a file of PEM certificates"),
            };
            let pem = honelm::read_input(&path, MOST_CERTIFICATES).map_err(honelm::Error::from)?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|_| wrong("found a broken certificate"))?;
                roots.add(certificate).map_err(|_| wrong("found a certificate that is no root"))?;
            }
            if roots.is_empty() {
                return Err(wrong("found no certificate"));
            }
        }
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| honelm::Error::Usage(format!("TLS: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The address of an upstream, with its connections.
pub(crate) struct Endpoint {
    connections: Arc<Connections>,
    path: Uri,
    /// The paths at which another HoneLM describes itself and verifies drafts.
    pub props: Uri,
    pub verify: Uri,
    host: HeaderValue,
    api: Api,
    key: Option<HeaderValue>,
    timeouts: Timeouts,
}

impl Endpoint {
    /// Creates the endpoint of an upstream. `key` is the key itself.
    ///
    /// # Errors
    /// An address that is none, and a key that no header can carry.
    pub fn new(settings: &Settings, key: Option<&str>, tls: &Arc<ClientConfig>) -> Result<Self, String> {
        let wrong = || format!("url: found {:?}, expected an address with a host", settings.url);
        let name = match settings.api {
            Api::OpenAi => "chat/completions",
            Api::Anthropic => "messages",
        };
        let url: Uri = format!("{}/{name}", settings.url.trim_end_matches('/')).parse().map_err(|_| wrong())?;
        let authority = url.authority().filter(|authority| !authority.host().is_empty()).ok_or_else(wrong)?;
        let is_encrypted = url.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let host_name = authority.host().trim_matches(['[', ']']).to_owned();
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| wrong())?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let base = path.strip_suffix(&format!("/{name}")).unwrap_or_default();
        let root = base.strip_suffix("/v1").unwrap_or(base);
        let uri = |path: &str| path.parse::<Uri>().map_err(|_| wrong());
        let (props, verify) = (uri(&format!("{root}/props"))?, uri(&format!("{base}/honelm/verify"))?);
        let path = uri(path)?;
        let key = match (key, settings.api) {
            (None, _) => None,
            (Some(key), Api::OpenAi) => Some(format!("Bearer {key}")),
            (Some(key), Api::Anthropic) => Some(key.to_owned()),
        };
        let key = key.map(|key| HeaderValue::from_str(&key)).transpose();
        let mut key = key.map_err(|_| "key: found characters that no header can carry".to_owned())?;
        if let Some(key) = &mut key {
            key.set_sensitive(true);
        }
        let tls = is_encrypted.then(|| Arc::clone(tls));
        let connections = Connections::new(host_name, port, tls, seconds(settings.timeout.connect))?;
        let connections = Arc::new(connections);
        Ok(Self { connections, path, props, verify, host, api: settings.api, key, timeouts: settings.timeout })
    }

    /// Returns host and port.
    pub fn host(&self) -> (String, u16) {
        self.connections.host()
    }

    /// Returns the longest time that an answer may take.
    pub fn total(&self) -> Duration {
        seconds(self.timeouts.total)
    }

    /// Sends a request, and returns the stream of its answer once that begins. Redirects are not followed.
    pub async fn send(&self, body: Bytes, reader: Box<dyn Read>, deadline: Instant) -> Result<Stream, Failed> {
        let begin = Instant::now();
        let until = deadline.min(begin + self.total());
        let first = until.min(begin + seconds(self.timeouts.connect) + seconds(self.timeouts.first_byte));
        let exchange = timeout_at(first.into(), self.exchange(&self.path, Some(body))).await;
        let (sender, response) = exchange.map_err(|_| Failed::new(Failure::Timeout))??;
        if response.status() != 200 {
            let failure = Failure::Status(response.status().as_u16());
            return Err(Failed { failure, retry_after: retry_after(&response) });
        }
        Ok(Stream {
            body: response.into_body(),
            connection: Some((sender, Arc::clone(&self.connections))),
            parser: Parser::default(),
            reader,
            ready: VecDeque::new(),
            bytes: 0,
            silent_from: first,
            between: seconds(self.timeouts.between_tokens),
            until,
        })
    }

    /// Sends a request with a body, or asks for a document, and returns the document of the response.
    pub async fn document<T: DeserializeOwned>(
        &self,
        path: &Uri,
        body: Option<Bytes>,
        deadline: Instant,
    ) -> Result<T, Failed> {
        let until = Instant::now() + seconds(self.timeouts.connect) + seconds(self.timeouts.first_byte);
        let whole = async {
            let (sender, response) = self.exchange(path, body).await?;
            if response.status() != 200 {
                let failure = Failure::Status(response.status().as_u16());
                return Err(Failed { failure, retry_after: retry_after(&response) });
            }
            let document = Limited::new(response.into_body(), MOST_DOCUMENT).collect().await;
            let document = document.map_err(|_| broken(Broken))?.to_bytes();
            self.connections.keep(sender);
            serde_json::from_slice(&document).map_err(|_| broken(Broken))
        };
        let whole = timeout_at(until.min(deadline).into(), whole).await;
        whole.unwrap_or(Err(Failed::new(Failure::Timeout)))
    }

    /// Sends a request over a connection that stands, or over a new one.
    async fn exchange(&self, path: &Uri, body: Option<Bytes>) -> Result<(Sender, Response<Incoming>), Failed> {
        while let Some(mut sender) = self.connections.idle().await {
            // The upstream may have closed it in this moment. It has not answered then.
            if let Ok(response) = sender.send_request(self.request(path, body.clone())?).await {
                return Ok((sender, response));
            }
        }
        let mut sender = self.connections.open().await.map_err(|_| Failed::new(Failure::Connect))?;
        let response = sender.send_request(self.request(path, body)?).await;
        Ok((sender, response.map_err(|_| Failed::new(Failure::Broken))?))
    }

    fn request(&self, path: &Uri, body: Option<Bytes>) -> Result<Request<Full<Bytes>>, Failed> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder()
            .method(method)
            .uri(path.clone())
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, if *path == self.path { "text/event-stream" } else { "application/json" })
            .header(ACCEPT_ENCODING, "identity")
            .header(USER_AGENT, concat!("honelm/", env!("CARGO_PKG_VERSION")))
            .header("x-request-id", ids::new("req_"));
        if self.api == Api::Anthropic {
            request = request.header("anthropic-version", ANTHROPIC_VERSION);
        }
        if let Some(key) = &self.key {
            request = match self.api {
                Api::OpenAi => request.header(AUTHORIZATION, key.clone()),
                Api::Anthropic => request.header("x-api-key", key.clone()),
            };
        }
        request.body(Full::new(body.unwrap_or_default())).map_err(|_| Failed::new(Failure::Connect))
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}

/// Reads `Retry-After`: seconds, or a date.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            let at = u64::try_from(at.as_second()).unwrap_or(0);
            Duration::from_secs(at.saturating_sub(unix_seconds()))
        }
    };
    Some(wait.min(MOST_WAIT))
}

/// The stream of an upstream's answer.
pub(crate) struct Stream {
    body: Incoming,
    /// The connection, until it is given back.
    connection: Option<(Sender, Arc<Connections>)>,
    parser: Parser,
    reader: Box<dyn Read>,
    ready: VecDeque<Piece>,
    bytes: usize,
    /// The time from which the upstream counts as silent.
    silent_from: Instant,
    between: Duration,
    until: Instant,
}

impl Stream {
    /// Returns the next piece; `None` after a complete answer.
    pub async fn next(&mut self) -> Result<Option<Piece>, Failed> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                self.silent_from = Instant::now() + self.between;
                return Ok(Some(piece));
            }
            while self.ready.is_empty()
                && let Some(event) = self.parser.next()
            {
                self.ready.extend(self.reader.event(&event).map_err(broken)?);
            }
            if !self.ready.is_empty() {
                continue;
            }
            if self.reader.has_ended() {
                self.give_back().await;
                return self.end();
            }
            let limit = self.silent_from.min(self.until);
            let frame = timeout_at(limit.into(), self.body.frame()).await;
            match frame.map_err(|_| Failed::new(Failure::Timeout))? {
                Some(Ok(frame)) => {
                    let bytes = frame.into_data().unwrap_or_default();
                    self.bytes += bytes.len();
                    if self.bytes > MOST_ANSWER {
                        return Err(broken(Broken));
                    }
                    self.parser.push(&bytes).map_err(|_| broken(Broken))?;
                }
                // What is complete was cut behind its end.
                Some(Err(_)) => return self.end(),
                None => {
                    self.parser.finish().map_err(|_| broken(Broken))?;
                    match self.parser.next() {
                        Some(event) => self.ready.extend(self.reader.event(&event).map_err(broken)?),
                        None => return self.end(),
                    }
                }
            }
        }
    }

    /// Keeps the connection for the next request, if nothing follows the answer.
    async fn give_back(&mut self) {
        let Some((sender, connections)) = self.connection.take() else { return };
        let until = Instant::now() + REST;
        while let Ok(frame) = timeout_at(until.into(), self.body.frame()).await {
            match frame {
                None => return connections.keep(sender),
                Some(Ok(_)) => {}
                Some(Err(_)) => return,
            }
        }
    }

    fn end(&self) -> Result<Option<Piece>, Failed> {
        if self.reader.is_complete() { Ok(None) } else { Err(broken(Broken)) }
    }
}

fn broken(_: Broken) -> Failed {
    Failed::new(Failure::Broken)
}
