//! The asymmetric target (GPTAQ, Li et al. 2025, "GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric
//! Calibration"): weights aim at the original model's outputs, from the inputs that the compressed model has.

use honelm_blocks::Encoding;
use serde::{Deserialize, Serialize};

use super::{Method, Needs};
use crate::hessian::Cross;
use crate::linalg::times_inverse;
use crate::parallel::for_each;
use crate::scaling::encoded;
use crate::target::Target;
use crate::{Change, CompressError, Damping, Stage};

/// Settings of the asymmetric target.
///
/// With X the inputs in the original and X^ those in the compressed model, rows being tokens, the weights that map X^ to the
/// original's outputs X W^T with the least squared error are W* = W + W C (H + lambda I)^-1, where C = (X - X^)^T X^ and
/// H = X^^T X^. The method moves the weights by `strength` of the way; they stay floats, and a later step such as
/// GPTQ rounds W*. Where H has no inverse with any damping, the weights stay as they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asymmetric {
    /// The share of the way from W to W*.
    pub strength: f64,
    /// The damping of H: lambda as a share of mean(diag H).
    pub damping: Damping,
}

impl Default for Asymmetric {
    fn default() -> Self {
        Self { strength: 1.0, damping: Damping::default() }
    }
}

/// The number of rows that one task computes.
const ROWS: usize = 64;

impl Method for Asymmetric {
    fn needs(&self) -> Needs {
        Needs::Originals
    }

    fn check(&self) -> Result<(), String> {
        if !(0.0..=2.0).contains(&self.strength) {
            return Err(format!("strength {}: expected 0 to 2", self.strength));
        }
        self.damping.check()
    }

    fn apply(&self, stage: &mut Stage<'_>) -> Result<Vec<Change>, CompressError> {
        let statistics = stage.statistics()?;
        let Some((cross, samples)) = statistics.cross.as_ref().map(Cross::sums) else { return Ok(Vec::new()) };
        let strength = self.strength / samples.max(1) as f64;
        let Some(inverse) = statistics.hessian.inverse_factor(self.damping) else {
            stage.warn("no damping makes H positive definite; the weights do not aim at the original's outputs");
            return Ok(Vec::new());
        };
        let mut changes = Vec::new();
        for module in stage.modules() {
            if stage.target(module) == Target::Keep {
                continue;
            }
            let mut parameter = stage.parameter(module.name)?;
            let mut w = parameter.weight.dequantize();
            let rows: Vec<&mut [f32]> = w.data.chunks_mut(ROWS * w.cols.max(1)).collect();
            for_each(rows, stage.threads(), |_, rows| {
                let steps = times_inverse(rows, cross, &inverse);
                rows.iter_mut().zip(steps).for_each(|(x, step)| *x += (strength * step) as f32);
            });
            let weight = encoded(&w, Encoding::F32).map_err(|source| stage.weight_error(module.name, source))?;
            parameter.weight = weight;
            changes.push(Change { module: module.name, parameter });
        }
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use honelm_tensor::Matrix;

    use super::*;
    use crate::Hessian;

    #[test]
    fn the_target_maps_the_compressed_inputs_to_the_originals_outputs() {
        let (n, k) = (200, 24);
        let x = Matrix::new(n, k, (0..n * k).map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0).collect());
        let mut compressed = x.clone();
        // Each column is off by a share of its neighbour: a linear map can undo that.
        for r in 0..n {
            (1..k).for_each(|c| compressed.row_mut(r)[c] += 0.2 * x.row(r)[c - 1]);
        }
        let w = Matrix::new(2, k, (0..2 * k).map(|i| ((i * 31) % 17) as f32 / 8.0 - 1.0).collect());
        let (mut hessian, mut cross) = (Hessian::new(k, 2), Cross::new(k, 2));
        hessian.add(&compressed);
        cross.add(&compressed, &x);
        let damping = Damping { first: 1e-9, ..Damping::default() };
        let inverse = hessian.inverse_factor(damping).expect("positive definite");
        let (sums, samples) = cross.sums();
        let step = times_inverse(&w.data, sums, &inverse);
        for r in 0..n {
            for m in 0..2 {
                let dot = |x: &[f32], f: &dyn Fn(usize) -> f64| -> f64 {
                    x.iter().enumerate().map(|(c, &x)| f64::from(x) * f(m * k + c)).sum()
                };
                let wanted = dot(x.row(r), &|i| f64::from(w.data[i]));
                let found = dot(compressed.row(r), &|i| f64::from(w.data[i]) + step[i] / samples as f64);
                assert!((wanted - found).abs() < 1e-3, "{wanted} {found}");
            }
        }
    }
}
