//! The upstreams of a gateway with their breakers: which one may be asked, and how it fared.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use honelm_gateway::drafts::Drafts;
use honelm_gateway::policy::{self, Breaker, BreakerSettings, Event, Failure, Settings};
use serde::Serialize;

use super::keys;
use super::upstream::{Endpoint, Failed, tls};
use crate::config::LogFormat;
use crate::log;

/// The longest time that a look for an unreachable upstream takes.
const MOST_LOOK: Duration = Duration::from_secs(5);

/// An upstream.
pub(crate) struct Upstream {
    pub settings: policy::Upstream,
    pub endpoint: Endpoint,
    breaker: BreakerSettings,
    begin: Instant,
    state: Mutex<State>,
    /// `true` while a task looks whether it can be reached again.
    watched: AtomicBool,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    breaker: Breaker,
    requests: u64,
    failures: u64,
    last_failure: Option<&'static str>,
    first_token: Option<Duration>,
    drafts: Drafts,
    ability: Ability,
}

/// The ability of an upstream to verify drafts of the local model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ability {
    /// It was not asked since it last was away.
    #[default]
    Unknown,
    /// It verifies drafts.
    Verifies,
    /// It does not, for this reason.
    Lacks(&'static str),
}

/// The health of an upstream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpstreamHealth {
    /// The name.
    pub name: String,
    /// The interface: `openai` or `anthropic`.
    pub api: policy::Api,
    /// The model's name there.
    pub model: String,
    /// The breaker: `closed`, `open` or `trial`.
    pub breaker: &'static str,
    /// The seconds until the next trial, if the breaker is open.
    pub opens_again_seconds: Option<f64>,
    /// The attempts.
    pub requests: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// The code of the last failure.
    pub last_failure: Option<&'static str>,
    /// The time to the first token of the last answer, in seconds.
    pub first_token_seconds: Option<f64>,
    /// Drafts of the device: `on`, `off`, `trial`, `unable` or `unknown`; `None` if the settings do not want any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drafts: Option<&'static str>,
}

/// Returns the upstreams of a gateway.
///
/// # Errors
/// A key that cannot be read, and an address that is none.
pub(crate) fn all(settings: &Settings) -> Result<Vec<Arc<Upstream>>, honelm::Error> {
    let tls = Arc::new(tls()?);
    let begin = Instant::now();
    let upstream = |settings: &policy::Upstream, breaker: BreakerSettings| -> Result<Arc<Upstream>, honelm::Error> {
        let place = format!("upstream {:?}", settings.name);
        let key = keys::read(&place, &settings.key)?;
        let endpoint = Endpoint::new(settings, key.as_ref().map(|key| key.as_str()), &tls)
            .map_err(|problem| honelm::Error::Usage(format!("{place}: {problem}")))?;
        let (state, watched) = (Mutex::default(), AtomicBool::new(false));
        Ok(Arc::new(Upstream { settings: settings.clone(), endpoint, breaker, begin, state, watched }))
    };
    settings.upstreams.iter().map(|of| upstream(of, settings.breaker)).collect()
}

impl Upstream {
    /// Returns the time on the clock of the breakers.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    pub fn breaker(&self) -> Breaker {
        self.with(|state| state.breaker)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins an attempt. Returns `false` if the breaker forbids it.
    pub fn begins(&self) -> bool {
        let now = self.now();
        self.with(|state| {
            let allows = state.breaker.allows(now);
            if allows {
                state.breaker = state.breaker.after(Event::Sent, now, &self.breaker);
                state.requests += 1;
            }
            allows
        })
    }

    /// Counts the first token of an answer.
    pub fn has_answered(&self, after: Duration) {
        self.with(|state| state.first_token = Some(after));
    }

    /// Counts an attempt that succeeded.
    pub fn has_succeeded(&self, log: LogFormat) {
        let now = self.now();
        let was_away = self.with(|state| {
            let was_away = !matches!(state.breaker, Breaker::Closed { .. });
            if was_away {
                // It may be another server now.
                state.ability = Ability::Unknown;
            }
            state.breaker = state.breaker.after(Event::Succeeded, now, &self.breaker);
            was_away
        });
        if was_away {
            log::message(log, &format!("the upstream {:?} answers again", self.settings.name));
        }
    }

    /// Counts an attempt that failed. An upstream that cannot be reached is left alone at once, and asked again soon after
    /// it can be reached.
    pub fn has_failed(self: &Arc<Self>, failed: &Failed, log: LogFormat) {
        let now = self.now();
        let is_away = self.with(|state| {
            state.failures += 1;
            state.last_failure = Some(failed.code());
            let was_open = matches!(state.breaker, Breaker::Open { .. });
            if !failed.failure.is_of_upstream() {
                // It lives, and refuses only this request.
                state.breaker = state.breaker.after(Event::Succeeded, now, &self.breaker);
                return false;
            }
            let counted = if failed.failure == Failure::Connect { self.breaker.failures.max(1) } else { 1 };
            for _ in 0..counted {
                state.breaker = state.breaker.after(Event::Failed, now, &self.breaker);
            }
            !was_open && matches!(state.breaker, Breaker::Open { .. })
        });
        if is_away {
            let (name, code) = (&self.settings.name, failed.code());
            log::message(log, &format!("warning: the upstream {name:?} is left alone for a while: {code}"));
        }
        if failed.failure == Failure::Connect {
            self.watch();
        }
    }

    /// Looks from time to time whether an upstream can be reached again, and allows a trial then.
    fn watch(self: &Arc<Self>) {
        if self.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let (host, port) = self.endpoint.host();
        // The task ends with the gateway.
        let of = Arc::downgrade(self);
        let pause = Duration::from_secs(u64::from(self.breaker.open_seconds.max(1)));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let look = tokio::net::TcpStream::connect((host.as_str(), port));
                let is_there = matches!(tokio::time::timeout(MOST_LOOK, look).await, Ok(Ok(_)));
                let Some(upstream) = of.upgrade() else { return };
                let now = upstream.now();
                let is_away = upstream.with(|state| match &mut state.breaker {
                    Breaker::Closed { .. } => false,
                    Breaker::Open { until, .. } if is_there => {
                        *until = now.min(*until);
                        false
                    }
                    _ => true,
                });
                if !is_away {
                    upstream.watched.store(false, Ordering::Release);
                    return;
                }
            }
        });
    }

    /// Returns what is known about drafts, after `change`, which has the time on the clock of the breakers.
    pub fn drafts(&self, change: impl FnOnce(Drafts, Duration) -> Drafts) -> Drafts {
        let now = self.now();
        self.with(|state| {
            state.drafts = change(state.drafts, now);
            state.drafts
        })
    }

    /// Returns the ability to verify drafts.
    pub fn ability(&self) -> Ability {
        self.with(|state| state.ability)
    }

    /// Notes the ability to verify drafts.
    pub fn set_ability(&self, ability: Ability) {
        self.with(|state| state.ability = ability);
    }

    pub fn health(&self) -> UpstreamHealth {
        let (state, now) = (self.with(|state| *state), self.now());
        let (breaker, until) = match state.breaker {
            Breaker::Closed { .. } => ("closed", None),
            Breaker::Open { until, .. } => ("open", Some(until)),
            Breaker::Trial { until, .. } => ("trial", Some(until)),
        };
        UpstreamHealth {
            name: self.settings.name.clone(),
            api: self.settings.api,
            model: self.settings.model.clone(),
            breaker,
            opens_again_seconds: until.map(|until| until.saturating_sub(now).as_secs_f64()),
            requests: state.requests,
            failures: state.failures,
            last_failure: state.last_failure,
            first_token_seconds: state.first_token.map(|time| time.as_secs_f64()),
            drafts: self.settings.drafts.then(|| match state.ability {
                Ability::Unknown => "unknown",
                Ability::Lacks(_) => "unable",
                Ability::Verifies => state.drafts.name(),
            }),
        }
    }
}
