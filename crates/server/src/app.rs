//! The state that all requests share, and what every handler does: read the body, find the model, report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;

use crate::ApiError;
use crate::config::Config;
use crate::fields::{Fields, Incoming};
use crate::gateway::Gateway;
use crate::metrics::Metrics;
use crate::ollama::{self, FactsCache};
use crate::registry::Registry;
use crate::responses::Store;
use crate::security::Security;
use crate::web::WebPage;

/// The header with the number of fields of a request that the server does not know.
pub const IGNORED: HeaderName = HeaderName::from_static("x-honelm-ignored-fields");

/// The state of a server.
pub struct App {
    /// The configuration.
    pub config: Config,
    /// The models.
    pub registry: Arc<Registry>,
    /// The gateway between the device and the cloud, if there is one.
    pub gateway: Option<Arc<Gateway>>,
    /// The numbers of requests.
    pub metrics: Metrics,
    /// The responses that later requests can follow.
    pub(crate) responses: Store,
    /// The facts about models that need not be loaded.
    pub(crate) facts: FactsCache,
    /// The places for transfers of models.
    pub(crate) pulls: Arc<Semaphore>,
    pub(crate) security: Security,
    /// The page of `/`, if it is built.
    pub(crate) web: Option<WebPage>,
    pub(crate) started: Instant,
    draining: AtomicBool,
}

/// The state, as handlers get it.
pub type Shared = Arc<App>;

impl App {
    pub(crate) fn new(
        config: Config,
        registry: Arc<Registry>,
        key: Option<String>,
        gateway: Option<Arc<Gateway>>,
        web: Option<WebPage>,
    ) -> Self {
        let mut security = Security::new(&config, key);
        if let Some(gateway) = &gateway {
            security.add_clients(gateway.keys());
        }
        let (metrics, started) = (Metrics::default(), Instant::now());
        Self {
            config,
            registry,
            gateway,
            metrics,
            responses: Store::default(),
            facts: FactsCache::default(),
            pulls: Arc::new(Semaphore::new(ollama::MOST_PULLS)),
            security,
            web,
            started,
            draining: AtomicBool::new(false),
        }
    }

    /// Returns `true` once the server has been told to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// 413 for a body that is too long, 408 for one that does not arrive in time, 400 for one that breaks off.
    pub async fn bytes(&self, body: Body) -> Result<Bytes, ApiError> {
        let limits = &self.config.limits;
        let most = limits.body_bytes;
        let too_long = || {
            let message = format!("the body is too long: expected at most {most} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
        };
        // A body of a known length is refused before it is read.
        if body.size_hint().lower() > most as u64 {
            return Err(too_long());
        }
        let collected = tokio::time::timeout(limits.receive(), Limited::new(body, most).collect()).await;
        match collected {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
            Ok(Err(_)) => Err(ApiError::bad_request("incomplete_body", "the body breaks off")),
            Err(_) => {
                let seconds = limits.receive_seconds;
                let message = format!("the body did not arrive within {seconds} s");
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow_body", message))
            }
        }
    }

    /// Reads the request in a body.
    ///
    /// # Errors
    /// As [`App::bytes`], and 400 for a request that cannot be understood.
    pub async fn read<T: Fields>(&self, body: Body) -> Result<Incoming<T>, ApiError> {
        let incoming = crate::fields::read(&self.bytes(body).await?, self.config.strict_fields)?;
        self.metrics.ignored_fields.fetch_add(incoming.ignored as u64, Ordering::Relaxed);
        Ok(incoming)
    }

    /// Checks the number of items of a list.
    ///
    /// # Errors
    /// 400 for too many.
    pub fn check_count(&self, param: &str, found: usize) -> Result<(), ApiError> {
        let most = self.config.limits.messages;
        if found > most {
            return Err(ApiError::invalid(param, format!("found {found} items, expected at most {most}")));
        }
        Ok(())
    }
}

/// Adds the number of ignored fields to a response.
#[must_use]
pub fn with_ignored(mut response: Response, ignored: usize) -> Response {
    if ignored > 0 {
        response.headers_mut().insert(IGNORED, HeaderValue::from(ignored));
    }
    response
}

/// Returns the seconds since 1970.
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
