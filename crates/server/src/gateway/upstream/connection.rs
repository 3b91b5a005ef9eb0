//! Connections to an upstream: opening, encrypting, keeping for the next request.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// A connection that can send a request.
pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// The time for which an unused connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// The most connections that are kept.
const MOST_IDLE: usize = 64;

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// The connections to an upstream.
pub(crate) struct Connections {
    host: String,
    port: u16,
    /// The settings of encrypted connections and the name in the certificate; `None` for plain ones.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    limit: Duration,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

impl Connections {
    /// Creates the connections to a host, each of which must stand within `limit`.
    ///
    /// # Errors
    /// A host that no certificate can name.
    pub fn new(host: String, port: u16, tls: Option<Arc<ClientConfig>>, limit: Duration) -> Result<Self, String> {
        let tls = match tls {
            None => None,
            Some(config) => {
                let wrong = |_| format!("url: found the host {host:?}, expected a name or an address");
                Some((TlsConnector::from(config), ServerName::try_from(host.clone()).map_err(wrong)?))
            }
        };
        Ok(Self { host, port, tls, limit, idle: Mutex::default() })
    }

    /// Returns host and port.
    pub fn host(&self) -> (String, u16) {
        (self.host.clone(), self.port)
    }

    /// Returns a connection that stands, the last used first.
    pub async fn idle(&self) -> Option<Sender> {
        loop {
            let (mut sender, since) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if since.elapsed() < IDLE && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE && !sender.is_closed() {
            idle.push((sender, Instant::now()));
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// A host that cannot be reached in time, or whose certificate is not accepted.
    pub async fn open(&self) -> io::Result<Sender> {
        let opened = tokio::time::timeout(self.limit, self.socket()).await;
        let socket = opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
        // Ends with the connection. Its error is that of the request.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    async fn socket(&self) -> io::Result<Box<dyn Socket>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
        })
    }
}
