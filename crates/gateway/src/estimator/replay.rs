//! The replay of a log: what routing by a threshold would have saved, and how far the log is from the training data.

use serde::Serialize;

use super::features::{Features, MEASURES};
use super::traffic::Labelled;
use super::{Estimator, Target, Threshold};
use crate::accounting::{Prices, Usage};

/// The share of unfamiliar prompts, and the shift of a measure in standard deviations, from which drift is said. A shift of one half is
/// Cohen's medium effect (1988).
const UNFAMILIAR: f64 = 0.1;
const SHIFTED: f32 = 0.5;
/// The fewest requests on which drift can be judged.
const FEWEST: usize = 100;

/// The distance of traffic from the training data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Drift {
    /// The share of prompts that are unlike the training data, 0 to 1; about 0.01 on the training data itself.
    pub unfamiliar: f64,
    /// The measure whose mean differs most from the training data's.
    pub measure: &'static str,
    /// That difference in standard deviations of the training data.
    pub shift: f32,
    /// `true` if either is large, or `None` for fewer than 100 requests.
    pub has_drifted: Option<bool>,
}

/// The result of a replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// The number of requests.
    pub requests: usize,
    /// The threshold on the gain, with the held-out requests of the training.
    pub threshold: Threshold,
    /// The threshold on gains that are corrected by the local model's confidence, if the log has it and the estimator can use it.
    pub corrected_threshold: Option<Threshold>,
    /// The share of requests that stay on the device, 0 to 1.
    pub kept_local: f64,
    /// The share of kept requests whose local answer is as good as the cloud's, 0 to 1.
    pub agreement: Option<f64>,
    /// The cost with the cloud alone, and the cost saved; `None` without prices, or where a request has no token counts.
    pub cloud_only_cost: Option<f64>,
    /// The cost of the requests that stay on the device.
    pub saved_cost: Option<f64>,
    /// The mean quality of the answers, 0 to 1.
    pub accuracy: f64,
    /// The distance from the training data.
    pub drift: Drift,
}

/// Replays traffic with the threshold for a target.
#[must_use]
pub fn replay(estimator: &Estimator, rows: &[Labelled], target: Target, prices: Option<Prices>) -> Replay {
    let threshold = estimator.threshold(target);
    let corrected_threshold = rows
        .iter()
        .any(|row| row.confidence.is_some())
        .then(|| estimator.calibration(true).map(|calibration| calibration.threshold(target)))
        .flatten();
    let stays = |row: &Labelled| {
        let limit = corrected_threshold.filter(|_| row.confidence.is_some()).unwrap_or(threshold);
        estimator.score(row) < limit.gain
    };
    let kept_rows: Vec<bool> = rows.iter().map(stays).collect();
    let (mut kept, mut good, mut quality) = (0, 0, 0.0);
    for (row, stays) in rows.iter().zip(&kept_rows) {
        if *stays {
            (kept, good, quality) = (kept + 1, good + usize::from(row.is_as_good()), quality + f64::from(row.local));
        } else {
            quality += f64::from(row.cloud);
        }
    }
    let cost = |row: &Labelled| {
        row.tokens.zip(prices).map(|((input, output), prices)| prices.cost(Usage { input, output, cached_input: 0 }))
    };
    let costs: Option<Vec<f64>> = rows.iter().map(cost).collect();
    let saved =
        |costs: &Vec<f64>| costs.iter().zip(&kept_rows).filter(|(_, stays)| **stays).map(|(cost, _)| cost).sum();
    Replay {
        requests: rows.len(),
        threshold,
        corrected_threshold,
        kept_local: kept as f64 / rows.len().max(1) as f64,
        agreement: (kept > 0).then(|| good as f64 / kept as f64),
        saved_cost: costs.as_ref().map(saved),
        cloud_only_cost: costs.map(|costs| costs.iter().sum()),
        accuracy: quality / rows.len().max(1) as f64,
        drift: drift(estimator, rows),
    }
}

fn drift(estimator: &Estimator, rows: &[Labelled]) -> Drift {
    let n = rows.len().max(1) as f32;
    let (mut sums, mut unfamiliar) = ([0.0f32; MEASURES.len()], 0.0);
    for row in rows {
        let features = Features::of(&row.prompt, &estimator.language);
        let standard = estimator.head.standardise(&features.measures);
        sums.iter_mut().zip(standard).for_each(|(sum, value)| *sum += value);
        unfamiliar += f64::from(u8::from(estimator.of_features(&features).is_unfamiliar)) / f64::from(n);
    }
    let shifts = MEASURES.into_iter().zip(sums.map(|sum| sum / n));
    let (measure, shift) = shifts.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap_or(("", 0.0));
    let has_drifted = (rows.len() >= FEWEST).then_some(unfamiliar > UNFAMILIAR || shift.abs() > SHIFTED);
    Drift { unfamiliar, measure, shift, has_drifted }
}

#[cfg(test)]
mod tests {
    use super::super::{Training, read_traffic, train};
    use super::*;

    /// Sums are hard for the local model, greetings are not.
    fn traffic(n: usize) -> Vec<Labelled> {
        let line = |i: usize| {
            let (prompt, local) = match i % 2 {
                0 => (format!("What is {i} + {i} * {i}?"), i.is_multiple_of(10)),
                _ => (format!("Say hello to my friend number {i}"), i % 10 != 1),
            };
            let tokens = "\"prompt_tokens\": 1000, \"completion_tokens\": 100";
            format!("{{\"prompt\": {prompt:?}, \"local\": {local}, \"cloud\": true, {tokens}}}")
        };
        let text: Vec<String> = (0..n).map(line).collect();
        read_traffic("log", &text.join("\n")).expect("traffic")
    }

    fn trained() -> Estimator {
        let training = Training { source: "log".to_owned(), note: String::new(), seed: 0, keep_groups: true };
        train(&traffic(200), &["what is it to say"], &training).expect("an estimator")
    }

    #[test]
    fn sums_go_to_the_cloud_and_greetings_stay() {
        let estimator = trained();
        let prices = Prices {
            input: 1.0.try_into().expect("a price"),
            output: 10.0.try_into().expect("a price"),
            cached_input: None,
        };
        let found = replay(&estimator, &traffic(100), Target::KeepLocal(0.5), Some(prices));
        assert!((0.45..=0.55).contains(&found.kept_local), "{found:?}");
        assert!(found.agreement.is_some_and(|share| share > 0.75) && found.accuracy > 0.85, "{found:?}");
        assert!((found.cloud_only_cost.expect("a cost") - 100.0 * 0.002).abs() < 1e-9);
        assert!((found.saved_cost.expect("a cost") / 0.2 - found.kept_local).abs() < 1e-9);
        assert_eq!(found.drift.has_drifted, Some(false), "{found:?}");
        let unpriced = replay(&estimator, &traffic(100), Target::KeepLocal(0.5), None);
        assert_eq!((unpriced.saved_cost, unpriced.kept_local), (None, found.kept_local));
    }

    #[test]
    fn other_traffic_is_noticed() {
        let strange =
            |i: usize| Labelled::test(&format!("zymurgy quark {i} flotsam of vellum, jetsam"), 1.0, 1.0, None);
        let rows: Vec<Labelled> = (0..100).map(strange).collect();
        let found = replay(&trained(), &rows, Target::KeepLocal(0.5), None).drift;
        assert!(found.has_drifted == Some(true) && found.unfamiliar > 0.9, "{found:?}");
        assert_eq!(replay(&trained(), &rows[..50], Target::KeepLocal(0.5), None).drift.has_drifted, None);
    }

    #[test]
    fn files_and_explanations_hold_the_whole_estimator() {
        let estimator = trained();
        let bytes = estimator.to_bytes().expect("bytes");
        let read = Estimator::from_bytes("f", &bytes).expect("an estimator");
        assert_eq!(read, estimator);
        assert_eq!(trained().to_bytes().expect("bytes"), bytes, "training is deterministic");
        for row in traffic(6) {
            let found = estimator.explain(&row.prompt);
            let sum: f32 = found.contributions.iter().map(|c| c.contribution).sum();
            assert!((found.bias + sum - found.estimate.gain).abs() < 1e-4, "{found:?}");
        }
        for cut in [0, 5, 11, 300, bytes.len() - 1] {
            assert!(Estimator::from_bytes("f", &bytes[..cut]).is_err(), "{cut}");
        }
        let mut wrong = bytes;
        wrong[8..12].fill(255);
        let error = Estimator::from_bytes("f", &wrong).expect_err("too long a head").to_string();
        assert!(error.starts_with("f: found a head of 4294967295 bytes, expected at most"), "{error}");
    }

    #[test]
    fn one_class_is_no_training_data() {
        let rows: Vec<Labelled> = (0..30).map(|i| Labelled::test(&format!("a {i}"), 0.0, 1.0, None)).collect();
        let training = Training { source: "log".to_owned(), note: String::new(), seed: 0, keep_groups: true };
        let error = train(&rows, &[], &training).expect_err("one class").to_string();
        assert!(
            error.starts_with("log: lines 1 to 30: found one class: in all 30 requests, `cloud` minus `local` is 1"),
            "{error}"
        );
        let error = train(&rows[..3], &[], &training).expect_err("too few").to_string();
        assert!(error.ends_with("found 3 requests, expected at least 20"), "{error}");
    }
}
