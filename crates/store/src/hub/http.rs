//! A [`Transport`] over the network, with `ureq` and `rustls`.

use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error};

use super::transport::{Header, Method, Response, Transport, TransportError};
use super::url::Url;
use crate::StoreError;

/// The time limits for the parts of a request. The body of an answer has no limit as long as it arrives at the rate that
/// [`super::Patience`] asks for.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// The limit for resolving the host's name, and again for connecting.
    pub connect: Duration,
    /// The limit for receiving all headers of an answer.
    pub headers: Duration,
    /// The longest time without any byte sent or received.
    pub silence: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(20), headers: seconds(60), silence: seconds(30) }
    }
}

/// The largest size of a file of certificates, in bytes; a system's whole list has about 200 kB.
const MOST_CERTIFICATES: u64 = 16 << 20;

/// HTTP/1.1 over TCP and TLS. Proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`;
/// certificates are checked against Mozilla's roots, or against those in `SSL_CERT_FILE`.
#[derive(Debug)]
pub struct HttpTransport {
    agent: Agent,
    /// The agent without a proxy, for this machine.
    direct: Agent,
}

impl HttpTransport {
    /// Creates a transport from the environment.
    ///
    /// # Errors
    /// A file of certificates that cannot be read or has none.
    pub fn new() -> Result<Self, StoreError> {
        Self::with_timeouts(Timeouts::default())
    }

    /// Creates a transport with other time limits.
    ///
    /// # Errors
    /// As [`HttpTransport::new`].
    pub fn with_timeouts(timeouts: Timeouts) -> Result<Self, StoreError> {
        let config = || {
            Agent::config_builder()
                .max_redirects(0)
                .http_status_as_error(false)
                .user_agent(concat!("honelm/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .timeout_resolve(Some(timeouts.connect))
                .timeout_connect(Some(timeouts.connect))
                .timeout_recv_response(Some(timeouts.headers))
                .timeout_per_read(Some(timeouts.silence))
                .timeout_per_write(Some(timeouts.silence))
        };
        let tls = TlsConfig::builder().root_certs(root_certificates()?).build();
        Ok(Self {
            agent: config().tls_config(tls.clone()).build().new_agent(),
            direct: config().tls_config(tls).proxy(None).build().new_agent(),
        })
    }
}

impl HttpTransport {
    /// Sends a document and waits for the headers of its answer. Redirects are not followed, and no status is an error.
    ///
    /// # Errors
    /// The server could not be reached or did not answer.
    pub fn post(&self, url: &Url, headers: &[Header], body: &[u8]) -> Result<Response, TransportError> {
        let mut request = self.agent_for(url).post(url.to_string());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.send(body).map(response).map_err(|error| failure(&error))
    }

    /// Returns the agent without a proxy for this machine, and the other one for the network.
    fn agent_for(&self, url: &Url) -> &Agent {
        if url.is_loopback() { &self.direct } else { &self.agent }
    }
}

fn response(answer: ureq::http::Response<ureq::Body>) -> Response {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
    Response {
        status: answer.status().as_u16(),
        headers: headers.collect(),
        body: Box::new(answer.into_body().into_reader()),
    }
}

fn root_certificates() -> Result<RootCerts, StoreError> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|p| !p.is_empty()) else { return Ok(RootCerts::WebPki) };
    let path = std::path::PathBuf::from(path);
    let pem = honelm_formats::read_file(&path, MOST_CERTIFICATES)?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let found = path.display().to_string();
        return Err(StoreError::InvalidSetting {
            name: "SSL_CERT_FILE",
            found,
            expected: "a file of PEM certificates",
        });
    }
    Ok(certificates.into())
}

impl Transport for HttpTransport {
    fn send(&self, method: Method, url: &Url, headers: &[Header]) -> Result<Response, TransportError> {
        let agent = self.agent_for(url);
        let mut request = match method {
            Method::Get => agent.get(url.to_string()),
            Method::Head => agent.head(url.to_string()),
        };
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.call().map(response).map_err(|error| failure(&error))
    }
}

fn failure(error: &Error) -> TransportError {
    let mut problem = match error {
        Error::HostNotFound => "no such host".to_owned(),
        Error::Timeout(_) => "no answer in time".to_owned(),
        Error::Io(e) => e.to_string(),
        other => other.to_string(),
    };
    if problem.contains("certificate") {
        problem.push_str(" (SSL_CERT_FILE names the certificates to trust)");
    }
    let passing = match error {
        // Errors of rustls, such as a refused certificate, are permanent.
        Error::Io(e) => e.kind() != std::io::ErrorKind::InvalidData,
        Error::Timeout(_) | Error::HostNotFound | Error::ConnectionFailed => true,
        _ => false,
    };
    TransportError { problem, passing }
}
