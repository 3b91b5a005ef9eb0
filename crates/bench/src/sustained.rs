//! Decoding for minutes: the rate of each second, and what is left of the first one when the machine is hot.

use std::time::Instant;

use honelm_backend::{Batch, Parent, SequenceId, Token, Want, block_on};
use honelm_model::Runner;
use serde::{Deserialize, Serialize};

use crate::test::{prefill, tokens};
use crate::{BenchError, Sensors, Test};

/// The spans of the first and of the last rate in seconds. A run that is too short for them has a quarter for each.
const BURST: f64 = 10.0;
const SUSTAINED: f64 = 120.0;
/// The span over which a rate must be lower to count, in seconds: the rate of a second varies.
const DROP: f64 = 5.0;

/// The settings of [`sustained`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SustainedOptions {
    /// The length of the run in seconds.
    pub seconds: f64,
    /// The number of tokens in the cache when decoding begins.
    pub depth: usize,
    /// The number of tokens after which the cache is cut back, so that each stretch has the same work.
    pub stretch: usize,
    /// The maximum number of rows in a prefill step.
    pub batch: usize,
}

/// A second of a run. It ends with the first token after a second, so that its rate is exact.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// The time of its end since the begin of the run, in seconds.
    pub end_seconds: f64,
    /// The rate of decoding.
    pub tokens_per_second: f64,
    /// The temperature of the processor.
    pub temperature_celsius: Option<f64>,
    /// The mean frequency of the CPUs.
    pub frequency_hertz: Option<f64>,
    /// The power.
    pub power_watts: Option<f64>,
}

/// The results of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sustained {
    /// The seconds.
    pub series: Vec<Second>,
    /// The figures of the series; `None` if the run ended within its first second.
    pub figures: Option<SustainedFigures>,
    /// `true` if the caller ended the run.
    pub interrupted: bool,
}

/// The figures of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SustainedFigures {
    /// The length of the run in seconds.
    pub seconds: f64,
    /// The number of tokens.
    pub tokens: f64,
    /// The length of the span at the begin.
    pub burst_seconds: f64,
    /// The rate in it.
    pub burst_tokens_per_second: f64,
    /// The length of the span at the end.
    pub sustained_seconds: f64,
    /// The rate in it.
    pub sustained_tokens_per_second: f64,
    /// The second rate in percent of the first one.
    pub retained_percent: f64,
    /// The time at which a rate of at most 90% of the first one began to last for five seconds; `None` if none did.
    pub drop_10_percent_seconds: Option<f64>,
    /// The same for 75%.
    pub drop_25_percent_seconds: Option<f64>,
    /// The energy per token over the whole run; `None` where the power is not known all the time.
    pub joules_per_token: Option<f64>,
    /// The highest temperature.
    pub most_celsius: Option<f64>,
}

/// Decodes for a number of seconds. `progress` receives the seconds that have passed, and ends the run by returning `false`; what
/// was measured is kept.
///
/// # Errors
/// A context that is too short, an error of the model.
pub fn sustained(
    runner: &mut dyn Runner,
    options: &SustainedOptions,
    sensors: &mut Sensors,
    progress: &mut dyn FnMut(f64) -> bool,
) -> Result<Sustained, BenchError> {
    let test = Test { depth: options.depth, ..Test::new(0, options.stretch, options.batch) };
    if options.stretch == 0 || options.batch == 0 {
        return Err(BenchError::EmptyTest);
    }
    let wanted = options.depth.saturating_add(options.stretch);
    if wanted > runner.context() {
        return Err(BenchError::ContextTooShort { test: test.to_string(), wanted, context: runner.context() });
    }
    let (sequence, cached) = (runner.open(), tokens(runner.facts().vocabulary, options.depth, 1));
    let result = prefill(runner, sequence, &cached, options.batch)
        .and_then(|_| decode(runner, sequence, options, sensors, progress));
    runner.close(sequence)?;
    result
}

fn decode(
    runner: &mut dyn Runner,
    sequence: SequenceId,
    options: &SustainedOptions,
    sensors: &mut Sensors,
    progress: &mut dyn FnMut(f64) -> bool,
) -> Result<Sustained, BenchError> {
    let drawn = tokens(runner.facts().vocabulary, options.stretch, 3);
    let (mut series, mut interrupted) = (Vec::new(), false);
    // The first reading begins the span of the first power.
    sensors.read();
    let begin = Instant::now();
    let (mut from, mut count) = (0.0, 0usize);
    for &token in drawn.iter().cycle() {
        let mut step = Batch::default();
        step.push(sequence, Token::Id(token), Parent::Previous, Want::LOGITS);
        let ticket = runner.step(&step)?;
        block_on(runner.read(ticket))?;
        if runner.len(sequence)? == options.depth + options.stretch {
            runner.truncate(sequence, options.depth)?;
        }
        count += 1;
        let now = begin.elapsed().as_secs_f64();
        let is_last = now >= options.seconds;
        if now - from >= 1.0 || is_last {
            let read = sensors.read();
            series.push(Second {
                end_seconds: now,
                tokens_per_second: count as f64 / (now - from),
                temperature_celsius: read.temperature_celsius,
                frequency_hertz: read.frequency_hertz,
                power_watts: read.power_watts,
            });
            // The sensors take time, which is no time of the model.
            (from, count) = (begin.elapsed().as_secs_f64(), 0);
        }
        if is_last {
            break;
        }
        if count <= 1 && !progress(now) {
            interrupted = true;
            break;
        }
    }
    Ok(Sustained { figures: SustainedFigures::of(&series), series, interrupted })
}

impl SustainedFigures {
    /// Computes the figures of a series; `None` if it is empty.
    #[must_use]
    pub fn of(series: &[Second]) -> Option<Self> {
        let seconds = series.last()?.end_seconds;
        let burst_seconds = BURST.min(seconds / 4.0);
        let sustained_seconds = SUSTAINED.min(seconds / 4.0);
        let burst = mean(series, 0.0, burst_seconds)?;
        let last = mean(series, seconds - sustained_seconds, seconds)?;
        let drop = |share: f64| {
            let span = DROP.min(burst_seconds);
            let begins = starts(series).filter(|begin| begin + span <= seconds + 1e-9);
            begins
                .into_iter()
                .find(|&begin| mean(series, begin, begin + span).is_some_and(|rate| rate <= share * burst))
        };
        let tokens = sum(series, |second| Some(second.tokens_per_second)).unwrap_or(0.0);
        let joules = sum(series, |second| second.power_watts);
        Some(Self {
            seconds,
            tokens,
            burst_seconds,
            burst_tokens_per_second: burst,
            sustained_seconds,
            sustained_tokens_per_second: last,
            retained_percent: 100.0 * last / burst,
            drop_10_percent_seconds: drop(0.9),
            drop_25_percent_seconds: drop(0.75),
            joules_per_token: joules.map(|joules| joules / tokens),
            most_celsius: series.iter().filter_map(|second| second.temperature_celsius).reduce(f64::max),
        })
    }
}

/// Returns the begin of each second.
fn starts(series: &[Second]) -> impl Iterator<Item = f64> {
    std::iter::once(0.0).chain(series.iter().map(|second| second.end_seconds))
}

/// Returns the integral of a quantity over the run; `None` if it is unknown at a time.
fn sum(series: &[Second], of: impl Fn(&Second) -> Option<f64>) -> Option<f64> {
    starts(series).zip(series).map(|(begin, second)| Some(of(second)? * (second.end_seconds - begin))).sum()
}

/// Returns the mean rate between two times; `None` if no second lies there.
pub(crate) fn mean(series: &[Second], from: f64, to: f64) -> Option<f64> {
    let (mut tokens, mut time) = (0.0, 0.0);
    for (begin, second) in starts(series).zip(series) {
        let shared = (second.end_seconds.min(to) - begin.max(from)).max(0.0);
        tokens += second.tokens_per_second * shared;
        time += shared;
    }
    (time > 0.0).then(|| tokens / time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a run of 15 minutes whose rate falls linearly to half between the minutes 2 and 7.
    fn run() -> Vec<Second> {
        let rate = |t: f64| 20.0 - 10.0 * ((t - 120.0) / 300.0).clamp(0.0, 1.0);
        let second = |t: u32| Second {
            end_seconds: f64::from(t),
            tokens_per_second: rate(f64::from(t)),
            temperature_celsius: Some(50.0 + f64::from(t.min(40))),
            frequency_hertz: None,
            power_watts: Some(30.0),
        };
        (1..=900).map(second).collect()
    }

    #[test]
    fn a_rate_that_falls_gives_burst_rest_and_times() {
        let found = SustainedFigures::of(&run()).expect("a run");
        assert_eq!((found.burst_seconds, found.burst_tokens_per_second), (10.0, 20.0));
        assert_eq!((found.sustained_seconds, found.sustained_tokens_per_second), (120.0, 10.0));
        assert_eq!((found.retained_percent, found.most_celsius), (50.0, Some(90.0)));
        // The rate falls by a tenth in 60 s and by a quarter in 150 s; a span of 5 s has the mean of its middle.
        let near = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() <= 3.0);
        assert!(near(found.drop_10_percent_seconds, 178.0), "{found:?}");
        assert!(near(found.drop_25_percent_seconds, 268.0), "{found:?}");
        let tokens = 120.0 * 20.0 + 300.0 * 15.0 + 480.0 * 10.0;
        assert!((found.tokens / tokens - 1.0).abs() < 1e-3 && found.seconds == 900.0, "{found:?}");
        assert!((found.joules_per_token.expect("power") - 900.0 * 30.0 / found.tokens).abs() < 1e-9);
    }

    #[test]
    fn a_steady_rate_with_noise_drops_never() {
        let mut series = run();
        for (i, second) in series.iter_mut().enumerate() {
            // A single slow second, and noise of a twentieth.
            second.tokens_per_second = if i == 300 { 12.0 } else { 20.0 + f64::from(i as u32 % 3) - 1.0 };
        }
        series[7].power_watts = None;
        let found = SustainedFigures::of(&series).expect("a run");
        assert!((found.retained_percent - 100.0).abs() < 2.0, "{found:?}");
        assert_eq!((found.drop_10_percent_seconds, found.drop_25_percent_seconds), (None, None));
        assert_eq!(found.joules_per_token, None, "the power was unknown for a second");
        assert_eq!(SustainedFigures::of(&[]), None);
        let short = SustainedFigures::of(&series[..2]).expect("a run");
        assert_eq!((short.burst_seconds, short.sustained_seconds), (0.5, 0.5));
    }
}
