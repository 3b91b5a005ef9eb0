//! The confidence of the local model after it read the prompt.

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::prompt::Problem;

/// The confidence of the local model in its first token, and the agreement of two short samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// The probability of the most likely token, 0 to 1.
    pub top_probability: f32,
    /// That probability minus the one of the second token, 0 to 1.
    pub margin: f32,
    /// The entropy of the distribution in nats.
    pub entropy: f32,
    /// The share of tokens that two samples have in common, 0 to 1, if they were drawn.
    #[serde(default)]
    pub agreement: Option<f32>,
}

/// The inputs of the second regression: the first one's gain, the fields of [`Confidence`], and `true` where samples were drawn.
pub(super) const INPUTS: usize = 6;

impl Confidence {
    /// Checks the ranges.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let shares = [
            ("top_probability", Some(self.top_probability)),
            ("margin", Some(self.margin)),
            ("agreement", self.agreement),
        ];
        for (name, value) in shares {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Err(Problem::of(&format!("confidence.{name}"), value.to_string(), "a number from 0 to 1"));
            }
        }
        if !(self.entropy >= 0.0 && self.entropy.is_finite()) {
            return Err(Problem::of("confidence.entropy", self.entropy.to_string(), "a number of at least 0, in nats"));
        }
        Ok(())
    }

    fn inputs(&self, gain: f32) -> [f64; INPUTS] {
        let sampled = self.agreement.is_some();
        let agreement = self.agreement.unwrap_or(0.0);
        [gain, self.top_probability, self.margin, self.entropy, agreement, f32::from(u8::from(sampled))].map(f64::from)
    }
}

/// A second regression, which corrects the gain by the confidence of the local model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Corrected {
    weights: [f64; INPUTS],
    bias: f64,
    pub calibration: Calibration,
}

impl Corrected {
    /// Fits the regression to held-out gains by least squares with a small ridge. The calibration judges its own rows, of which there
    /// are far more than weights.
    pub fn fit(rows: &[(f32, Confidence)], targets: &[f64], needs_cloud: &[bool]) -> Self {
        let inputs: Vec<[f64; INPUTS]> = rows.iter().map(|(gain, confidence)| confidence.inputs(*gain)).collect();
        let n = inputs.len().max(1) as f64;
        let mean = |at: usize| inputs.iter().map(|x| x[at]).sum::<f64>() / n;
        let means: [f64; INPUTS] = std::array::from_fn(mean);
        let level = targets.iter().sum::<f64>() / n;
        let mut system = [[0.0; INPUTS + 1]; INPUTS];
        for (x, y) in inputs.iter().zip(targets) {
            let x: [f64; INPUTS] = std::array::from_fn(|at| x[at] - means[at]);
            for (row, xi) in system.iter_mut().zip(x) {
                row.iter_mut().zip(x).for_each(|(cell, xj)| *cell += xi * xj);
                row[INPUTS] += xi * (y - level);
            }
        }
        (0..INPUTS).for_each(|at| system[at][at] += 1.0);
        let weights = solve(system);
        let bias = level - weights.iter().zip(means).map(|(w, m)| w * m).sum::<f64>();
        let mut fitted = Self { weights, bias, calibration: Calibration::default() };
        let scores: Vec<f32> = rows.iter().map(|(gain, confidence)| fitted.gain(*gain, confidence)).collect();
        fitted.calibration = Calibration::of(&scores, needs_cloud);
        fitted
    }

    /// Returns the corrected gain.
    pub fn gain(&self, gain: f32, confidence: &Confidence) -> f32 {
        let sum: f64 = confidence.inputs(gain).iter().zip(self.weights).map(|(x, w)| x * w).sum();
        (self.bias + sum) as f32
    }

    pub fn is_finite(&self) -> bool {
        self.weights.iter().all(|w| w.is_finite()) && self.bias.is_finite()
    }
}

/// Solves a positive definite system by elimination.
fn solve(mut system: [[f64; INPUTS + 1]; INPUTS]) -> [f64; INPUTS] {
    for pivot in 0..INPUTS {
        let row = system[pivot];
        for below in system.iter_mut().skip(pivot + 1) {
            let factor = below[pivot] / row[pivot];
            below.iter_mut().zip(row).for_each(|(cell, above)| *cell -= factor * above);
        }
    }
    let mut out = [0.0; INPUTS];
    for at in (0..INPUTS).rev() {
        let known: f64 = (at + 1..INPUTS).map(|j| system[at][j] * out[j]).sum();
        out[at] = (system[at][INPUTS] - known) / system[at][at];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::words::Random;
    use super::*;

    #[test]
    fn the_correction_learns_from_entropy() {
        let mut random = Random::new(5);
        let mut draw = || random.below(1000) as f32 / 1000.0;
        let rows: Vec<(f32, Confidence)> = (0..500)
            .map(|_| {
                (draw(), Confidence { top_probability: draw(), margin: draw(), entropy: 3.0 * draw(), agreement: None })
            })
            .collect();
        let targets: Vec<f64> = rows.iter().map(|(gain, c)| f64::from(0.5 * gain + 0.2 * c.entropy - 0.1)).collect();
        let fitted = Corrected::fit(&rows, &targets, &vec![false; 500]);
        for ((gain, confidence), target) in rows.iter().zip(&targets) {
            assert!((f64::from(fitted.gain(*gain, confidence)) - target).abs() < 0.02);
        }
    }
}
