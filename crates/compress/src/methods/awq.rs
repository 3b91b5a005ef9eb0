//! AWQ (Lin et al. 2023, "AWQ: Activation-aware Weight Quantization", MLSys 2024): input channels with large activations
//! are scaled up before rounding, and the module before the stage is scaled down by the same factors.

use honelm_blocks::{BlockError, WeightData};
use honelm_model::{Channels, Kind};
use honelm_tensor::Matrix;
use serde::{Deserialize, Serialize};

use super::{Method, Needs, Scales};
use crate::linalg::row_quadratics;
use crate::parallel::sum_tiles;
use crate::rounding::round;
use crate::scaling::fold;
use crate::target::Target;
use crate::{Change, CompressError, Stage};

/// Settings of AWQ's scales.
///
/// The method only moves scales between parameters; the model computes the same until a later step rounds. It covers the
/// pairs that the module tree names: norm and q, k, v; v and o, where the query heads that share a value head share its
/// scales; norm and gate, up; up and down. A pair that is not exact in an architecture (GPT-2's up and down, the norms of
/// OPT-350m) is left out.
///
/// Equation 4: s = mean(|x|)^ratio, with the ratio that minimises the output error |Q(W diag(s)) diag(s)^-1 X - W X|^2. The
/// error is the sum over the linear modules of the stage, taken from H; the authors' code takes the output of the whole
/// attention for q, k, v and of the whole feed-forward part for gate, up. Of a large matrix every n-th row is judged, so that
/// 256 or more are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Awq {
    /// The number of ratios tried: 0, 1/n, ... (n - 1)/n.
    pub ratios: usize,
    /// `true` to divide by mean(|w|)^(1 - ratio) as well, with each group's weights relative to the largest (AutoAWQ's
    /// "duo scaling").
    pub duo: bool,
    /// The choice of scales of the rounding that the error is measured with.
    pub scales: Scales,
}

impl Default for Awq {
    fn default() -> Self {
        Self { ratios: 20, duo: false, scales: Scales::MinMax }
    }
}

/// The smallest mean that a channel counts with, as in AutoAWQ.
const LEAST: f32 = 1e-4;
/// The number of rows of a matrix that the ratios are judged on, at least: every n-th row is taken.
const JUDGED_ROWS: usize = 256;

impl Method for Awq {
    fn needs(&self) -> Needs {
        Needs::Inputs
    }

    fn precedes(&self) -> bool {
        true
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        if (1..=1000).contains(&self.ratios) {
            Ok(())
        } else {
            Err(format!("ratios {}: expected 1 to 1000", self.ratios))
        }
    }

    fn apply(&self, stage: &mut Stage<'_>) -> Result<Vec<Change>, CompressError> {
        let targets: Vec<Target> = stage.modules().iter().map(|m| stage.target(m)).collect();
        let Some(channels) = stage.channels().filter(|channels| is_free(stage, *channels)) else {
            return Ok(Vec::new());
        };
        if targets.contains(&Target::Keep) {
            return Ok(Vec::new());
        }
        let statistics = stage.statistics()?;
        let threads = stage.threads();
        let (mut judged, mut magnitudes) = (Vec::new(), Magnitudes::default());
        for (module, target) in stage.modules().iter().zip(targets) {
            let weight = stage.parameter(module.name)?.weight;
            if self.duo {
                magnitudes.add(&weight.dequantize(), target);
            }
            judged.push((every_nth_row(&weight), target));
        }
        let activations = tied(&statistics.mean_abs, channels);
        let magnitudes = if self.duo { tied(&magnitudes.means(), channels) } else { Vec::new() };
        let h = statistics.hessian.dense();
        let mut best: Option<(f64, Vec<f32>)> = None;
        for i in 0..self.ratios {
            let scales = self.candidate(&activations, &magnitudes, i as f32 / self.ratios as f32);
            // A ratio whose weights leave the range of the encoding is as bad as any can be.
            let error = |(w, target): &(Matrix, Target)| {
                output_error(w, &scales, *target, self.scales, &h, threads).unwrap_or(f64::INFINITY)
            };
            let error: f64 = judged.iter().map(error).sum();
            if error.is_finite() && best.as_ref().is_none_or(|(least, _)| error < *least) {
                best = Some((error, scales));
            }
        }
        match best {
            Some((_, scales)) if scales.iter().all(|&s| s == 1.0) => Ok(Vec::new()),
            Some((_, scales)) => {
                let folded = fold(stage, channels, &scales)?;
                stage.inputs_divided_by(&folded.scales);
                Ok(folded.changes)
            }
            None => {
                stage.warn("no ratio has a finite error; the weights are not scaled");
                Ok(Vec::new())
            }
        }
    }
}

/// Returns `true` if the module with these channels may change: a norm, or a matrix that a later step rounds.
fn is_free(stage: &Stage<'_>, channels: Channels) -> bool {
    stage.module(channels.module).is_some_and(|m| m.kind == Kind::Norm || stage.target(m) != Target::Keep)
}

impl Awq {
    /// Returns the scales of a ratio, normalised by sqrt(max(s) min(s)). Channels that no input reached keep 1. // `[K]`
    fn candidate(&self, activations: &[f32], magnitudes: &[f32], ratio: f32) -> Vec<f32> {
        let scale = |(c, &x): (usize, &f32)| {
            if x <= 0.0 {
                return None;
            }
            let s = x.max(LEAST).powf(ratio);
            Some(if self.duo { s / (magnitudes[c].powf(1.0 - ratio) + LEAST) } else { s }.max(LEAST))
        };
        let scales: Vec<Option<f32>> = activations.iter().enumerate().map(scale).collect();
        let (low, high) = scales.iter().flatten().fold((f32::MAX, 0f32), |(low, high), &s| (low.min(s), high.max(s)));
        let middle = (low * high).sqrt();
        scales.into_iter().map(|s| s.map_or(1.0, |s| s / middle)).collect()
    }
}

/// Returns the mean over each set of inputs that read the same channel. // `[K]` -> `[K]`
fn tied(means: &[f32], channels: Channels) -> Vec<f32> {
    let rows = (0..means.len()).map(|i| channels.row(i) + 1).max().unwrap_or(0);
    let mut sums = vec![(0f32, 0f32); rows];
    for (i, mean) in means.iter().enumerate() {
        let (sum, count) = &mut sums[channels.row(i)];
        *sum += mean;
        *count += 1.0;
    }
    (0..means.len()).map(|i| sums[channels.row(i)].0 / sums[channels.row(i)].1).collect()
}

/// The mean over all rows of |w| relative to the largest of its group.
#[derive(Default)]
struct Magnitudes {
    /// // `[K]`
    sums: Vec<f32>,
    rows: f32,
}

impl Magnitudes {
    /// Adds the rows of a matrix. // W [M, K]
    fn add(&mut self, w: &Matrix, target: Target) {
        self.sums.resize(w.cols, 0.0);
        self.rows += w.rows as f32;
        let group = match target {
            Target::Groups { group_size, .. } if group_size > 0 => group_size,
            Target::Block(encoding) if !encoding.is_float() => encoding.block_len(),
            _ => w.cols.max(1),
        };
        for row in w.iter_rows() {
            for (values, sums) in row.chunks(group).zip(self.sums.chunks_mut(group)) {
                let largest = values.iter().fold(0f32, |m, v| m.max(v.abs())) + 1e-6;
                sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += v.abs() / largest);
            }
        }
    }

    fn means(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| sum / self.rows).collect()
    }
}

/// Returns the values of every n-th row, [`JUDGED_ROWS`] or more if there are as many.
fn every_nth_row(weight: &WeightData) -> Matrix {
    let step = (weight.rows() / JUDGED_ROWS).max(1);
    let mut w = Matrix::zeros(weight.rows().div_ceil(step), weight.cols());
    for r in 0..w.rows {
        weight.dequantize_row(r * step, w.row_mut(r));
    }
    w
}

/// Returns the mean output error tr(D H D^T) of D = Q(W diag(s)) diag(s)^-1 - W. // W [M, K], s `[K]`, H [K, K]
fn output_error(
    w: &Matrix,
    s: &[f32],
    target: Target,
    scales: Scales,
    h: &Matrix,
    threads: usize,
) -> Result<f64, BlockError> {
    let weight = |(c, s): (usize, &f32)| h.row(c)[c] / (s * s);
    let importance: Option<Vec<f32>> = (scales == Scales::Weighted).then(|| s.iter().enumerate().map(weight).collect());
    sum_tiles(w, threads, |tile| {
        let mut scaled = tile.clone();
        for r in 0..scaled.rows {
            scaled.row_mut(r).iter_mut().zip(s).for_each(|(x, s)| *x *= s);
        }
        let mut d = round(&scaled, target, scales, importance.as_deref(), 1)?.dequantize();
        for r in 0..d.rows {
            let values = d.row_mut(r).iter_mut().zip(tile.row(r)).zip(s);
            values.for_each(|((d, w), s)| *d = *d / s - w);
        }
        Ok(row_quadratics(&d, h).iter().sum())
    })
}

#[cfg(test)]
mod tests {
    use honelm_blocks::{BlockMatrix, Encoding};

    use super::*;

    const PLAIN: Channels = Channels { module: "norm", first: 0, head_width: 1, readers: 1 };

    #[test]
    fn scales_are_powers_of_the_means_about_one() {
        let awq = Awq::default();
        let scales = awq.candidate(&[1.0, 4.0, 0.0, 16.0], &[], 0.5);
        assert_eq!(scales, [0.5, 1.0, 1.0, 2.0]);
        assert_eq!(awq.candidate(&[1.0, 4.0, 0.0, 16.0], &[], 0.0), [1.0; 4]);
    }

    #[test]
    fn rows_to_judge_are_spread_over_the_matrix_and_no_fewer_than_asked() {
        for (rows, found) in [(3, 3), (255, 255), (511, 511), (512, 256), (1000, 334)] {
            let w = Matrix::new(rows, 2, (0..2 * rows).map(|i| i as f32).collect());
            let judged = every_nth_row(&BlockMatrix::quantize(&w, Encoding::F32, None).expect("finite").into());
            let step = rows.div_ceil(found);
            let expected: Vec<&[f32]> = w.iter_rows().step_by(step).collect();
            assert_eq!(judged.iter_rows().collect::<Vec<_>>(), expected, "{rows}");
            assert_eq!(judged.rows, found);
        }
    }

    #[test]
    fn heads_that_share_a_channel_share_its_mean() {
        let heads = Channels { head_width: 2, readers: 2, ..PLAIN };
        assert_eq!(tied(&[1.0, 2.0, 3.0, 6.0], heads), [2.0, 4.0, 2.0, 4.0]);
        assert_eq!(tied(&[1.0, 2.0], PLAIN), [1.0, 2.0]);
    }

    #[test]
    fn a_column_that_counts_more_is_rounded_better_when_it_is_scaled_up() {
        let w = Matrix::new(4, 32, (0..128).map(|i| ((i * 37) % 41) as f32 / 20.0 - 1.0).collect());
        let mut h = Matrix::zeros(32, 32);
        (0..32).for_each(|c| h.row_mut(c)[c] = if c == 5 { 1000.0 } else { 1.0 });
        let target = Target::groups(3, 32, false);
        let error = |s: &[f32]| output_error(&w, s, target, Scales::MinMax, &h, 1).expect("finite");
        let mut s = vec![1.0; 32];
        let plain = error(&s);
        s[5] = 2.0;
        assert!(error(&s) < 0.5 * plain, "{} {plain}", error(&s));
        // Weights that the encoding cannot hold are an error, which rejects the ratio.
        assert!(output_error(&w, &[1e6; 32], target, Scales::MinMax, &h, 1).is_err());
    }
}
