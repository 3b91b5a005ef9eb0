//! Connections: accepting, limits, and the end.
//!
//! hyper itself handles them, because it has limits for the headers of a request.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::app::{App, Shared};
use crate::patience::Patient;

/// The time after a failed accept.
const PAUSE: Duration = Duration::from_millis(50);

/// The answer to a connection that is one too many.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The place where a server listens.
#[derive(Debug)]
pub enum Listener {
    /// A port.
    Tcp(tokio::net::TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// A connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Serves requests until `stop` is ready, and then the answers in progress for as long as the limits allow.
pub(crate) async fn serve(app: Shared, router: Router, listener: Listener, stop: impl Future<Output = ()>) {
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(app.config.limits.connections));
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok(mut stream) = accepted else {
            // The client has gone, or the process has too many open files.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            app.metrics.refused_connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move { tokio::time::timeout(PAUSE, stream.write_all(FULL)).await });
            continue;
        };
        let connection = connect(&app, stream, router.clone());
        let watched = connections.watch(connection);
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            app.metrics.connections.fetch_add(1, Ordering::Relaxed);
            // An error of a connection concerns its client alone, who has seen it.
            drop(watched.await);
            app.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
    drop(listener);
    app.drain();
    let grace = Duration::from_secs(app.config.limits.drain_seconds);
    let drained = tokio::time::timeout(grace, connections.shutdown()).await;
    app.registry.shut_down().await;
    if drained.is_err() {
        // The answers were ended; their last frames go out.
        tokio::time::sleep(PAUSE).await;
    }
}

fn connect(
    app: &App,
    stream: Box<dyn Stream>,
    router: Router,
) -> http1::Connection<TokioIo<Patient<Box<dyn Stream>>>, TowerToHyperService<Router>> {
    let limits = &app.config.limits;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.receive())
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.headers);
    let stream = Patient::new(stream, limits.client());
    http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}
