//! Drafts of the device that an upstream verifies: when they pay, and how long they should be.
//!
//! A round drafts `g` tokens on the device, sends them, and gets those that the upstream would have written, and one more. If each
//! token is accepted with the probability `a`, a round writes `E = (1 - a^(g + 1)) / (1 - a)` tokens on average (Leviathan et al.
//! 2023, "Fast Inference from Transformers via Speculative Decoding", equation 1). It takes `g * t_draft + RTT + t_verify(g)`; the
//! upstream alone takes `E * t_cloud` for the same tokens, since the way of a stream is travelled once. Drafts therefore pay while
//!
//! ```text
//! RTT < E * t_cloud - g * t_draft - t_verify(g)
//! ```
//!
//! All of it is a pure function of measured times. [`Drafts`] holds the measurements of one upstream.

use std::time::Duration;

use serde::Serialize;

/// The longest draft.
pub const LONGEST: usize = 16;
/// The length of the drafts of a trial.
const TRIED: usize = 4;
/// The timed rounds of a trial.
const TRIAL: u32 = 4;
/// The gain that drafts must have: the time of the upstream alone, divided by that of a round.
const GAIN: f64 = 1.05;
/// The weight of a new time in a mean.
const WEIGHT: f64 = 0.25;
/// The share of the counts of accepted tokens that stays after a round.
const KEPT: f64 = 0.95;
/// The pause after a first trial that did not pay, and the longest one.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The times that decide whether drafts pay, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// `RTT`: a round without the work of the device and of the upstream.
    pub round_trip: f64,
    /// `t_draft`: a token on the device.
    pub draft: f64,
    /// `t_verify(0)`: a round's work at the upstream, without a draft.
    pub verify: f64,
    /// The further work for each drafted token: `t_verify(g) = verify + g * verify_token`.
    pub verify_token: f64,
    /// `t_cloud`: a token that the upstream writes alone.
    pub cloud: f64,
}

/// Returns `E`, the expected tokens of a round with a draft of `length` tokens, each of which is accepted with the probability
/// `acceptance`.
#[must_use]
pub fn expected_tokens(acceptance: f64, length: usize) -> f64 {
    let acceptance = acceptance.clamp(0.0, 1.0);
    // The sum of the geometric series, which has no division by zero at 1.
    (0..=length).fold((0.0, 1.0), |(sum, power), _| (sum + power, power * acceptance)).0
}

impl Times {
    /// Returns the time of a round with a draft of `length` tokens.
    #[must_use]
    pub fn round(&self, length: usize) -> f64 {
        self.round_trip + self.work(length)
    }

    fn work(&self, length: usize) -> f64 {
        self.verify + length as f64 * (self.draft + self.verify_token)
    }

    /// Returns the round-trip time below which drafts of `length` tokens pay; negative if they never do.
    #[must_use]
    pub fn bound(&self, acceptance: f64, length: usize) -> f64 {
        expected_tokens(acceptance, length) * self.cloud - self.work(length)
    }

    /// Returns the length of draft, up to [`LONGEST`], that gives the most tokens a second; `None` if none gains 5% over the upstream
    /// alone.
    #[must_use]
    pub fn best_length(&self, acceptance: f64) -> Option<usize> {
        let rate = |length: usize| expected_tokens(acceptance, length) / self.round(length).max(f64::MIN_POSITIVE);
        let best = (1..=LONGEST).max_by(|a, b| rate(*a).total_cmp(&rate(*b)).then(b.cmp(a)))?;
        (rate(best) * self.cloud >= GAIN).then_some(best)
    }
}

/// A round as it was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// The tokens that were drafted.
    pub drafted: usize,
    /// Those of them that were accepted.
    pub accepted: usize,
    /// The times; `None` for a round that did further work, such as reading the prompt.
    pub times: Option<RoundTimes>,
}

/// The times of a round, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoundTimes {
    /// From the request to the response.
    pub total: f64,
    /// The part of it that the upstream worked.
    pub verify: f64,
    /// A step of the upstream's model with the rows of this round.
    pub step: f64,
    /// A step with one row.
    pub token: f64,
    /// The time in which the device wrote the draft.
    pub draft: f64,
}

impl RoundTimes {
    /// Returns `true` for numbers that times can be.
    fn is_sound(&self) -> bool {
        let all = [self.total, self.verify, self.step, self.token, self.draft];
        all.iter().all(|time| time.is_finite() && *time >= 0.0) && self.total > 0.0
    }
}

/// The state of the drafts for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many timed rounds are left until it is known whether drafts pay.
    Trial {
        left: u32,
        times: u32,
    },
    On,
    /// They did not pay. The next trial follows after a time.
    Off {
        until: Duration,
        times: u32,
    },
}

/// The knowledge about drafts for an upstream. Times count from any fixed instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drafts {
    state: State,
    times: Option<Times>,
    /// `t_cloud`, which answers without drafts measure too.
    cloud: Option<f64>,
    accepted: f64,
    tried: f64,
}

impl Default for Drafts {
    fn default() -> Self {
        let state = State::Trial { left: TRIAL, times: 0 };
        // Before the first round, three of four tokens are accepted.
        Self { state, times: None, cloud: None, accepted: 3.0, tried: 4.0 }
    }
}

impl Drafts {
    /// Returns the state before an answer: the time for a trial may have come.
    #[must_use]
    pub fn begun(self, now: Duration) -> Self {
        match self.state {
            State::Off { until, times } if now >= until => {
                Self { state: State::Trial { left: TRIAL, times }, times: None, ..self }
            }
            _ => self,
        }
    }

    /// Returns the length of the next draft; `None` if drafts do not pay.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        match self.state {
            State::Trial { .. } => Some(TRIED),
            State::On => self.times?.best_length(self.acceptance()),
            State::Off { .. } => None,
        }
    }

    /// Returns the state after a round.
    #[must_use]
    pub fn after(mut self, round: &Round, now: Duration) -> Self {
        if round.drafted > 0 {
            let accepted = round.accepted.min(round.drafted);
            self.accepted = self.accepted * KEPT + accepted as f64;
            self.tried = self.tried * KEPT + (accepted + usize::from(accepted < round.drafted)) as f64;
        }
        let Some(times) = round.times.filter(RoundTimes::is_sound) else { return self };
        self = self.without_drafts(times.token);
        self.add(round.drafted, &times);
        self.state = match self.state {
            State::Trial { left, times } if left > 1 => State::Trial { left: left - 1, times },
            State::Off { .. } => self.state,
            State::Trial { times, .. } => self.judged(times, now),
            State::On => self.judged(0, now),
        };
        self
    }

    /// Returns the state after the upstream wrote tokens alone, each in `token` seconds.
    #[must_use]
    pub fn without_drafts(mut self, token: f64) -> Self {
        if token > 0.0 && token.is_finite() {
            self.cloud = Some(self.cloud.map_or(token, |mean| mix(mean, token)));
        }
        self
    }

    fn add(&mut self, drafted: usize, of: &RoundTimes) {
        let Some(cloud) = self.cloud else { return };
        let length = drafted.max(1) as f64;
        let verify_token = ((of.step - of.token) / length).max(0.0);
        let new = Times {
            round_trip: (of.total - of.verify).max(0.0),
            draft: of.draft / length,
            verify: (of.verify - drafted as f64 * verify_token).max(0.0),
            verify_token,
            cloud,
        };
        self.times = Some(match self.times {
            None => new,
            // A round without a draft tells nothing about the time of one.
            Some(mean) if drafted == 0 => Times {
                round_trip: mix(mean.round_trip, new.round_trip),
                verify: mix(mean.verify, new.verify),
                cloud,
                ..mean
            },
            Some(mean) => Times {
                round_trip: mix(mean.round_trip, new.round_trip),
                draft: mix(mean.draft, new.draft),
                verify: mix(mean.verify, new.verify),
                verify_token: mix(mean.verify_token, new.verify_token),
                cloud,
            },
        });
    }

    /// Decides whether drafts pay, after they did not `times` times in a row.
    fn judged(&self, times: u32, now: Duration) -> State {
        if self.times.is_some_and(|known| known.best_length(self.acceptance()).is_some()) {
            return State::On;
        }
        let pause = PAUSE.saturating_mul(1 << times.min(16)).min(LONGEST_PAUSE);
        State::Off { until: now.saturating_add(pause), times: times.saturating_add(1) }
    }

    /// Returns the estimated probability that a drafted token is accepted.
    #[must_use]
    pub fn acceptance(&self) -> f64 {
        self.accepted / self.tried
    }

    /// Returns the mean times; `None` before the first timed round.
    #[must_use]
    pub fn times(&self) -> Option<Times> {
        self.times
    }

    /// Returns `trial`, `on` or `off`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.state {
            State::Trial { .. } => "trial",
            State::On => "on",
            State::Off { .. } => "off",
        }
    }

    /// Returns the reason for the state, for people: the round trip, and the one below which drafts pay.
    #[must_use]
    pub fn reason(&self) -> String {
        let Some(times) = self.times else { return "the times are not measured yet".to_owned() };
        let length = times.best_length(self.acceptance()).unwrap_or(TRIED);
        let (round_trip, bound) = (times.round_trip * 1e3, times.bound(self.acceptance(), length) * 1e3);
        let limit = if bound > 0.0 { format!("pay below {bound:.1} ms") } else { "do not pay at any".to_owned() };
        format!("the round trip takes {round_trip:.1} ms, and drafts of {length} tokens {limit}")
    }
}

fn mix(mean: f64, new: f64) -> f64 {
    mean + WEIGHT * (new - mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { round_trip: 0.010, draft: 0.005, verify: 0.050, verify_token: 0.002, cloud: 0.050 };

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
    }

    #[test]
    fn expected_tokens_are_the_sum_of_a_geometric_series() {
        // (1 - 0.8^5) / (1 - 0.8) = 0.67232 / 0.2
        near(expected_tokens(0.8, 4), 3.3616);
        near(expected_tokens(0.5, 2), 1.75);
        for (acceptance, length, expected) in
            [(0.0, 7, 1.0), (1.0, 7, 8.0), (0.3, 0, 1.0), (1.5, 2, 3.0), (-1.0, 2, 1.0)]
        {
            near(expected_tokens(acceptance, length), expected);
        }
    }

    #[test]
    fn the_bound_is_that_of_the_rule() {
        // 3.3616 * 50 ms - 4 * 5 ms - (50 ms + 4 * 2 ms) = 168.08 - 20 - 58 = 90.08 ms
        near(TIMES.bound(0.8, 4), 0.09008);
        near(TIMES.round(4), 0.088);
        // 1 * 50 - 5 - 52: nothing is accepted, so drafts never pay.
        near(TIMES.bound(0.0, 1), -0.007);
        assert_eq!(TIMES.best_length(0.0), None);
    }

    #[test]
    fn the_best_length_grows_with_the_round_trip_until_nothing_pays() {
        let best = |acceptance: f64, round_trip: f64| Times { round_trip, ..TIMES }.best_length(acceptance);
        // Rates in tokens per second: 1.8 / 0.067 = 26.9, 2.44 / 0.074 = 33.0, 2.952 / 0.081 = 36.4, 3.3616 / 0.088 = 38.2,
        // 3.68928 / 0.095 = 38.8, 3.951424 / 0.102 = 38.7.
        assert_eq!(best(0.8, 0.010), Some(5));
        assert!(best(0.8, 0.060) > best(0.8, 0.010));
        assert_eq!(best(0.8, 0.150), None, "at most 5 tokens in 50 ms each, and 200 ms for a round");
        assert_eq!(best(1.0, 0.010), Some(LONGEST));
        // One token on a slow device: 1.5 * 50 ms against RTT + 50 ms. Below 25 ms it pays, below 21.4 ms by 5%.
        let slow = Times { draft: 0.020, verify: 0.030, verify_token: 0.0, ..TIMES };
        let best = |round_trip: f64| Times { round_trip, ..slow }.best_length(0.5);
        near(slow.bound(0.5, 1), 0.025);
        assert_eq!((best(0.021), best(0.022)), (Some(1), None));
    }

    fn round(drafted: usize, accepted: usize, round_trip: f64) -> Round {
        let verify = 0.050 + 0.002 * drafted as f64;
        let times = RoundTimes {
            total: round_trip + verify,
            verify,
            step: verify,
            token: 0.050,
            draft: 0.005 * drafted as f64,
        };
        Round { drafted, accepted, times: Some(times) }
    }

    /// Returns the state after a number of rounds in which all drafts are accepted.
    fn rounds(mut drafts: Drafts, count: usize, round_trip: f64, now: u64) -> Drafts {
        for _ in 0..count {
            drafts = drafts.after(&round(4, 4, round_trip), Duration::from_secs(now));
        }
        drafts
    }

    #[test]
    fn a_trial_decides_and_the_decision_follows_the_times() {
        let untimed = Drafts::default().after(&Round { times: None, ..round(4, 4, 0.01) }, Duration::ZERO);
        assert_eq!((untimed.name(), untimed.times(), untimed.length()), ("trial", None, Some(TRIED)));
        let trial = rounds(untimed, 3, 0.010, 0);
        assert_eq!((trial.name(), trial.length()), ("trial", Some(TRIED)));
        let on = rounds(trial, 1, 0.010, 0);
        let times = on.times().expect("measured");
        near(times.round_trip, 0.010);
        near(times.draft, 0.005);
        near(times.verify, 0.050);
        near(times.verify_token, 0.002);
        assert!(on.name() == "on" && on.length() > Some(TRIED), "{on:?}");
        // The network becomes slow.
        let off = rounds(on, 20, 5.0, 100);
        assert_eq!((off.name(), off.length()), ("off", None));
        assert!(off.reason().contains("round trip takes"), "{}", off.reason());
        // It is tried again after a pause, which doubles.
        let at = |seconds| Duration::from_secs(seconds);
        assert_eq!(off.begun(at(129)).name(), "off");
        let again = off.begun(at(131));
        assert_eq!((again.name(), again.length()), ("trial", Some(TRIED)));
        let off = rounds(again, 4, 5.0, 140);
        assert_eq!((off.begun(at(199)).name(), off.begun(at(201)).name()), ("off", "trial"));
        assert_eq!(rounds(off.begun(at(201)), 4, 0.010, 210).name(), "on");
    }

    #[test]
    fn rejected_drafts_end_the_trial() {
        let mut drafts = Drafts::default();
        for _ in 0..60 {
            drafts = drafts.begun(Duration::from_secs(1 << 20)).after(&round(4, 0, 0.001), Duration::ZERO);
        }
        assert!(drafts.acceptance() < 0.1 && drafts.length().is_none_or(|length| length == TRIED), "{drafts:?}");
        assert_ne!(drafts.name(), "on");
    }

    #[test]
    fn times_that_are_none_are_ignored() {
        let before = rounds(Drafts::default(), 2, 0.01, 0);
        for wrong in [f64::NAN, f64::INFINITY, -1.0] {
            let times = round(4, 4, 0.01).times.expect("times");
            for times in [RoundTimes { total: wrong, ..times }, RoundTimes { token: wrong, ..times }] {
                let after = before.after(&Round { drafted: 0, accepted: 0, times: Some(times) }, Duration::ZERO);
                assert_eq!(after, before);
            }
            assert_eq!(before.without_drafts(wrong), before);
        }
    }
}
