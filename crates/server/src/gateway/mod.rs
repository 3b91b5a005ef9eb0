//! The gateway between the device and the cloud: where a request is answered, by whom, at what cost, and without private data.
//!
//! An upstream is another producer of [`Part`](crate::Part)s: a handler makes a [`Job`](crate::Job) as ever, and
//! [`App::submit`](crate::app::App::submit) gives it to the model, or to a task here (`answer`) that decides by
//! [`honelm_gateway::policy`], asks upstreams (`upstream`), replaces private data as the last step before a request leaves
//! (`privacy`), and goes on with the local model where the cloud breaks off. [`accounts`] keeps budgets and records.

mod about;
pub mod accounts;
mod answer;
mod ask;
mod counters;
pub mod energy;
mod keys;
mod page;
mod place;
mod privacy;
pub mod store;
mod upstream;
mod upstreams;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use honelm_gateway::estimator::{Estimator, Prompt};
use honelm_gateway::pii::Mode;
use honelm_gateway::policy::{Client, Replacement, Settings};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub(crate) use about::with_header;
pub use about::{About, Drafted, HEADER};
pub(crate) use answer::Head;
pub use ask::{Ask, POLICY, PRIVACY};
pub(crate) use page::routes;
pub use place::Place;
pub use upstreams::UpstreamHealth;

use accounts::Accounts;
use counters::Counters;
use privacy::Privacy;
use upstreams::Upstream;

use crate::security::given_key;

/// The decisions of the estimator for a client that its share of escalated requests is computed from.
const REMEMBERED: usize = 100;

/// A gateway.
pub struct Gateway {
    settings: Settings,
    upstreams: Vec<Arc<Upstream>>,
    /// The keys of the clients, in the order of the settings.
    keys: Vec<Zeroizing<String>>,
    privacy: Arc<Privacy>,
    estimator: Estimator,
    threshold: f32,
    accounts: Arc<dyn Accounts>,
    counters: Counters,
    /// The last decisions of the estimator, by client: `true` for the cloud.
    escalated: Mutex<BTreeMap<Option<usize>, VecDeque<bool>>>,
}

impl Gateway {
    /// Creates a gateway. Reads the keys of upstreams and clients, and the estimator.
    ///
    /// # Errors
    /// A key or an estimator that cannot be read, and an upstream's address that is none.
    pub fn new(settings: Settings, accounts: Arc<dyn Accounts>) -> Result<Self, honelm::Error> {
        let key = |client: &Client| {
            let place = format!("client {:?}", client.name);
            let none = || honelm::Error::Usage(format!("{place}: found no key, expected one"));
            keys::read(&place, &client.key)?.ok_or_else(none)
        };
        let keys: Vec<Zeroizing<String>> = settings.clients.iter().map(key).collect::<Result<_, honelm::Error>>()?;
        if let Some(at) = (1..keys.len()).find(|at| keys[..*at].contains(&keys[*at])) {
            let name = &settings.clients[at].name;
            let problem = "found the key of another client, expected one of its own";
            return Err(honelm::Error::Usage(format!("client {name:?}: {problem}")));
        }
        let estimator = honelm::open_estimator(settings.estimator.file.as_deref().map(Path::new))?;
        let threshold = estimator.threshold(settings.estimator.target()).gain;
        let mode = match settings.replacement {
            Replacement::Surrogate => Mode::Surrogate,
            Replacement::Mask => Mode::Mask,
            Replacement::Block => Mode::Block,
        };
        Ok(Self {
            upstreams: upstreams::all(&settings)?,
            keys,
            privacy: Arc::new(Privacy::new(mode)?),
            estimator,
            threshold,
            accounts,
            counters: Counters::default(),
            escalated: Mutex::default(),
            settings,
        })
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the accounts.
    #[must_use]
    pub fn accounts(&self) -> &Arc<dyn Accounts> {
        &self.accounts
    }

    /// Appends the counters in the text format of Prometheus.
    pub(crate) fn write_metrics(&self, out: &mut String) {
        self.counters.write(out, &self.settings.currency, &self.health(), self.accounts.lost());
    }

    /// Returns the health of the upstreams, in the order of the settings.
    #[must_use]
    pub fn health(&self) -> Vec<UpstreamHealth> {
        self.upstreams.iter().map(|upstream| upstream.health()).collect()
    }

    /// Returns `true` if an upstream reads images.
    pub(crate) fn reads_images(&self) -> bool {
        self.settings.upstreams.iter().any(|upstream| upstream.vision)
    }

    /// Returns the keys of the clients.
    pub(crate) fn keys(&self) -> &[Zeroizing<String>] {
        &self.keys
    }

    /// Returns the client that sent a request, as an index into the settings.
    pub(crate) fn client_of(&self, headers: &HeaderMap) -> Option<usize> {
        let given = given_key(headers)?;
        self.keys.iter().position(|key| bool::from(key.as_bytes().ct_eq(given)))
    }

    fn client(&self, ask: &Ask) -> Option<&Client> {
        ask.client.and_then(|at| self.settings.clients.get(at))
    }

    /// Returns the expected gain of the cloud, and the threshold.
    fn gain(&self, prompt: &Prompt) -> (f32, f32) {
        (self.estimator.estimate(prompt).gain, self.threshold)
    }

    /// Returns `true` if the estimator knows what the confidence of the local model means.
    fn knows_confidence(&self) -> bool {
        self.estimator.calibration(true).is_some()
    }

    /// Corrects a gain by the confidence of the local model. Returns it with its own threshold.
    fn corrected(&self, gain: f32, confidence: &honelm_engine::Confidence) -> Option<(f32, f32)> {
        let gain = self.estimator.corrected(gain, &honelm::router_confidence(confidence))?;
        let threshold = self.estimator.calibration(true)?.threshold(self.settings.estimator.target());
        Some((gain, threshold.gain))
    }

    /// Returns the share of a client's last requests that the estimator sent to the cloud.
    fn escalated(&self, client: Option<usize>) -> f64 {
        let all = self.escalated.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = all.get(&client).filter(|last| !last.is_empty()) else { return 0.0 };
        last.iter().filter(|escalated| **escalated).count() as f64 / last.len() as f64
    }

    fn has_decided(&self, client: Option<usize>, escalated: bool) {
        let mut all = self.escalated.lock().unwrap_or_else(PoisonError::into_inner);
        let last = all.entry(client).or_default();
        last.push_front(escalated);
        last.truncate(REMEMBERED);
    }
}
