//! Circuit breakers and retries, as pure functions of state, event and time. Times count from any fixed instant.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of circuit breakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// The failures in a row that open a breaker.
    pub failures: u32,
    /// The seconds for which it stays open at first; they double with each failed trial.
    pub open_seconds: u32,
    /// The most seconds for which it stays open.
    pub most_open_seconds: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 3, open_seconds: 5, most_open_seconds: 300 }
    }
}

/// The state of the breaker of an upstream (Nygard 2018, *Release It!*, chapter 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// Requests pass.
    Closed {
        /// The failures since the last success.
        failures: u32,
    },
    /// No request passes before a time; then one does, as a trial.
    Open {
        /// The end.
        until: Duration,
        /// The number of times that it opened since the last success.
        times: u32,
    },
    /// A trial is under way.
    Trial {
        /// The time at which the trial counts as lost.
        until: Duration,
        /// The number of times that the breaker opened since the last success.
        times: u32,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// An event of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A request was sent.
    Sent,
    /// A request succeeded.
    Succeeded,
    /// A request failed in a way that is the upstream's fault.
    Failed,
}

impl Breaker {
    /// Returns `true` if a request may be sent.
    #[must_use]
    pub fn allows(self, now: Duration) -> bool {
        match self {
            Self::Closed { .. } => true,
            Self::Open { until, .. } | Self::Trial { until, .. } => now >= until,
        }
    }

    /// Returns the state after an event.
    #[must_use]
    pub fn after(self, event: Event, now: Duration, settings: &BreakerSettings) -> Self {
        let pause = |times: u32| {
            let seconds = u64::from(settings.open_seconds) << times.min(20);
            Duration::from_secs(seconds.min(u64::from(settings.most_open_seconds)))
        };
        let open = |times: u32| Self::Open { until: now + pause(times), times: times.saturating_add(1) };
        match (self, event) {
            (_, Event::Succeeded) => Self::default(),
            (Self::Closed { failures }, Event::Failed) if failures + 1 < settings.failures => {
                Self::Closed { failures: failures + 1 }
            }
            (Self::Closed { .. }, Event::Failed) => open(0),
            (Self::Trial { times, .. }, Event::Failed) => open(times),
            (Self::Open { times, .. } | Self::Trial { times, .. }, Event::Sent) if self.allows(now) => {
                Self::Trial { until: now + pause(times), times }
            }
            // Requests that were sent before the breaker opened say nothing new.
            (state, _) => state,
        }
    }
}

/// The settings of retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// The most retries of a request at one upstream.
    pub retries: u32,
    /// The largest first pause in milliseconds; it doubles with each retry.
    pub first_milliseconds: u32,
    /// The largest pause in milliseconds.
    pub most_milliseconds: u32,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { retries: 2, first_milliseconds: 250, most_milliseconds: 8000 }
    }
}

/// The way in which an attempt failed before anything of the answer was sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// An HTTP status that is no success.
    Status(u16),
    /// No connection: the name, the network or TLS failed.
    Connect,
    /// The upstream was silent for too long.
    Timeout,
    /// The answer broke off or made no sense.
    Broken,
}

impl Failure {
    /// Returns `true` if another attempt may succeed.
    #[must_use]
    pub fn is_passing(self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 408 | 425 | 429) || (500..600).contains(&status) && status != 501,
            Self::Connect | Self::Timeout | Self::Broken => true,
        }
    }

    /// Returns `true` if the fault is the upstream's, so that its breaker counts it.
    #[must_use]
    pub fn is_of_upstream(self) -> bool {
        self.is_passing() || matches!(self, Self::Status(401 | 403))
    }
}

/// Returns the pause before the next attempt at the same upstream, or `None` if there should be none.
///
/// The pause is drawn evenly from 0 to the doubled limit ("full jitter", Brooker 2015), but is not shorter than the upstream's
/// `Retry-After`. `retried` counts the retries so far, `random` is a draw from 0 to 1, `left` the time until the request's deadline.
#[must_use]
pub fn retry_pause(
    settings: &RetrySettings,
    retried: u32,
    failure: Failure,
    retry_after: Option<Duration>,
    random: f64,
    left: Duration,
) -> Option<Duration> {
    if retried >= settings.retries || !failure.is_passing() {
        return None;
    }
    let limit = (u64::from(settings.first_milliseconds) << retried.min(20)).min(u64::from(settings.most_milliseconds));
    let drawn = Duration::from_millis(limit).mul_f64(random.clamp(0.0, 1.0));
    let pause = retry_after.map_or(drawn, |after| after.max(drawn));
    (pause < left).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings { failures: 3, open_seconds: 5, most_open_seconds: 12 };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn three_failures_open_a_breaker_and_one_trial_closes_it() {
        let step = |state: Breaker, event, seconds| state.after(event, at(seconds), &SETTINGS);
        let mut state = Breaker::default();
        for _ in 0..3 {
            assert!(state.allows(at(0)));
            state = step(step(state, Event::Sent, 0), Event::Failed, 0);
        }
        assert_eq!(state, Breaker::Open { until: at(5), times: 1 });
        // Late failures of earlier requests do not prolong it.
        assert_eq!(step(state, Event::Failed, 4), state);
        assert!(!state.allows(at(4)) && state.allows(at(5)));
        let trial = step(state, Event::Sent, 5);
        assert!(!trial.allows(at(6)), "only one trial at a time");
        let open = step(trial, Event::Failed, 6);
        assert_eq!(open, Breaker::Open { until: at(16), times: 2 });
        // The pause doubles up to its limit.
        let again = step(step(open, Event::Sent, 16), Event::Failed, 17);
        assert_eq!(again, Breaker::Open { until: at(29), times: 3 });
        assert_eq!(step(step(again, Event::Sent, 29), Event::Succeeded, 30), Breaker::Closed { failures: 0 });
    }

    #[test]
    fn a_trial_that_never_ends_is_given_up() {
        let trial = Breaker::Open { until: at(5), times: 1 }.after(Event::Sent, at(5), &SETTINGS);
        assert!(!trial.allows(at(14)) && trial.allows(at(15)));
    }

    #[test]
    fn a_success_forgets_failures() {
        let mut state = Breaker::default();
        for event in [Event::Failed, Event::Failed, Event::Succeeded, Event::Failed, Event::Failed] {
            state = state.after(event, at(1), &SETTINGS);
        }
        assert_eq!(state, Breaker::Closed { failures: 2 });
    }

    #[test]
    fn pauses_double_are_jittered_and_respect_the_upstream_and_the_deadline() {
        let settings = RetrySettings { retries: 5, first_milliseconds: 100, most_milliseconds: 300 };
        let pause = |retried, random| retry_pause(&settings, retried, Failure::Timeout, None, random, at(60));
        let milliseconds = |n| Some(Duration::from_millis(n));
        assert_eq!([0, 1, 2, 3].map(|retried| pause(retried, 1.0)), [100, 200, 300, 300].map(milliseconds));
        assert_eq!((pause(1, 0.5), pause(1, 0.0), pause(5, 0.5)), (milliseconds(100), milliseconds(0), None));
        let told = |after, left| retry_pause(&settings, 0, Failure::Status(429), Some(at(after)), 0.5, at(left));
        assert_eq!((told(2, 60), told(2, 2)), (Some(at(2)), None));
        for (status, retried) in
            [(400, false), (401, false), (404, false), (408, true), (429, true), (500, true), (501, false), (503, true)]
        {
            assert_eq!(Failure::Status(status).is_passing(), retried, "{status}");
        }
        assert!(Failure::Status(401).is_of_upstream() && !Failure::Status(400).is_of_upstream());
    }
}
