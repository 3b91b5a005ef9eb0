//! The network, through `ureq` and `rustls`.

use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error};

use super::transport::{Header, Method, Response, Transport, TransportError};
use super::url::Url;
use crate::StoreError;

const CONNECT: Duration = Duration::from_secs(20);
/// A server that sends nothing for as long is taken for gone.
const SILENCE: Duration = Duration::from_secs(30);

/// HTTP/1.1 over TCP and TLS. Proxies are those of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`; certificates
/// are checked against Mozilla's roots, or against those in `SSL_CERT_FILE`.
#[derive(Debug)]
pub struct HttpTransport {
    agent: Agent,
    /// For this very machine, where no proxy leads.
    direct: Agent,
}

impl HttpTransport {
    /// A transport as the environment describes it.
    pub fn new() -> Result<Self, StoreError> {
        let config = || {
            Agent::config_builder()
                .max_redirects(0)
                .http_status_as_error(false)
                .user_agent(concat!("honelm/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .timeout_connect(Some(CONNECT))
                .timeout_per_read(Some(SILENCE))
                .timeout_per_write(Some(SILENCE))
        };
        let tls = TlsConfig::builder().root_certs(root_certificates()?).build();
        Ok(Self {
            agent: config().tls_config(tls.clone()).build().new_agent(),
            direct: config().tls_config(tls).proxy(None).build().new_agent(),
        })
    }
}

fn root_certificates() -> Result<RootCerts, StoreError> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|p| !p.is_empty()) else { return Ok(RootCerts::WebPki) };
    let path = std::path::PathBuf::from(path);
    let pem = std::fs::read(&path).map_err(|source| StoreError::Io { path: path.clone(), source })?;
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
        let agent = if url.origin.is_loopback() { &self.direct } else { &self.agent };
        let mut request = match method {
            Method::Get => agent.get(url.to_string()),
            Method::Head => agent.head(url.to_string()),
        };
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.call().map_err(|error| failure(&error))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
        Ok(Response {
            status: answer.status().as_u16(),
            headers: headers.collect(),
            body: Box::new(answer.into_body().into_reader()),
        })
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
        // What rustls refuses, such as a certificate, it will refuse again.
        Error::Io(e) => e.kind() != std::io::ErrorKind::InvalidData,
        Error::Timeout(_) | Error::HostNotFound | Error::ConnectionFailed => true,
        _ => false,
    };
    TransportError { problem, passing }
}
