//! The evaluation of an estimator: the area under the curve of recovered performance, beside baselines.

use serde::Serialize;

use super::features::Features;
use super::folds::assign;
use super::language::Language;
use super::traffic::Labelled;
use super::train::{digest, train_on};
use super::words::Random;
use super::{Calibration, Estimator, Target, Training};
use crate::error::{GatewayError, Result};

/// The number of resamples of the bootstrap, and its seed.
const RESAMPLES: usize = 1000;
const SEED: u64 = 0x686f_6e65;
/// The shares kept local of the operating points.
const SHARES: [f64; 3] = [0.75, 0.5, 0.25];

/// A figure with the bounds of its 95% interval: the 2.5th and the 97.5th percentile of the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// The measures of a score that orders requests.
///
/// With the requests of the highest scores in the cloud, the performance gap recovered (PGR) is the quality above the local model's,
/// divided by the cloud's above the local model's. APGR is its mean over all shares of requests in the cloud, and CPT50 the smallest
/// share that recovers half of the gap (Ong et al. 2024, arXiv 2406.18665, section 3.3). Equal scores are taken in random order, on average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Curve {
    /// The average performance gap recovered; 0.5 for a random order.
    pub apgr: Interval,
    /// The share of requests in the cloud that recovers half of the gap, 0 to 1.
    pub cpt50: Interval,
}

/// The measures that need no estimator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Baselines {
    /// The number of words as the score.
    pub length: Curve,
    /// The doubt of the local model as the score: 1 minus the probability of its most likely first token; `None` where a request lacks its
    /// confidence.
    pub doubt: Option<Curve>,
    /// The gain itself as the score: the best that any order can do. It can exceed 1 where the local model is sometimes the better one.
    pub oracle: Curve,
    /// The APGR and the CPT50 of a random order.
    pub random: f64,
    /// The mean quality of the local model alone, 0 to 1.
    pub local_accuracy: f64,
    /// The mean quality of the cloud alone, 0 to 1.
    pub cloud_accuracy: f64,
}

/// An operating point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// The threshold on the gain.
    pub threshold: f32,
    /// The share of requests that stay on the device, 0 to 1.
    pub kept_local: f64,
    /// The mean quality of the answers, 0 to 1.
    pub accuracy: f64,
    /// The mean quality of the cloud's answers to the requests that it gets, 0 to 1.
    pub escalated_cloud_accuracy: Option<f64>,
    /// The share of all requests that stay although only the cloud is right, 0 to 1.
    pub false_local: f64,
    /// The conformal bound on that share for the next request.
    pub false_local_bound: f64,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The number of requests.
    pub requests: usize,
    /// The estimator's scores.
    pub curve: Curve,
    /// The APGR minus that of the number of words, with the interval of the paired bootstrap.
    pub above_length: Interval,
    /// The estimator's scores without the local model's confidence, if the scores use it.
    pub without_confidence: Option<Curve>,
    /// The APGR minus that without confidence, with the interval of the paired bootstrap.
    pub above_without_confidence: Option<Interval>,
    /// The measures to compare with.
    pub baselines: Baselines,
    /// The operating points that keep 75%, 50% and 25% of the requests on the device.
    pub points: Vec<Point>,
    /// `true` if these requests are the estimator's own training data, so that the figures flatter it.
    pub is_training_data: bool,
}

/// Scores every row by an estimator that was trained on the other folds, and judges all scores together. With `keep_groups` in the
/// training's settings, folds keep groups together, so that every row is of an unseen group; inner folds choose the penalties.
///
/// # Errors
/// [`GatewayError::UnfitTraffic`] as for [`super::train`] and for [`evaluate`].
pub fn cross_validate(rows: &[Labelled], ordinary: &[&str], folds: usize, training: &Training) -> Result<Evaluation> {
    let language = Language::train(ordinary.iter().copied());
    let features: Vec<Features> = rows.iter().map(|row| Features::of(&row.prompt, &language)).collect();
    let all: Vec<&Labelled> = rows.iter().collect();
    let fold_of = assign(&all, folds, training.seed, training.keep_groups);
    let mut scores = Scores::of(rows.len());
    for fold in 0..folds {
        let (train, test): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|at| fold_of[*at] != fold);
        let inside: Vec<&Labelled> = train.iter().map(|at| all[*at]).collect();
        let known: Vec<&Features> = train.iter().map(|at| &features[*at]).collect();
        let estimator = train_on(&inside, &known, &language, training)?;
        test.into_iter().for_each(|at| scores.set(at, &estimator, estimator.of_features(&features[at]).gain, all[at]));
    }
    judge(&all, &scores, &training.source)
}

/// Judges an estimator on labelled traffic. Rows with the local model's confidence are scored with it if the estimator can.
///
/// # Errors
/// [`GatewayError::UnfitTraffic`] if the cloud is not better than the local model on the whole, so that there is no gap to recover.
pub fn evaluate(estimator: &Estimator, rows: &[Labelled], source: &str) -> Result<Evaluation> {
    let rows: Vec<&Labelled> = rows.iter().collect();
    let mut scores = Scores::of(rows.len());
    rows.iter().enumerate().for_each(|(at, row)| scores.set(at, estimator, estimator.estimate(&row.prompt).gain, row));
    let mut evaluation = judge(&rows, &scores, source)?;
    evaluation.is_training_data = digest(&rows) == estimator.provenance().digest;
    Ok(evaluation)
}

impl Estimator {
    /// Scores a labelled request, with the local model's confidence where both know it.
    pub(super) fn score(&self, row: &Labelled) -> f32 {
        let gain = self.estimate(&row.prompt).gain;
        row.confidence.and_then(|confidence| self.corrected(gain, &confidence)).unwrap_or(gain)
    }
}

/// The scores of rows, with the local model's confidence where it is known, and without.
struct Scores {
    with: Vec<f32>,
    without: Vec<f32>,
    /// `true` if they differ.
    are_corrected: bool,
}

impl Scores {
    fn of(rows: usize) -> Self {
        Self { with: vec![0.0; rows], without: vec![0.0; rows], are_corrected: false }
    }

    fn set(&mut self, at: usize, estimator: &Estimator, gain: f32, row: &Labelled) {
        let corrected = row.confidence.and_then(|confidence| estimator.corrected(gain, &confidence));
        self.are_corrected |= corrected.is_some();
        (self.with[at], self.without[at]) = (corrected.unwrap_or(gain), gain);
    }
}

/// Returns the doubt of the local model in its first tokens; `None` where a row lacks its confidence.
fn doubt(rows: &[&Labelled]) -> Option<Vec<f32>> {
    rows.iter().map(|row| row.confidence.map(|confidence| 1.0 - confidence.top_probability)).collect()
}

fn judge(rows: &[&Labelled], scores: &Scores, source: &str) -> Result<Evaluation> {
    let gains: Vec<f64> = rows.iter().map(|row| f64::from(row.gain())).collect();
    if gains.iter().sum::<f64>() <= 0.0 {
        return Err(GatewayError::UnfitTraffic {
            file: source.to_owned(),
            lines: rows.len(),
            found: "a cloud that is not better than the local model on the whole".to_owned(),
            expected: "a gap that a router can recover".to_owned(),
        });
    }
    let lengths: Vec<f32> = rows.iter().map(|row| row.prompt.text.split_whitespace().count() as f32).collect();
    let own: Vec<f32> = gains.iter().map(|gain| *gain as f32).collect();
    let mean =
        |of: &dyn Fn(&Labelled) -> f32| rows.iter().map(|row| f64::from(of(row))).sum::<f64>() / rows.len() as f64;
    // The optional ones are last, so that the others keep their numbers.
    let (doubt, without) = (doubt(rows), scores.are_corrected.then_some(&scores.without[..]));
    let optional = [doubt.as_deref(), without];
    let all = [&scores.with[..], &lengths, &own].into_iter().chain(optional.into_iter().flatten());
    let orders: Vec<Order> = all.map(Order::new).collect();
    let draws = resampled(&orders, &gains);
    let curve = |at: usize| {
        let (apgr, cpt50) = orders[at].measure(&gains, &vec![1; gains.len()]);
        let of = |part: fn(&(f64, f64)) -> f64| draws.iter().map(|draw| part(&draw[at])).collect::<Vec<_>>();
        Curve { apgr: interval(apgr, of(|m| m.0)), cpt50: interval(cpt50, of(|m| m.1)) }
    };
    let curves = [0, 1, 2].map(curve);
    let above = |at: usize| {
        let difference = curves[0].apgr.value - curve(at).apgr.value;
        interval(difference, draws.iter().map(|draw| draw[0].0 - draw[at].0).collect())
    };
    let (of_doubt, of_without) = (doubt.is_some().then_some(3), without.map(|_| orders.len() - 1));
    Ok(Evaluation {
        requests: rows.len(),
        curve: curves[0],
        above_length: above(1),
        without_confidence: of_without.map(curve),
        above_without_confidence: of_without.map(above),
        baselines: Baselines {
            length: curves[1],
            doubt: of_doubt.map(curve),
            oracle: curves[2],
            random: 0.5,
            local_accuracy: mean(&|row| row.local),
            cloud_accuracy: mean(&|row| row.cloud),
        },
        points: points(rows, &scores.with),
        is_training_data: false,
    })
}

fn points(rows: &[&Labelled], scores: &[f32]) -> Vec<Point> {
    let needs: Vec<bool> = rows.iter().map(|row| row.needs_cloud()).collect();
    let calibration = Calibration::of(scores, &needs);
    let point = |share: f64| {
        let threshold = calibration.threshold(Target::KeepLocal(share));
        let (mut quality, mut of_cloud, mut escalated, mut wrong) = (0.0, 0.0, 0, 0);
        for (row, score) in rows.iter().zip(scores) {
            if *score >= threshold.gain {
                (quality, of_cloud, escalated) = (quality + row.cloud, of_cloud + f64::from(row.cloud), escalated + 1);
            } else {
                (quality, wrong) = (quality + row.local, wrong + usize::from(row.needs_cloud()));
            }
        }
        let n = rows.len() as f64;
        Point {
            threshold: threshold.gain,
            kept_local: 1.0 - f64::from(escalated) / n,
            accuracy: f64::from(quality) / n,
            escalated_cloud_accuracy: (escalated > 0).then(|| of_cloud / f64::from(escalated)),
            false_local: wrong as f64 / n,
            false_local_bound: threshold.false_local_bound,
        }
    };
    SHARES.map(point).to_vec()
}

/// Rows in the order in which they go to the cloud, with the places where equal scores end.
struct Order {
    rows: Vec<u32>,
    ends: Vec<u32>,
}

impl Order {
    fn new(scores: &[f32]) -> Self {
        let mut rows: Vec<u32> = (0..scores.len() as u32).collect();
        let score = |row: u32| scores[row as usize];
        rows.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
        let last = |at: &usize| *at + 1 == rows.len() || score(rows[*at]) != score(rows[at + 1]);
        let ends = (0..rows.len()).filter(last).map(|at| at as u32 + 1).collect();
        Self { rows, ends }
    }

    /// Computes APGR and CPT50 where row `i` occurs `counts[i]` times.
    fn measure(&self, gains: &[f64], counts: &[u32]) -> (f64, f64) {
        let n: f64 = counts.iter().map(|count| f64::from(*count)).sum();
        let total: f64 = gains.iter().zip(counts).map(|(gain, count)| gain * f64::from(*count)).sum();
        let (mut share, mut recovered, mut area, mut half, mut begin) = (0.0, 0.0, 0.0, None, 0);
        for end in &self.ends {
            let tied = &self.rows[begin..*end as usize];
            let count = |row: &u32| f64::from(counts[*row as usize]);
            let wide = tied.iter().map(count).sum::<f64>() / n;
            let high = tied.iter().map(|row| count(row) * gains[*row as usize]).sum::<f64>() / total;
            area += wide * (recovered + high / 2.0);
            if half.is_none() && recovered + high >= 0.5 {
                half = Some(share + if high > 0.0 { wide * (0.5 - recovered) / high } else { wide });
            }
            (share, recovered, begin) = (share + wide, recovered + high, *end as usize);
        }
        (area, half.unwrap_or(1.0))
    }
}

/// Computes the measures of each order on resampled rows, the same rows for each.
fn resampled(orders: &[Order], gains: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let mut random = Random::new(SEED);
    let mut draw = |_| {
        let mut counts = vec![0; gains.len()];
        (0..gains.len()).for_each(|_| counts[random.below(gains.len())] += 1);
        orders.iter().map(|order| order.measure(gains, &counts)).collect::<Vec<_>>()
    };
    (0..RESAMPLES).map(&mut draw).filter(|draw| draw.iter().all(|m| m.0.is_finite())).collect()
}

fn interval(value: f64, mut draws: Vec<f64>) -> Interval {
    draws.sort_by(f64::total_cmp);
    let at =
        |share: f64| draws.get(((draws.len().max(1) - 1) as f64 * share).round() as usize).copied().unwrap_or(value);
    Interval { value, low: at(0.025), high: at(0.975) }
}

/// Returns how well scores order gains: the sum over rows of the gain times the rank of the score.
pub(super) fn ordered_gain(scores: &[f32], gains: &[f64]) -> f64 {
    let order = Order::new(scores);
    let (mut sum, mut begin) = (0.0, 0);
    for end in &order.ends {
        let tied = &order.rows[begin..*end as usize];
        let rank = scores.len() as f64 - (begin as f64 + f64::from(*end)) / 2.0;
        sum += rank * tied.iter().map(|row| gains[*row as usize]).sum::<f64>();
        begin = *end as usize;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(scores: &[f32], gains: &[f64]) -> (f64, f64) {
        Order::new(scores).measure(gains, &vec![1; gains.len()])
    }

    #[test]
    fn apgr_is_the_mean_gap_recovered() {
        // One of four gains: recovered at once, after half, or last.
        let gains = [1.0, 0.0, 0.0, 0.0];
        assert_eq!(measure(&[9.0, 1.0, 1.0, 1.0], &gains), (0.875, 0.125));
        assert_eq!(measure(&[1.0; 4], &gains), (0.5, 0.5));
        assert_eq!(measure(&[0.0, 1.0, 2.0, 3.0], &gains), (0.125, 0.875));
        // The local model is better once: the gap is recovered above 1 in between.
        let (apgr, cpt50) = measure(&[3.0, 2.0, 1.0, 0.0], &[1.0, 1.0, 0.0, -1.0]);
        assert_eq!((apgr, cpt50), (0.25 * (0.5 + 1.5 + 2.0 + 1.5), 0.125));
    }

    #[test]
    fn the_oracle_is_best_and_the_ordered_gain_ranks_like_apgr() {
        let mut random = Random::new(2);
        let gains: Vec<f64> = (0..300).map(|_| random.below(3) as f64 - 0.8).collect();
        let own: Vec<f32> = gains.iter().map(|g| *g as f32).collect();
        let noisy: Vec<f32> = own.iter().map(|g| g + random.below(4) as f32).collect();
        let (best, middle) = (measure(&own, &gains), measure(&noisy, &gains));
        assert!(best.0 > middle.0 && middle.0 > 0.5 && best.1 < middle.1, "{best:?} {middle:?}");
        let total: f64 = gains.iter().sum();
        for scores in [&own, &noisy] {
            let apgr = ordered_gain(scores, &gains) / (300.0 * total);
            assert!((apgr - measure(scores, &gains).0).abs() < 1e-9);
        }
    }

    #[test]
    fn confidence_is_judged_beside_the_scores_without_it() {
        use super::super::Confidence;
        // Prompts say nothing; the local model is right where it is sure.
        let row = |i: usize| {
            let top_probability = (i * 37 % 100) as f32 / 100.0;
            let confidence =
                Confidence { top_probability, margin: top_probability / 2.0, entropy: 1.0, agreement: None };
            let local = if top_probability > 0.5 { 1.0 } else { 0.0 };
            Labelled { confidence: Some(confidence), ..Labelled::test(&format!("prompt {}", i % 7), local, 1.0, None) }
        };
        let mut rows: Vec<Labelled> = (0..300).map(row).collect();
        let training = Training { source: "f".to_owned(), note: String::new(), seed: 0, keep_groups: false };
        let found = cross_validate(&rows, &["a prompt"], 5, &training).expect("an evaluation");
        let without = found.without_confidence.expect("rows with confidence");
        assert!(found.curve.apgr.value > 0.7 && without.apgr.value < 0.6, "{found:?}");
        assert!(found.above_without_confidence.is_some_and(|above| above.low > 0.1), "{found:?}");
        assert!(found.baselines.doubt.is_some_and(|doubt| doubt.apgr.value > 0.7), "{found:?}");
        rows.iter_mut().for_each(|row| row.confidence = None);
        let plain = cross_validate(&rows, &["a prompt"], 5, &training).expect("an evaluation");
        assert!(plain.without_confidence.is_none() && plain.baselines.doubt.is_none());
        assert_eq!(plain.curve, without);
    }

    #[test]
    fn a_cloud_that_is_no_better_is_refused() {
        let row = Labelled::test("a", 1.0, 1.0, None);
        let error = judge(&[&row], &Scores::of(1), "f").expect_err("no gap").to_string();
        assert_eq!(
            error,
            "f: lines 1 to 1: found a cloud that is not better than the local model on the whole, expected a gap that a router can recover"
        );
    }
}
