//! A client of the server, for `honelm ps`, `honelm stop` and tests.

use std::io;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// The address of a server.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    key: Option<String>,
}

impl Client {
    /// Creates a client for `http://HOST:PORT` or `unix:PATH`, with the API key of the server if it needs one.
    #[must_use]
    pub fn new(address: &str, key: Option<String>) -> Self {
        Self { address: address.to_owned(), key }
    }

    /// Sends a request with a JSON body, or without one. Returns the status and the document of the response.
    ///
    /// # Errors
    /// A server that cannot be reached, or a response that is not JSON.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> io::Result<(StatusCode, Value)> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        let value = serde_json::from_slice(&bytes).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: no HoneLM server: found no JSON", self.address))
        })?;
        Ok((status, value))
    }

    /// Sends a request. Returns the response with its body still to be read.
    ///
    /// # Errors
    /// A server that cannot be reached.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> io::Result<Response<hyper::body::Incoming>> {
        let mut request = Request::builder().method(method).uri(path);
        let host = self.address.strip_prefix("http://").unwrap_or("localhost").trim_end_matches('/');
        request = request.header(HOST, host);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        request = request.header(CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(body)).map_err(io::Error::other)?;
        match self.address.strip_prefix("unix:") {
            #[cfg(unix)]
            Some(path) => exchange(tokio::net::UnixStream::connect(path).await?, request).await,
            #[cfg(not(unix))]
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
            None => {
                let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
                exchange(tokio::net::TcpStream::connect(address).await?, request).await
            }
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> io::Result<Response<hyper::body::Incoming>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}
