//! The task that answers a request through a gateway.

mod cloud;
mod drafts;
mod finish;
mod local;
mod outline;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use axum::http::{HeaderValue, StatusCode};
use honelm_gateway::accounting;
use honelm_gateway::policy::{self, Decision, Policy, Reason, Route, Spent, State, UpstreamState};
use tokio::sync::mpsc::Sender;

use super::about;
use super::accounts::{Holder, Money};
use super::{Ask, Gateway, Place};
use crate::ApiError;
use crate::app::App;
use crate::config::{Limits, LogFormat};
use crate::job::{Finish, Job, Part, Usage};
use crate::registry::Registry;
use cloud::{Attempt, Tried};
use outline::Outline;

/// The value of the header of a response, once the route is known.
pub(crate) type Head = Arc<OnceLock<HeaderValue>>;

/// The code of the reason for a local answer after upstreams failed.
const UPSTREAM_FAILED: &str = "upstream-failed";

/// The early end of an answer.
#[derive(Debug)]
enum End {
    /// It failed.
    Failed(ApiError),
    /// The local model cannot answer, and nothing was sent yet.
    Away(ApiError),
    /// The client is gone.
    Gone,
}

/// The route so far.
#[derive(Debug, Clone)]
struct Taken {
    route: &'static str,
    reason: Cow<'static, str>,
    detail: String,
    degraded: bool,
    continued: bool,
    upstream: Option<usize>,
}

/// What the client has of one of the answers.
#[derive(Debug, Clone, Default)]
struct Written {
    text: String,
    has_reasoning: bool,
    calls: usize,
    done: Option<(Finish, Usage)>,
}

/// The answer to a request.
pub(super) struct Answer {
    gateway: Arc<Gateway>,
    registry: Arc<Registry>,
    limits: Limits,
    log: LogFormat,
    place: Place,
    job: Job,
    ask: Ask,
    outline: Outline,
    gain: Option<(f32, f32)>,
    sender: Sender<Part>,
    head: Head,
    time: SystemTime,
    received: Instant,
    deadline: Instant,
    taken: Taken,
    /// `true` once the first part was sent.
    has_begun: bool,
    written: Vec<Written>,
    attempt: Option<Attempt>,
    first_token: Option<Duration>,
    usage: accounting::Usage,
    cost: Money,
    /// The energy of each local part of the answer in joules, where it can be read.
    energy: Vec<Option<f64>>,
    replaced: BTreeMap<Cow<'static, str>, usize>,
    failures: Vec<(usize, &'static str)>,
    /// The drafts of this answer, if its upstream should verify any.
    drafted: Option<about::Drafted>,
}

impl Answer {
    pub fn new(app: &App, gateway: Arc<Gateway>, place: Place, job: Job, ask: Ask, sender: Sender<Part>) -> Self {
        let received = Instant::now();
        let limit = Duration::from_secs(app.config.limits.request_seconds);
        let taken = Taken {
            route: "local",
            reason: "".into(),
            detail: String::new(),
            degraded: false,
            continued: false,
            upstream: None,
        };
        Self {
            gateway,
            registry: Arc::clone(&app.registry),
            limits: app.config.limits.clone(),
            log: app.config.log_format,
            place,
            outline: Outline::of(&job, &app.config.limits),
            gain: None,
            ask,
            sender,
            head: Head::default(),
            time: SystemTime::now(),
            received,
            deadline: received + job.deadline.unwrap_or(limit).min(limit),
            taken,
            has_begun: false,
            written: vec![Written::default(); job.choices.max(1)],
            job,
            attempt: None,
            first_token: None,
            usage: accounting::Usage::default(),
            cost: Money::ZERO,
            energy: Vec::new(),
            replaced: BTreeMap::new(),
            failures: Vec::new(),
            drafted: None,
        }
    }

    /// Returns the header of the response, which is set once the route is known.
    pub fn head(&self) -> Head {
        Arc::clone(&self.head)
    }

    /// Answers the request, within its deadline.
    pub async fn run(mut self) {
        let outcome = tokio::time::timeout_at(self.deadline.into(), self.answer()).await;
        let outcome = outcome.unwrap_or_else(|_| {
            let limit = (self.deadline - self.received).as_secs();
            let message = format!("the answer was not complete within the server's limit of {limit} s");
            Err(End::Failed(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)))
        });
        self.finish(outcome).await;
    }

    async fn answer(&mut self) -> Result<(), End> {
        self.count_prompt().await;
        self.gain = self.expected_gain().await;
        let spent = self.spent().await;
        let decision = self.decide(self.ask.policy, true, &spent);
        self.take(&decision);
        match decision.route {
            Route::Refused => Err(End::Failed(refused(&decision.reason))),
            Route::Local => self.local_or_cloud(&decision.upstreams).await,
            Route::Cloud => match self.cloud(&decision.upstreams).await? {
                Tried::Answered => Ok(()),
                Tried::Failed => self.local_instead(&spent).await,
                Tried::MustStay => self.stay(&spent).await,
            },
        }
    }

    /// Answers locally, or in the cloud if the local model cannot.
    async fn local_or_cloud(&mut self, upstreams: &[usize]) -> Result<(), End> {
        match self.local(!upstreams.is_empty()).await {
            Err(End::Away(error)) if !upstreams.is_empty() => {
                let reason = if error.code == "context_length_exceeded" { "too-long" } else { "local-away" };
                let detail = format!("the local model cannot answer: {}", error.code);
                self.taken = Taken { route: "cloud", reason: reason.into(), detail, ..self.taken.clone() };
                match self.cloud(upstreams).await? {
                    Tried::Answered => Ok(()),
                    Tried::Failed | Tried::MustStay => Err(End::Failed(error)),
                }
            }
            other => other,
        }
    }

    /// Answers locally because the cloud was away, from what it has answered so far.
    async fn local_instead(&mut self, spent: &[Spent]) -> Result<(), End> {
        let tried = self.tried();
        let decision = self.decide(Some(Policy::LocalOnly), true, spent);
        if decision.route == Route::Refused {
            let message = format!("no upstream answered ({tried}), and the device cannot: {}", decision.reason);
            return Err(End::Failed(ApiError::later(StatusCode::BAD_GATEWAY, "upstream_failed", message, 5)));
        }
        let continued = self.has_written();
        let detail =
            if continued { format!("the cloud broke off: {tried}") } else { format!("no upstream answered: {tried}") };
        let (reason, route) = (UPSTREAM_FAILED.into(), "local");
        self.taken = Taken { route, reason, detail, degraded: true, continued, ..self.taken.clone() };
        if continued { self.go_on().await } else { self.local(false).await }
    }

    /// Answers locally because the private data of the request could not be replaced, or refuses it.
    async fn stay(&mut self, spent: &[Spent]) -> Result<(), End> {
        let decision = self.decide(self.ask.policy, false, spent);
        self.take(&decision);
        match decision.route {
            Route::Local => self.local(false).await,
            _ => {
                let message =
                    format!("the request must not leave the device, which cannot answer it: {}", decision.reason);
                Err(End::Failed(ApiError::bad_request("must_stay", message)))
            }
        }
    }

    /// Decides the route with the present state of the upstreams.
    fn decide(&self, policy: Option<Policy>, is_masked: bool, spent: &[Spent]) -> Decision {
        let gateway = &self.gateway;
        let client = gateway.client(&self.ask);
        let mut request = policy::Request {
            policy: outline::policy(&self.job, policy),
            privacy: self.ask.privacy,
            ..self.outline.request
        };
        let (client_spent, upstreams_spent) = spent.split_last().map_or((Spent::default(), spent), |(c, u)| (*c, u));
        let upstreams: Vec<UpstreamState> = gateway
            .upstreams
            .iter()
            .zip(upstreams_spent)
            .map(|(upstream, spent)| UpstreamState { breaker: upstream.breaker(), spent: *spent })
            .collect();
        let state = State {
            now: gateway.upstreams.first().map_or(Duration::ZERO, |upstream| upstream.now()),
            upstreams: &upstreams,
            client_spent,
            escalated: gateway.escalated(self.ask.client),
            is_masked,
            is_local_ready: true,
            gain: self.gain,
        };
        let decision = policy::decide(&gateway.settings, client, &request, &state);
        let fits = request.prompt_tokens < gateway.settings.local.context;
        if decision.route == Route::Refused && matches!(decision.reason, Reason::TooLong { .. }) && fits {
            // A shorter answer than the request allows is better than none.
            request.answer_tokens = 0;
            return policy::decide(&gateway.settings, client, &request, &state);
        }
        decision
    }

    /// Notes a decision.
    fn take(&mut self, decision: &Decision) {
        if let Reason::Gain { gain, threshold } = decision.reason {
            self.gateway.has_decided(self.ask.client, gain >= threshold);
        } else if decision.reason == Reason::MostEscalated {
            self.gateway.has_decided(self.ask.client, false);
        }
        self.taken.route = match decision.route {
            Route::Local => "local",
            Route::Cloud => "cloud",
            Route::Refused => "refused",
        };
        self.taken.reason = about::code(&decision.reason);
        self.taken.detail = decision.reason.to_string();
        self.taken.degraded = decision.degraded;
    }

    /// Counts the tokens of the prompt where an estimate could decide the route wrongly.
    async fn count_prompt(&mut self) {
        let policy = self.policy();
        let context = self.gateway.settings.local.context;
        let could_be_long = self.outline.most_prompt_tokens + self.outline.request.answer_tokens > context;
        let Some(lease) = self.place.lease.clone().filter(|_| could_be_long && policy != Policy::CloudFirst) else {
            return;
        };
        if self.outline.request.needs_vision {
            return;
        }
        if let Ok(tokens) = lease.count(self.job.clone()).await {
            self.outline.request.prompt_tokens = tokens as u64;
        }
    }

    /// Returns the policy of the request.
    fn policy(&self) -> Policy {
        let client = self.gateway.client(&self.ask).and_then(|client| client.policy);
        outline::policy(&self.job, self.ask.policy).or(client).unwrap_or(self.gateway.settings.policy)
    }

    /// Returns the expected gain of the cloud with its threshold, if the policy asks for it. A loaded local model reads the prompt
    /// for its confidence, if the estimator knows what that means; its answer then begins with the prompt in its cache.
    async fn expected_gain(&self) -> Option<(f32, f32)> {
        if self.policy() != Policy::Auto {
            return None;
        }
        let (gain, threshold) = self.gateway.gain(&outline::estimated(&self.job)?);
        let is_readable = self.gateway.knows_confidence() && self.job.refuse_images().is_ok();
        if let Some(lease) = self.place.lease.as_ref().filter(|_| is_readable)
            && let Ok(confidence) = lease.confidence(&self.job, None).await
        {
            return self.gateway.corrected(gain, &confidence).or(Some((gain, threshold)));
        }
        Some((gain, threshold))
    }

    /// Returns what the upstreams, and last the client, have spent. What cannot be read counts as all of it.
    async fn spent(&self) -> Vec<Spent> {
        let settings = &self.gateway.settings;
        let mut spent = vec![Spent::default(); settings.upstreams.len() + 1];
        let mut holders = Vec::new();
        for (at, upstream) in settings.upstreams.iter().enumerate() {
            if has_budget(&upstream.budget) {
                holders.push((at, Holder::Upstream(upstream.name.clone())));
            }
        }
        if let Some(client) = self.gateway.client(&self.ask).filter(|client| has_budget(&client.budget)) {
            holders.push((settings.upstreams.len(), Holder::Client(client.name.clone())));
        }
        if holders.is_empty() {
            return spent;
        }
        let (places, holders): (Vec<usize>, Vec<Holder>) = holders.into_iter().unzip();
        let all = Spent { day: f64::INFINITY, month: f64::INFINITY };
        let found = self.gateway.accounts.spent(&holders).await.unwrap_or_else(|_| vec![all; holders.len()]);
        for (at, of) in places.into_iter().zip(found) {
            spent[at] = of;
        }
        spent
    }

    /// Returns the upstreams that failed, with the codes of their failures.
    fn tried(&self) -> String {
        let name = |at: usize| self.gateway.settings.upstreams[at].name.as_str();
        let mut shown: Vec<String> = self.failures.iter().map(|(at, code)| format!("{} {code}", name(*at))).collect();
        shown.dedup();
        shown.join(", ")
    }

    fn has_written(&self) -> bool {
        self.written.iter().any(|w| !w.text.is_empty() || w.has_reasoning || w.calls > 0 || w.done.is_some())
    }

    /// Sends the first part of every answer, once.
    async fn begin(&mut self, prompt_tokens: usize, cached_tokens: usize) -> Result<(), End> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        // Nobody else sets it.
        let _ = self.head.set(about::header(self.taken.route, &self.taken.reason));
        for choice in 0..self.written.len() {
            self.send(Part::Begun { choice, prompt_tokens, cached_tokens }).await?;
        }
        Ok(())
    }

    /// Sends a part, and remembers what the client has.
    async fn send(&mut self, part: Part) -> Result<(), End> {
        match &part {
            Part::Text { choice, text, .. } => self.written[*choice].text.push_str(text),
            Part::Reasoning { choice, .. } => self.written[*choice].has_reasoning = true,
            Part::CallBegins { choice, .. } => self.written[*choice].calls += 1,
            _ => {}
        }
        if self.first_token.is_none() && !matches!(part, Part::Begun { .. }) {
            self.first_token = Some(self.received.elapsed());
        }
        self.sender.send(part).await.map_err(|_| End::Gone)
    }
}

fn has_budget(budget: &policy::Budget) -> bool {
    budget.day.is_some() || budget.month.is_some()
}

/// Returns the error of a request that no place can answer.
fn refused(reason: &Reason) -> ApiError {
    let message = format!("the device cannot answer, and the request cannot or must not leave it: {reason}");
    match reason {
        Reason::TooLong { .. } => ApiError::bad_request("context_length_exceeded", message),
        Reason::NeedsVision | Reason::NeedsTools => ApiError::bad_request("unsupported_value", message),
        _ => ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "no_route", message, 5),
    }
}
