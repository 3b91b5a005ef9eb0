//! The speed of a candidate relative to the original, from measurements in alternation.

use std::path::Path;

use honelm_bench::Speed;
use serde::{Deserialize, Serialize};

use super::Measure;
use crate::{Error, Event, Events};

/// The number of times that the original and a candidate are measured, one after the other.
pub(super) const PAIRS: usize = 3;
/// The same for a candidate that was rejected, whose speed no one will see again.
pub(super) const PAIRS_OF_REJECTED: usize = 1;

/// The largest ratio of two measurements of one thing at which a machine counts as idle.
const IDLE_SPREAD: f64 = 1.25;

/// One measurement of the original and, right after it, one of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Pair {
    pub original: Speed,
    pub candidate: Speed,
}

/// The median and the range of several measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest value.
    pub least: f64,
    /// The largest value.
    pub most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let values = sorted(values);
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        Self { median: median(&values), least: end(values.first()), most: end(values.last()) }
    }

    fn is_of_idle_machine(&self) -> bool {
        self.most <= self.least * IDLE_SPREAD
    }
}

/// The speed of a candidate as a multiple of the original's. Each ratio is that of one pair of measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SpeedRatio {
    /// The number of pairs.
    pub pairs: usize,
    /// The ratios of the prefill rates.
    pub prefill: Spread,
    /// The ratios of the decode rates.
    pub decode: Spread,
}

impl SpeedRatio {
    /// Returns `None` if nothing was measured, or a rate is too small for a ratio.
    pub(super) fn of(pairs: &[Pair]) -> Option<Self> {
        let ratios = |rate: fn(&Speed) -> f64| Spread::of(pairs.iter().map(|p| rate(&p.candidate) / rate(&p.original)));
        let (prefill, decode) = (ratios(|s| s.prefill_tokens_per_second), ratios(|s| s.decode_tokens_per_second));
        let is_known = [prefill, decode].iter().all(|spread| spread.least.is_finite() && spread.most.is_finite());
        is_known.then_some(Self { pairs: pairs.len(), prefill, decode })
    }
}

/// Measures the original and a candidate in alternation, so that other load on the machine slows down both.
pub(super) fn pairs(
    original: &Path,
    candidate: &Path,
    stage: &str,
    count: usize,
    measure: Measure<'_>,
    events: Events<'_>,
) -> Result<Vec<Pair>, Error> {
    let mut done = 0;
    let mut next = |path: &Path| {
        if !events(&Event::Stage { name: stage, detail: "", done, total: 2 * count }) {
            return Err(Error::Interrupted);
        }
        done += 1;
        measure(path)
    };
    (0..count).map(|_| Ok(Pair { original: next(original)?, candidate: next(candidate)? })).collect()
}

/// Returns the median of each figure; `None` if there are no measurements.
pub(super) fn typical(speeds: &[Speed]) -> Option<Speed> {
    let of = |figure: fn(&Speed) -> f64| median(&sorted(speeds.iter().map(figure)));
    let peaks = sorted(speeds.iter().filter_map(|s| s.peak_memory_bytes).map(|n| n as f64));
    (!speeds.is_empty()).then(|| Speed {
        load_seconds: of(|s| s.load_seconds),
        prefill_tokens_per_second: of(|s| s.prefill_tokens_per_second),
        decode_tokens_per_second: of(|s| s.decode_tokens_per_second),
        first_token_seconds: of(|s| s.first_token_seconds),
        peak_memory_bytes: (!peaks.is_empty()).then(|| median(&peaks) as u64),
    })
}

/// Returns a warning if the measurements of one model differ so much that the machine must have been busy.
pub(super) fn busy(originals: &[Speed], ratios: &[SpeedRatio]) -> Option<String> {
    let rates: [fn(&Speed) -> f64; 2] = [|s| s.prefill_tokens_per_second, |s| s.decode_tokens_per_second];
    let spreads = rates.map(|rate| Spread::of(originals.iter().map(rate)));
    let mut all = spreads.into_iter().chain(ratios.iter().flat_map(|r| [r.prefill, r.decode]));
    if originals.is_empty() || all.all(|spread| spread.is_of_idle_machine()) {
        return None;
    }
    let [_, decode] = spreads;
    Some(format!(
        "the machine was busy while speeds were measured (the original decoded {:.0} to {:.0} tok/s), so the speeds and \
         their ratios are rough; measure again on an idle machine with `honelm bench`",
        decode.least, decode.most
    ))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Returns the median of sorted values; NaN if there are none.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(rate: f64) -> Speed {
        Speed {
            load_seconds: 0.1,
            prefill_tokens_per_second: 10.0 * rate,
            decode_tokens_per_second: rate,
            first_token_seconds: 1.0 / rate,
            peak_memory_bytes: Some(1000),
        }
    }

    #[test]
    fn load_that_slows_down_both_leaves_the_ratio_as_it_is() {
        // The machine is half as fast during the second pair.
        let mut rates = [100.0, 150.0, 50.0, 75.0, 100.0, 150.0].into_iter();
        let mut measured = Vec::new();
        let mut measure = |path: &Path| {
            measured.push(path.display().to_string());
            Ok(speed(rates.next().expect("six measurements")))
        };
        let mut told = Vec::new();
        let mut events = |event: &Event<'_>| {
            if let Event::Stage { done, total, .. } = event {
                told.push((*done, *total));
            }
            true
        };
        let found = pairs(Path::new("o"), Path::new("c"), "speed", PAIRS, &mut measure, &mut events).expect("measured");
        assert_eq!(measured, ["o", "c", "o", "c", "o", "c"]);
        assert_eq!(told, (0..6).map(|done| (done, 6)).collect::<Vec<_>>());
        let ratio = SpeedRatio::of(&found).expect("pairs");
        assert_eq!((ratio.pairs, ratio.decode.median), (3, 1.5));
        assert!(ratio.decode.most - ratio.decode.least < 1e-9);
        let originals: Vec<Speed> = found.iter().map(|p| p.original).collect();
        assert_eq!(typical(&originals).map(|s| s.decode_tokens_per_second), Some(100.0));
        let told = busy(&originals, &[ratio]).expect("busy");
        assert!(told.contains("50 to 100 tok/s"), "{told}");
        assert_eq!(busy(&[speed(100.0), speed(110.0)], &[]), None);
        assert_eq!((busy(&[], &[]), typical(&[]), SpeedRatio::of(&[])), (None, None, None));
    }

    #[test]
    fn a_caller_that_stops_is_heard_between_measurements() {
        let stopped = pairs(Path::new("o"), Path::new("c"), "speed", PAIRS, &mut |_| Ok(speed(1.0)), &mut |event| {
            !matches!(event, Event::Stage { done: 1, .. })
        });
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }
}
