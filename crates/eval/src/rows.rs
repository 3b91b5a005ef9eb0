//! Arithmetic on one row of logits.

use honelm_tensor::Matrix;

use crate::scores::per_row;

/// Computes log(sum(exp(row))) by a shifted sum in f64.
fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.chunks(64).map(|c| f64::from(c.iter().map(|&x| (x - max).exp()).sum::<f32>())).sum();
    f64::from(max) + sum.ln()
}

/// Returns the index of the largest value; of equal ones, the lowest.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, &x) in row.iter().enumerate() {
        if x > row[best] {
            best = i;
        }
    }
    best
}

/// Computes the negative log-likelihood of `target` in nats.
#[cfg(any(test, not(target_arch = "wasm32")))]
pub(crate) fn nll(row: &[f32], target: u32) -> f64 {
    log_sum_exp(row) - f64::from(row[target as usize])
}

/// The normaliser and the most likely token of a row.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Top {
    log_sum_exp: f64,
    token: usize,
}

#[cfg(not(target_arch = "wasm32"))]
impl Top {
    /// Returns the likelihood of a token.
    pub fn of(self, row: &[f32], token: u32) -> crate::Likelihood {
        crate::Likelihood {
            log: f64::from(row[token as usize]) - self.log_sum_exp,
            greedy: self.token == token as usize,
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn top(row: &[f32]) -> Top {
    Top { log_sum_exp: log_sum_exp(row), token: argmax(row) }
}

/// The comparison of two models at one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pair {
    /// The negative log-likelihood of the target under the candidate, in nats.
    pub nll: f64,
    /// The negative log-likelihood of the target under the original, in nats.
    pub base_nll: f64,
    /// The divergence KL(original || candidate) in nats.
    pub kl: f64,
    /// `true` if both models have the same most likely token.
    pub same_top: bool,
    /// The difference of the original's two largest logits.
    pub base_margin: f32,
}

/// Returns the difference of the two largest values.
fn margin(row: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &x in row {
        second = second.max(x.min(first));
        first = first.max(x);
    }
    first - second
}

/// Compares the logits a of the original with the logits b of a candidate.
///
/// The divergence (Kullback and Leibler 1951) is KL = sum p (a - b) - lse(a) + lse(b) with p = softmax(a), where lse is
/// the logarithm of the sum of exponentials.
pub(crate) fn pair(base: &[f32], candidate: &[f32], target: u32) -> Pair {
    let max = base.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0f64, 0f64);
    for (a, b) in base.chunks(64).zip(candidate.chunks(64)) {
        let (mut s, mut w) = (0f32, 0f32);
        for (&a, &b) in a.iter().zip(b) {
            let p = (a - max).exp();
            s += p;
            w += p * (a - b);
        }
        sum += f64::from(s);
        weighted += f64::from(w);
    }
    let lse_base = f64::from(max) + sum.ln();
    let lse = log_sum_exp(candidate);
    Pair {
        nll: lse - f64::from(candidate[target as usize]),
        base_nll: lse_base - f64::from(base[target as usize]),
        kl: (weighted / sum - lse_base + lse).max(0.0),
        same_top: argmax(base) == argmax(candidate),
        base_margin: margin(base),
    }
}

/// Returns the divergences KL(original || candidate) of rows of logits, in nats. // base, candidate [rows, V] -> `[rows]`
///
/// # Panics
/// If the shapes differ.
#[must_use]
pub fn divergences(base: &Matrix, candidate: &Matrix) -> Vec<f64> {
    assert_eq!((base.rows, base.cols), (candidate.rows, candidate.cols), "logits of the same positions");
    per_row(0..base.rows, |i| pair(base.row(i), candidate.row(i), 0).kl)
}

/// Returns the mean over rows of the negative log-likelihoods of targets, in nats. // logits [rows, V], targets `[rows]`
#[must_use]
pub fn mean_nll(logits: &Matrix, targets: &[u32]) -> f64 {
    let nlls = per_row(0..logits.rows, |i| log_sum_exp(logits.row(i)) - f64::from(logits.row(i)[targets[i] as usize]));
    nlls.iter().sum::<f64>() / nlls.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_hand_computed_values() {
        let a = [0.0f32, 1.0, 2.0];
        let b = [0.5f32, 0.0, 2.5];
        let soft = |x: &[f32]| {
            let e: Vec<f64> = x.iter().map(|&v| f64::from(v).exp()).collect();
            let s: f64 = e.iter().sum();
            e.into_iter().map(|v| v / s).collect::<Vec<_>>()
        };
        let (p, q) = (soft(&a), soft(&b));
        let kl: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        let got = pair(&a, &b, 1);
        assert!((got.kl - kl).abs() < 1e-6, "{} {kl}", got.kl);
        assert!((got.nll + q[1].ln()).abs() < 1e-6);
        assert!((got.base_nll + p[1].ln()).abs() < 1e-6);
        assert_eq!(got.base_margin, 1.0);
        assert_eq!((margin(&[3.0, -1.0, 2.5]), margin(&[2.0, 2.0])), (0.5, 0.0));
        assert!((nll(&a, 0) + p[0].ln()).abs() < 1e-6);
        assert!(got.same_top);
        assert!(!pair(&[1.0, 0.0], &[0.0, 1.0], 0).same_top);
    }

    #[test]
    fn identical_rows_have_no_divergence() {
        let row: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 9.0).collect();
        assert!(pair(&row, &row, 3).kl < 1e-9);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert!(nll(&[1e30, 0.0], 0).abs() < 1e-6);
    }
}
