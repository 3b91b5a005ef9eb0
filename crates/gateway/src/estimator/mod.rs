//! The estimator: the gain that the cloud's answer to a request would have over the local one.
//!
//! The *gain* is the cloud's expected quality minus the local one, -1 to 1. It is a linear function of measures of the prompt
//! ([`MEASURES`]) and of hashed words and pairs of words, fitted by ridge regression to [`Labelled`] traffic. A second regression
//! corrects it by the [`Confidence`] of the local model, if the traffic has it. Held-out scores give the thresholds
//! ([`Calibration`]): a request goes to the cloud if its gain is at least the threshold.
//!
//! An estimator has 0.3 million parameters of 8 bits. Training is deterministic.

mod calibration;
mod confidence;
mod evaluate;
mod explain;
mod features;
mod file;
mod folds;
mod language;
mod prompt;
mod replay;
mod ridge;
mod traffic;
mod train;
mod words;

use serde::{Deserialize, Serialize};

use confidence::Corrected;
use features::Features;
use language::{Language, bucket};
use ridge::DENSE;

pub use calibration::{Calibration, Target, Threshold};
pub use confidence::Confidence;
pub use evaluate::{Baselines, Curve, Evaluation, Interval, Point, cross_validate, evaluate};
pub use explain::{Contribution, Explanation};
pub use features::MEASURES;
pub use prompt::{Problem, Prompt};
pub use replay::{Drift, Replay, replay};
pub use traffic::{Labelled, read_traffic};
pub use train::{Training, train};

/// The standardised measures lie within this many standard deviations of the training data's mean.
const MOST_DEVIATIONS: f32 = 4.0;
/// The bits of the table of words that training saw, a power of two.
const SEEN_BITS: usize = 1 << 17;

/// The training data of an estimator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The name of the file.
    pub source: String,
    /// Its origin and licence, as whoever trained the estimator stated them.
    pub note: String,
    /// A 64-bit hash of its requests, in hexadecimal.
    pub digest: String,
    /// The number of requests, and of groups among them.
    pub requests: u32,
    /// The number of groups; 0 where rows have none.
    pub groups: u32,
    /// The seed of the folds.
    pub seed: u64,
}

/// A trained estimator.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimator {
    language: Language,
    head: Head,
    /// The weights of the n-grams as multiples of `head.step`.
    grams: Vec<i8>,
    /// A bit for each bucket that a word of at least two training prompts fell into.
    seen: Vec<u8>,
}

/// The part of an estimator that is no table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// The measures, in order.
    measures: Vec<String>,
    /// Their means and the inverses of their standard deviations in the training data; 0 for one that is constant.
    means: Vec<f32>,
    scales: Vec<f32>,
    weights: Vec<f32>,
    bias: f32,
    step: f32,
    /// The total of the n-gram model.
    language_total: f32,
    /// The share of known words below which a prompt is unlike the training data: its 1st percentile.
    familiar_from: f32,
    calibration: Calibration,
    corrected: Option<Corrected>,
    provenance: Provenance,
}

/// The estimate for a request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The expected gain of the cloud's answer over the local one, -1 to 1.
    pub gain: f32,
    /// The share of the prompt's words that the training data has, 0 to 1.
    pub familiar: f32,
    /// `true` if that share is below the 1st percentile of the training data: the gain is then an extrapolation.
    pub is_unfamiliar: bool,
}

impl Estimator {
    /// Estimates the gain for a prompt.
    #[must_use]
    pub fn estimate(&self, prompt: &Prompt) -> Estimate {
        self.of_features(&Features::of(prompt, &self.language))
    }

    fn of_features(&self, features: &Features) -> Estimate {
        let measures = self.head.standardise(&features.measures);
        let dense: f32 = measures.iter().zip(&self.head.weights).map(|(x, w)| x * w).sum();
        let sum: i32 = features.grams.iter().map(|gram| i32::from(self.grams[*gram as usize])).sum();
        let value = self.head.step / (features.grams.len().max(1) as f32).sqrt();
        let known = features.vocabulary.iter().filter(|hash| self.has_seen(**hash)).count();
        let familiar =
            if features.vocabulary.is_empty() { 1.0 } else { known as f32 / features.vocabulary.len() as f32 };
        Estimate {
            gain: self.head.bias + dense + sum as f32 * value,
            familiar,
            is_unfamiliar: familiar < self.head.familiar_from,
        }
    }

    /// Corrects a gain by the confidence of the local model; `None` for an estimator whose training data had none.
    #[must_use]
    pub fn corrected(&self, gain: f32, confidence: &Confidence) -> Option<f32> {
        self.head.corrected.as_ref().map(|corrected| corrected.gain(gain, confidence))
    }

    /// Returns the thresholds on the gain, or on the corrected gain.
    #[must_use]
    pub fn calibration(&self, is_corrected: bool) -> Option<&Calibration> {
        if is_corrected {
            self.head.corrected.as_ref().map(|corrected| &corrected.calibration)
        } else {
            Some(&self.head.calibration)
        }
    }

    /// Finds the threshold on the gain for a target.
    #[must_use]
    pub fn threshold(&self, target: Target) -> Threshold {
        self.head.calibration.threshold(target)
    }

    /// Returns the training data.
    #[must_use]
    pub fn provenance(&self) -> &Provenance {
        &self.head.provenance
    }

    /// Returns the number of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let (words, pairs, _) = self.language.parts();
        self.grams.len() + words.len() + pairs.len() + self.head.weights.len() + 1
    }

    fn has_seen(&self, hash: u64) -> bool {
        let bit = bucket(hash, SEEN_BITS);
        self.seen[bit / 8] >> (bit % 8) & 1 == 1
    }
}

impl Head {
    /// Standardises measures and limits them to [`MOST_DEVIATIONS`]. A measure that a prompt does not have counts as average.
    fn standardise(&self, measures: &[f32; DENSE]) -> [f32; DENSE] {
        std::array::from_fn(|at| {
            let deviations = (measures[at] - self.means[at]) * self.scales[at];
            if deviations.is_nan() { 0.0 } else { deviations.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS) }
        })
    }
}
