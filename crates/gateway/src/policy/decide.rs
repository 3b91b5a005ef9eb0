//! The decision where a request is answered.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::breaker::Breaker;
use super::settings::{Client, Policy, Privacy, Settings, Spent, Upstream};
use crate::accounting::Usage;

/// The part of a request that decides its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// The policy that it names.
    pub policy: Option<Policy>,
    /// The privacy class that it names.
    pub privacy: Option<Privacy>,
    /// The tokens of its prompt.
    pub prompt_tokens: u64,
    /// The most tokens of its answer.
    pub answer_tokens: u64,
    /// `true` if it holds images.
    pub needs_vision: bool,
    /// `true` if it describes tools.
    pub needs_tools: bool,
}

/// The state of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UpstreamState {
    /// Its breaker.
    pub breaker: Breaker,
    /// The money spent on it.
    pub spent: Spent,
}

/// The state of the gateway when a request arrives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State<'a> {
    /// The present, on the clock of the breakers.
    pub now: Duration,
    /// The states of the upstreams, in the order of the settings.
    pub upstreams: &'a [UpstreamState],
    /// The money spent on the client's requests.
    pub client_spent: Spent,
    /// The share of the client's recent requests that the estimator sent to the cloud, 0 to 1.
    pub escalated: f64,
    /// `true` if private data in this request was found and replaced, or there was none; `false` if the detector failed.
    pub is_masked: bool,
    /// `true` if the local model can answer now.
    pub is_local_ready: bool,
    /// The expected gain of the cloud, and the threshold; `None` without an estimator.
    pub gain: Option<(f32, f32)>,
}

/// The place where a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// On the device.
    Local,
    /// In the cloud.
    Cloud,
    /// Nowhere: no place that may answer can.
    Refused,
}

/// The reason for a route.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum Reason {
    /// The policy is `local-only`.
    LocalOnly,
    /// The policy is `local-first`, and the device can answer.
    LocalFirst,
    /// The policy is `cloud-first`.
    CloudFirst,
    /// The privacy class forbids that the request leaves.
    Private,
    /// Private data could not be replaced, so that the request must not leave.
    NotMasked,
    /// Prompt and answer are longer than the local context.
    TooLong {
        /// The tokens of both.
        tokens: u64,
        /// The local context.
        context: u64,
    },
    /// The request has images, which the local model cannot read.
    NeedsVision,
    /// The request has tools, which the local model cannot call.
    NeedsTools,
    /// The local model is not ready.
    LocalAway,
    /// The estimator expects a gain at or above the threshold, or below it.
    Gain {
        /// The gain.
        gain: f32,
        /// The threshold.
        threshold: f32,
    },
    /// The policy is `auto`, and there is no estimator.
    NoEstimator,
    /// The estimator has sent the most of the client's requests that it may.
    MostEscalated,
    /// The request should go to the cloud, and no upstream can take it.
    NoUpstream {
        /// The obstacle of the upstream that comes first.
        obstacle: Obstacle,
    },
}

/// The reason why an upstream cannot take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacle {
    /// Its breaker is open.
    BreakerOpen,
    /// Its budget would be exceeded.
    Budget,
    /// The client's budget would be exceeded.
    ClientBudget,
    /// The request is longer than its context.
    TooLong,
    /// Its model lacks vision or tools.
    Lacks,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalOnly => f.write_str("the policy is local-only"),
            Self::LocalFirst => f.write_str("the policy is local-first, and the device can answer"),
            Self::CloudFirst => f.write_str("the policy is cloud-first"),
            Self::Private => f.write_str("the request is private"),
            Self::NotMasked => f.write_str("private data could not be replaced"),
            Self::TooLong { tokens, context } => write!(f, "{tokens} tokens exceed the local context of {context}"),
            Self::NeedsVision => f.write_str("the request has images, which the local model cannot read"),
            Self::NeedsTools => f.write_str("the request has tools, which the local model cannot call"),
            Self::LocalAway => f.write_str("the local model is not ready"),
            Self::Gain { gain, threshold } if gain >= threshold => {
                write!(f, "the expected gain of the cloud is {gain:.3}, at least {threshold:.3}")
            }
            Self::Gain { gain, threshold } => {
                write!(f, "the expected gain of the cloud is {gain:.3}, below {threshold:.3}")
            }
            Self::NoEstimator => f.write_str("there is no estimator"),
            Self::MostEscalated => f.write_str("the client has reached its share of requests to the cloud"),
            Self::NoUpstream { obstacle } => write!(f, "no upstream can take the request: {obstacle}"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BreakerOpen => "it failed recently",
            Self::Budget => "its budget is spent",
            Self::ClientBudget => "the client's budget is spent",
            Self::TooLong => "the request is longer than its context",
            Self::Lacks => "its model lacks vision or tools",
        })
    }
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// The route.
    pub route: Route,
    /// The reason.
    pub reason: Reason,
    /// `true` if the answer is local only because the cloud is away.
    pub degraded: bool,
    /// The upstreams that may take the request, as indices into the settings, in the order in which they are tried. Empty unless the route
    /// is the cloud, or local where the cloud may take over if the device fails.
    pub upstreams: Vec<usize>,
}

/// Decides where a request is answered.
///
/// Privacy comes first: the strictest of the classes of the gateway, the client and the request holds, and a request that must not leave
/// is answered on the device or refused. Then the request's needs, then the policy.
#[must_use]
pub fn decide(settings: &Settings, client: Option<&Client>, request: &Request, state: &State<'_>) -> Decision {
    let policy = request.policy.or(client.and_then(|client| client.policy)).unwrap_or(settings.policy);
    let classes = [Some(settings.privacy), client.and_then(|client| client.privacy), request.privacy];
    let privacy = classes.into_iter().flatten().max().unwrap_or(Privacy::Private);
    let stays = match (policy, privacy) {
        (_, Privacy::Private) => Some(Reason::Private),
        (_, Privacy::Masked) if !state.is_masked => Some(Reason::NotMasked),
        (Policy::LocalOnly, _) => Some(Reason::LocalOnly),
        _ => None,
    };
    let lack = local_lack(settings, request, state);
    let decision = |route, reason, degraded, upstreams| Decision { route, reason, degraded, upstreams };
    if let Some(reason) = stays {
        return match lack {
            None => decision(Route::Local, reason, false, Vec::new()),
            Some(lack) => decision(Route::Refused, lack, false, Vec::new()),
        };
    }
    let candidates = candidates(settings, client, request, state);
    let wish = match lack {
        Some(lack) => (true, lack),
        None => wish(policy, settings, state),
    };
    match (wish, candidates) {
        ((true, reason), Ok(upstreams)) => decision(Route::Cloud, reason, false, upstreams),
        ((true, reason), Err(obstacle)) => match lack {
            None => decision(Route::Local, Reason::NoUpstream { obstacle }, true, Vec::new()),
            Some(_) => decision(Route::Refused, reason, false, Vec::new()),
        },
        ((false, reason), upstreams) => decision(Route::Local, reason, false, upstreams.unwrap_or_default()),
    }
}

/// Returns what the device lacks for a request.
fn local_lack(settings: &Settings, request: &Request, state: &State<'_>) -> Option<Reason> {
    let (local, tokens) = (&settings.local, request.tokens());
    match () {
        () if request.needs_vision && !local.vision => Some(Reason::NeedsVision),
        () if request.needs_tools && !local.tools => Some(Reason::NeedsTools),
        () if tokens > local.context => Some(Reason::TooLong { tokens, context: local.context }),
        () if !state.is_local_ready => Some(Reason::LocalAway),
        () => None,
    }
}

/// Returns `true` if a request that may go anywhere should go to the cloud, and the reason.
fn wish(policy: Policy, settings: &Settings, state: &State<'_>) -> (bool, Reason) {
    match (policy, state.gain) {
        (Policy::LocalOnly, _) => (false, Reason::LocalOnly),
        (Policy::LocalFirst, _) => (false, Reason::LocalFirst),
        (Policy::CloudFirst, _) => (true, Reason::CloudFirst),
        (Policy::Auto, None) => (false, Reason::NoEstimator),
        (Policy::Auto, Some((gain, threshold))) => {
            let is_capped = settings.estimator.max_escalated.is_some_and(|most| state.escalated >= most.get());
            match gain >= threshold {
                true if is_capped => (false, Reason::MostEscalated),
                escalate => (escalate, Reason::Gain { gain, threshold }),
            }
        }
    }
}

/// Returns the upstreams that can take a request, by priority, then by the cost of the request; or the obstacle of the first.
fn candidates(
    settings: &Settings,
    client: Option<&Client>,
    request: &Request,
    state: &State<'_>,
) -> Result<Vec<usize>, Obstacle> {
    let cost = |at: usize| settings.upstreams[at].price.cost(request.usage());
    let mut order: Vec<usize> = (0..settings.upstreams.len()).collect();
    order.sort_by(|a, b| {
        let priority = |at: usize| settings.upstreams[at].priority;
        priority(*a).cmp(&priority(*b)).then(cost(*a).total_cmp(&cost(*b)))
    });
    let obstacle = |at: usize| {
        let of = state.upstreams.get(at).copied().unwrap_or_default();
        let client = client.map(|client| client.budget).unwrap_or_default();
        obstacle(&settings.upstreams[at], request, &of, state.now)
            .or(client.is_exceeded(state.client_spent, cost(at)).then_some(Obstacle::ClientBudget))
    };
    let usable: Vec<usize> = order.iter().copied().filter(|at| obstacle(*at).is_none()).collect();
    match order.first().and_then(|at| obstacle(*at)) {
        Some(first) if usable.is_empty() => Err(first),
        _ => Ok(usable),
    }
}

fn obstacle(upstream: &Upstream, request: &Request, state: &UpstreamState, now: Duration) -> Option<Obstacle> {
    let cost = upstream.price.cost(request.usage());
    match () {
        () if (request.needs_vision && !upstream.vision) || (request.needs_tools && !upstream.tools) => {
            Some(Obstacle::Lacks)
        }
        () if request.tokens() > upstream.context => Some(Obstacle::TooLong),
        () if !state.breaker.allows(now) => Some(Obstacle::BreakerOpen),
        () if upstream.budget.is_exceeded(state.spent, cost) => Some(Obstacle::Budget),
        () => None,
    }
}

impl Request {
    /// Returns the tokens of prompt and answer together.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.answer_tokens)
    }

    /// Returns the usage of the longest answer, which budgets must cover.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage { input: self.prompt_tokens, cached_input: 0, output: self.answer_tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commented example: a local model without vision and tools, two upstreams, the clients `payroll` and `editor`.
    fn settings() -> Settings {
        Settings::from_toml("gateway.toml", include_str!("../../../../deploy/gateway.toml")).expect("the example")
    }

    const REQUEST: Request = Request {
        policy: None,
        privacy: None,
        prompt_tokens: 1000,
        answer_tokens: 500,
        needs_vision: false,
        needs_tools: false,
    };

    fn state(upstreams: &[UpstreamState]) -> State<'_> {
        State {
            now: Duration::from_secs(100),
            upstreams,
            client_spent: Spent::default(),
            escalated: 0.0,
            is_masked: true,
            is_local_ready: true,
            gain: Some((0.2, 0.1)),
        }
    }

    fn check(
        client: Option<&str>,
        request: Request,
        state: &State<'_>,
        route: Route,
        upstreams: &[usize],
        reason: &str,
    ) {
        let settings = settings();
        let client = settings.clients.iter().find(|c| client == Some(&*c.name));
        let found = decide(&settings, client, &request, state);
        assert_eq!((found.route, &*found.upstreams), (route, upstreams), "{found:?}");
        assert!(found.reason.to_string().contains(reason), "{reason:?} is not in {}", found.reason);
        let is_away = matches!(found.reason, Reason::NoUpstream { .. });
        assert_eq!(found.degraded, is_away && route == Route::Local, "{found:?}");
    }

    #[test]
    fn policies_and_the_estimator_choose_between_places_that_can() {
        let up = [UpstreamState::default(); 2];
        let with = |policy| Request { policy: Some(policy), ..REQUEST };
        check(None, REQUEST, &state(&up), Route::Cloud, &[0, 1], "is 0.200, at least 0.100");
        let low = State { gain: Some((0.05, 0.1)), ..state(&up) };
        check(None, REQUEST, &low, Route::Local, &[0, 1], "is 0.050, below 0.100");
        check(None, REQUEST, &State { gain: None, ..state(&up) }, Route::Local, &[0, 1], "no estimator");
        check(None, REQUEST, &State { escalated: 0.6, ..state(&up) }, Route::Local, &[0, 1], "its share of requests");
        check(None, with(Policy::LocalOnly), &state(&up), Route::Local, &[], "local-only");
        check(None, with(Policy::LocalFirst), &state(&up), Route::Local, &[0, 1], "local-first");
        check(None, with(Policy::CloudFirst), &low, Route::Cloud, &[0, 1], "cloud-first");
        check(Some("editor"), REQUEST, &low, Route::Cloud, &[0, 1], "cloud-first");
    }

    #[test]
    fn needs_that_the_device_lacks_go_to_the_cloud_or_nowhere() {
        let up = [UpstreamState::default(); 2];
        let local_first = Request { policy: Some(Policy::LocalFirst), ..REQUEST };
        let long = Request { prompt_tokens: 3900, ..local_first };
        check(None, long, &state(&up), Route::Cloud, &[0, 1], "4400 tokens exceed the local context of 4096");
        check(None, Request { needs_vision: true, ..local_first }, &state(&up), Route::Cloud, &[1], "images");
        check(None, Request { needs_tools: true, ..local_first }, &state(&up), Route::Cloud, &[0, 1], "tools");
        check(None, local_first, &State { is_local_ready: false, ..state(&up) }, Route::Cloud, &[0, 1], "not ready");
        let only = Request { policy: Some(Policy::LocalOnly), ..long };
        check(None, only, &state(&up), Route::Refused, &[], "4400 tokens");
        let longest = Request { prompt_tokens: 300_000, ..REQUEST };
        check(None, longest, &state(&up), Route::Refused, &[], "300500 tokens");
    }

    #[test]
    fn the_strictest_privacy_class_holds() {
        let up = [UpstreamState::default(); 2];
        let open = Request { privacy: Some(Privacy::Open), policy: Some(Policy::CloudFirst), ..REQUEST };
        check(Some("payroll"), open, &state(&up), Route::Local, &[], "is private");
        check(Some("payroll"), Request { needs_vision: true, ..open }, &state(&up), Route::Refused, &[], "images");
        check(None, open, &State { is_masked: false, ..state(&up) }, Route::Local, &[], "could not be replaced");
        let misspelt = Request { privacy: Some(Privacy::of_request("opne")), ..open };
        check(None, misspelt, &state(&up), Route::Local, &[], "is private");
    }

    #[test]
    fn an_upstream_that_failed_or_is_paid_out_is_passed_over() {
        let open = Breaker::Open { until: Duration::from_secs(101), times: 1 };
        let broken = UpstreamState { breaker: open, ..UpstreamState::default() };
        let spent = UpstreamState { spent: Spent { day: 4.99, month: 20.0 }, ..UpstreamState::default() };
        let ok = UpstreamState::default();
        let cloud = Request { policy: Some(Policy::CloudFirst), ..REQUEST };
        check(None, cloud, &state(&[broken, ok]), Route::Cloud, &[1], "cloud-first");
        // 1000 tokens at 3 and 500 at 15 per million cost 0.0105, more than the 0.01 that are left.
        check(None, cloud, &state(&[broken, spent]), Route::Local, &[], "it failed recently");
        check(None, cloud, &state(&[ok, spent]), Route::Cloud, &[0], "cloud-first");
        let vision = Request { needs_vision: true, ..cloud };
        check(None, vision, &state(&[ok, spent]), Route::Refused, &[], "images");
        let up = [ok, ok];
        let paid = State { client_spent: Spent { day: 1.5, month: 1.5 }, ..state(&up) };
        check(Some("editor"), cloud, &paid, Route::Local, &[], "the client's budget");
    }
}
