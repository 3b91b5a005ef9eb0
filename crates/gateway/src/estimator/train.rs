//! Training: penalties by inner folds, weights from all rows, thresholds from held-out scores.

use super::calibration::Calibration;
use super::confidence::Corrected;
use super::evaluate::ordered_gain;
use super::features::{Features, GRAM_BUCKETS, MEASURES};
use super::folds::{assign, groups};
use super::language::{Language, bucket};
use super::ridge::{DENSE, Penalty, Row, Weights, fit};
use super::traffic::Labelled;
use super::words::hash;
use super::{Estimator, Head, Provenance, SEEN_BITS};
use crate::error::{GatewayError, Result};

/// The penalties among which the inner folds choose.
const MEASURE_PENALTY: f64 = 300.0;
const GRAM_PENALTIES: [f64; 4] = [3.0, 10.0, 30.0, 100.0];
/// The number of inner folds.
const INNER_FOLDS: usize = 5;
/// The fewest rows that training accepts.
const FEWEST_ROWS: usize = 20;
/// The fewest rows with the local model's confidence from which a correction is fitted.
const FEWEST_CONFIDENT: usize = 100;

/// The settings of a training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Training {
    /// The name of the data, for errors and for the provenance.
    pub source: String,
    /// Its origin and licence.
    pub note: String,
    /// The seed of the folds.
    pub seed: u64,
    /// `true` to keep groups together in folds, so that thresholds are those of unseen groups.
    pub keep_groups: bool,
}

/// Trains an estimator on labelled traffic. `ordinary` are texts of ordinary language for the n-gram model.
///
/// # Errors
/// [`GatewayError::UnfitTraffic`] for fewer than 20 rows, and for rows of one class: the gain is the same everywhere.
pub fn train(rows: &[Labelled], ordinary: &[&str], training: &Training) -> Result<Estimator> {
    let language = Language::train(ordinary.iter().copied());
    let features: Vec<Features> = rows.iter().map(|row| Features::of(&row.prompt, &language)).collect();
    let rows: Vec<&Labelled> = rows.iter().collect();
    train_on(&rows, &features.iter().collect::<Vec<_>>(), &language, training)
}

/// Trains an estimator on rows whose features are known.
pub(super) fn train_on(
    rows: &[&Labelled],
    features: &[&Features],
    language: &Language,
    training: &Training,
) -> Result<Estimator> {
    check(rows, &training.source)?;
    let mut head = standard(features);
    let regression: Vec<Row> = features
        .iter()
        .map(|features| Row { measures: head.standardise(&features.measures), grams: features.grams.clone() })
        .collect();
    let gains: Vec<f64> = rows.iter().map(|row| f64::from(row.gain())).collect();
    let folds = assign(rows, INNER_FOLDS, training.seed, training.keep_groups);
    let (penalty, held_out) = choose(&regression, &gains, &folds);
    let weights = fit(&regression.iter().collect::<Vec<_>>(), &gains, penalty);

    let needs_cloud: Vec<bool> = rows.iter().map(|row| row.needs_cloud()).collect();
    head.calibration = Calibration::of(&held_out, &needs_cloud);
    head.corrected = correction(rows, &held_out);
    head.provenance = provenance(rows, training);
    let (grams, step) = quantise(&weights);
    head.weights = weights.measures.iter().map(|w| *w as f32).collect();
    (head.bias, head.step, head.language_total) = (weights.bias as f32, step, language.parts().2);
    let (seen, familiar_from) = vocabulary(features);
    head.familiar_from = familiar_from;
    Ok(Estimator { language: language.clone(), head, grams, seen })
}

fn check(rows: &[&Labelled], source: &str) -> Result<()> {
    let unfit = |found: String, expected: &str| {
        Err(GatewayError::UnfitTraffic {
            file: source.to_owned(),
            lines: rows.len(),
            found,
            expected: expected.to_owned(),
        })
    };
    if rows.len() < FEWEST_ROWS {
        return unfit(format!("{} requests", rows.len()), &format!("at least {FEWEST_ROWS}"));
    }
    let first = rows[0].gain();
    if rows.iter().all(|row| row.gain() == first) {
        let found = format!("one class: in all {} requests, `cloud` minus `local` is {first}", rows.len());
        return unfit(found, "requests on which the cloud is better and others on which it is not");
    }
    Ok(())
}

/// Returns a head with the means and deviations of the measures over the prompts that have them, and everything else empty.
fn standard(features: &[&Features]) -> Head {
    let known = |at: usize| features.iter().map(move |f| f64::from(f.measures[at])).filter(|value| !value.is_nan());
    let mean = |at: usize| known(at).sum::<f64>() / known(at).count().max(1) as f64;
    let means: Vec<f64> = (0..DENSE).map(mean).collect();
    let scale = |at: usize| {
        let variance =
            known(at).map(|value| (value - means[at]).powi(2)).sum::<f64>() / known(at).count().max(1) as f64;
        if variance > 1e-12 { (1.0 / variance.sqrt()) as f32 } else { 0.0 }
    };
    Head {
        measures: MEASURES.iter().map(|name| (*name).to_owned()).collect(),
        scales: (0..DENSE).map(scale).collect(),
        means: means.iter().map(|mean| *mean as f32).collect(),
        weights: Vec::new(),
        bias: 0.0,
        step: 0.0,
        language_total: 0.0,
        familiar_from: 0.0,
        calibration: Calibration::default(),
        corrected: None,
        provenance: Provenance::default(),
    }
}

/// Chooses the penalty that orders held-out rows best, and returns it with the held-out scores.
fn choose(rows: &[Row], gains: &[f64], folds: &[usize]) -> (Penalty, Vec<f32>) {
    let try_penalty = |grams: f64| {
        let penalty = Penalty { measures: MEASURE_PENALTY, grams };
        let mut scores = vec![0.0f32; rows.len()];
        for fold in 0..INNER_FOLDS {
            let inside = |at: &usize| folds[*at] != fold;
            let (train, test): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(inside);
            let targets: Vec<f64> = train.iter().map(|at| gains[*at]).collect();
            let weights = fit(&train.iter().map(|at| &rows[*at]).collect::<Vec<_>>(), &targets, penalty);
            test.into_iter().for_each(|at| scores[at] = weights.predict(&rows[at]) as f32);
        }
        (ordered_gain(&scores, gains), penalty, scores)
    };
    let mut best = try_penalty(GRAM_PENALTIES[0]);
    for grams in &GRAM_PENALTIES[1..] {
        let next = try_penalty(*grams);
        if next.0 > best.0 {
            best = next;
        }
    }
    (best.1, best.2)
}

/// Fits the correction by confidence to held-out scores, if enough rows have it.
fn correction(rows: &[&Labelled], held_out: &[f32]) -> Option<Corrected> {
    let mut inputs = Vec::new();
    let (mut gains, mut needs_cloud) = (Vec::new(), Vec::new());
    for (row, score) in rows.iter().zip(held_out) {
        if let Some(confidence) = row.confidence {
            inputs.push((*score, confidence));
            gains.push(f64::from(row.gain()));
            needs_cloud.push(row.needs_cloud());
        }
    }
    (inputs.len() >= FEWEST_CONFIDENT).then(|| Corrected::fit(&inputs, &gains, &needs_cloud))
}

/// Rounds the weights of the n-grams to multiples of a step.
fn quantise(weights: &Weights) -> (Vec<i8>, f32) {
    let largest = weights.grams.iter().fold(0.0f64, |most, w| most.max(w.abs()));
    let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    let mut grams: Vec<i8> = weights.grams.iter().map(|w| (w / step).round() as i8).collect();
    grams.resize(GRAM_BUCKETS, 0);
    (grams, step as f32)
}

/// Returns the table of words that at least two prompts have, and the 1st percentile of the share of such words in a prompt.
fn vocabulary(features: &[&Features]) -> (Vec<u8>, f32) {
    let mut counts = vec![0u8; SEEN_BITS];
    for hash in features.iter().flat_map(|features| &features.vocabulary) {
        let count = &mut counts[bucket(*hash, SEEN_BITS)];
        *count = count.saturating_add(1);
    }
    let known = |hash: &&u64| counts[bucket(**hash, SEEN_BITS)] > 1;
    let share = |f: &&&Features| f.vocabulary.iter().filter(known).count() as f32 / f.vocabulary.len() as f32;
    let mut shares: Vec<f32> = features.iter().filter(|f| !f.vocabulary.is_empty()).map(|f| share(&f)).collect();
    shares.sort_by(f32::total_cmp);
    let mut seen = vec![0u8; SEEN_BITS / 8];
    for (bit, _) in counts.iter().enumerate().filter(|(_, count)| **count > 1) {
        seen[bit / 8] |= 1 << (bit % 8);
    }
    (seen, shares.get(shares.len() / 100).copied().unwrap_or(0.0))
}

fn provenance(rows: &[&Labelled], training: &Training) -> Provenance {
    Provenance {
        source: training.source.clone(),
        note: training.note.clone(),
        digest: digest(rows),
        requests: rows.len() as u32,
        groups: groups(rows).map_or(0, |names| names.len() as u32),
        seed: training.seed,
    }
}

/// Hashes the prompts and labels of rows.
pub(super) fn digest(rows: &[&Labelled]) -> String {
    let row = |sum: u64, row: &&Labelled| {
        let labels = u64::from(row.local.to_bits()) << 32 | u64::from(row.cloud.to_bits());
        sum.wrapping_mul(31).wrapping_add(hash(row.prompt.text.as_bytes()) ^ labels)
    };
    format!("{:016x}", rows.iter().fold(0, row))
}
