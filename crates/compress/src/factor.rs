//! The factor of the inverse Hessian.

use honelm_tensor::Matrix;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::Hessian;
use crate::linalg::{cholesky, invert_lower};

/// The damping that makes H positive definite: a share of mean(diag H) is added to the diagonal, a larger one after every
/// failure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Damping {
    /// The first share of the mean diagonal.
    pub first: f64,
    /// The increase of the share per retry.
    pub step: f64,
    /// The number of retries before the diagonal alone is used.
    pub retries: usize,
}

impl Damping {
    /// The largest share that is ever of use.
    const MOST: f64 = 100.0;

    /// Returns the shares to try, in order.
    pub(crate) fn shares(self) -> impl Iterator<Item = f64> {
        (0..=self.retries).map(move |r| self.first + r as f64 * self.step)
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A description of the setting that is out of range.
    pub(crate) fn check(&self) -> Result<(), String> {
        let range = 0.0..=Self::MOST;
        if range.contains(&self.first) && range.contains(&self.step) && self.retries <= 1000 {
            return Ok(());
        }
        Err(format!("damping {self:?}: expected shares from 0 to {} and at most 1000 retries", Self::MOST))
    }
}

impl Default for Damping {
    fn default() -> Self {
        Self { first: 0.01, step: 0.01, retries: 20 }
    }
}

/// The order of the columns in a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The matrix's own.
    Natural,
    /// By falling diag(H).
    Falling,
    /// Superblocks by their falling sums of diag(H), and so the units of each superblock. The columns of a unit stay together.
    FallingSuperblocks {
        /// The number of columns per superblock.
        superblock: usize,
        /// The number of columns per unit.
        unit: usize,
    },
}

impl Order {
    /// Returns the columns in this order; equal ones stay in the matrix's. // diagonal `[K]`
    fn columns(self, diagonal: &[f32]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..diagonal.len()).collect();
        match self {
            Self::Natural => {}
            Self::Falling => order.sort_by(|&a, &b| diagonal[b].total_cmp(&diagonal[a])),
            Self::FallingSuperblocks { superblock, unit } => {
                let sums = |size: usize| diagonal.chunks(size).map(|part| part.iter().sum::<f32>()).collect::<Vec<_>>();
                let parts = [superblock.max(1), unit.max(1)].map(|size| (size, sums(size)));
                order.sort_by(|&a, &b| {
                    let by = |(size, sums): &(usize, Vec<f32>)| {
                        let (a, b) = (a / size, b / size);
                        sums[b].total_cmp(&sums[a]).then(a.cmp(&b))
                    };
                    by(&parts[0]).then_with(|| by(&parts[1]))
                });
            }
        }
        order
    }
}

/// The form of H that a sweep uses: the column order, and U, the upper Cholesky factor of H^-1 in that order (Frantar et al.
/// 2022, section 3.3).
///
/// With J reversing the order, J H J = L L^T gives H = R R^T for the upper triangle R = J L J, so
/// H^-1 = (R^-1)^T R^-1 and U = R^-1 = J L^-1 J: one factorisation and one triangular inverse.
#[derive(Debug, Clone)]
pub struct Factor {
    /// The columns in the order of the sweep. // `[K]`
    pub order: Vec<usize>,
    /// U, row-major, with zeros below the diagonal. // [K, K]
    pub upper: Vec<f32>,
    /// The importance of each column in the matrix's own order: diag(H). // `[K]`
    pub importance: Vec<f32>,
    /// `true` for a column that no input reached; its weights become 0. // `[K]`
    pub dead: Vec<bool>,
    /// The share of the mean diagonal that was added; `None` where only the diagonal could be used.
    pub damping: Option<f64>,
}

impl Factor {
    /// Factorises `hessian` with the columns in `order`.
    ///
    /// A matrix that no damping makes positive definite is replaced by its diagonal, with which the sweep rounds plainly;
    /// `damping` is `None` then.
    #[must_use]
    pub fn new(hessian: &Hessian, damping: Damping, order: Order) -> Self {
        let k = hessian.width;
        let diagonal = hessian.diagonal();
        let dead: Vec<bool> = diagonal.iter().map(|&d| !d.is_finite() || d <= 0.0).collect();
        let order = order.columns(&diagonal);
        let alive = dead.iter().filter(|d| !**d).count().max(1);
        let mean = (0..k).filter(|&i| !dead[i]).map(|i| f64::from(diagonal[i])).sum::<f64>() / alive as f64;
        let attempt = |share: f64| {
            let value = |(i, j): (usize, usize)| {
                let (a, b) = (order[k - 1 - i], order[k - 1 - j]);
                match (a == b, dead[a] || dead[b]) {
                    (true, true) => mean.max(f64::MIN_POSITIVE) * (1.0 + share),
                    (true, false) => hessian.get(a, a) + share * mean,
                    (false, true) => 0.0,
                    (false, false) => hessian.get(a, b),
                }
            };
            inverse_factor(Array2::from_shape_fn((k, k), value))
        };
        let found = damping.shares().find_map(|share| Some((share, attempt(share)?)));
        let importance = diagonal.iter().zip(&dead).map(|(&d, &dead)| if dead { 0.0 } else { d }).collect();
        let (damping, upper) = match found {
            Some((share, upper)) => (Some(share), upper),
            None => (None, identity(k)),
        };
        Self { order, upper, importance, dead, damping }
    }

    /// Returns W with zeros in the columns that no input reached. // [M, K]
    pub(crate) fn alive(&self, w: &Matrix) -> Matrix {
        let mut w = w.clone();
        for r in 0..w.rows {
            w.row_mut(r).iter_mut().zip(&self.dead).filter(|(_, dead)| **dead).for_each(|(x, _)| *x = 0.0);
        }
        w
    }

    /// Returns H with the damping that made it positive definite, or its diagonal. Inputs that are dead have 1. // [K, K]
    pub(crate) fn damped(&self, hessian: &Hessian) -> Matrix {
        let k = hessian.width;
        let alive = self.dead.iter().filter(|d| !**d).count().max(1);
        let mean = self.importance.iter().map(|&d| f64::from(d)).sum::<f64>() / alive as f64;
        let value = |(a, b): (usize, usize)| match (a == b, self.dead[a] || self.dead[b], self.damping) {
            (true, true, _) => 1.0,
            (true, false, share) => hessian.get(a, a) + share.unwrap_or(0.0) * mean,
            (false, false, Some(_)) => hessian.get(a, b),
            (false, ..) => 0.0,
        };
        Matrix::new(k, k, (0..k * k).map(|i| value((i / k, i % k)) as f32).collect())
    }
}

/// Returns J L^-1 J, row-major, for `reversed` = L L^T; `None` if that is not positive definite.
fn inverse_factor(mut reversed: Array2<f64>) -> Option<Vec<f32>> {
    let k = reversed.nrows();
    if !cholesky(reversed.view_mut()) {
        return None;
    }
    invert_lower(reversed.view_mut());
    let mut upper = vec![0f32; k * k];
    for (i, row) in reversed.outer_iter().enumerate() {
        for (j, &value) in row.iter().enumerate().take(i + 1) {
            let value = value as f32;
            if !value.is_finite() {
                return None;
            }
            upper[(k - 1 - i) * k + (k - 1 - j)] = value;
        }
    }
    (0..k).all(|i| upper[i * k + i] > 0.0).then_some(upper)
}

fn identity(k: usize) -> Vec<f32> {
    let mut out = vec![0.0; k * k];
    (0..k).for_each(|i| out[i * k + i] = 1.0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hessian(k: usize, n: usize, dead: Option<usize>) -> Hessian {
        let mut h = Hessian::new(k, 1);
        let value = |i: usize| if Some(i % k) == dead { 0.0 } else { ((i * 7919) % 1009) as f32 / 500.0 - 1.0 };
        h.add(&Matrix::new(n, k, (0..n * k).map(value).collect()));
        h
    }

    #[test]
    fn upper_factor_multiplies_to_the_inverse() {
        let k = 40;
        let h = hessian(k, 400, None);
        let f = Factor::new(&h, Damping::default(), Order::Falling);
        let share = f.damping.expect("positive definite");
        let mean = (0..k).map(|i| h.get(i, i)).sum::<f64>() / k as f64;
        // (U^T U) H = I in the sweep's order.
        for a in 0..k {
            for b in 0..k {
                let mut sum = 0.0;
                for j in 0..k {
                    let inverse: f64 =
                        (0..k).map(|i| f64::from(f.upper[i * k + a]) * f64::from(f.upper[i * k + j])).sum();
                    let damp = if j == b { share * mean } else { 0.0 };
                    sum += inverse * (h.get(f.order[j], f.order[b]) + damp);
                }
                assert!((sum - f64::from(u8::from(a == b))).abs() < 1e-3, "{a} {b} {sum}");
            }
        }
        assert!(f.order.windows(2).all(|w| h.get(w[0], w[0]) >= h.get(w[1], w[1])));
    }

    #[test]
    fn superblocks_and_their_columns_are_ordered_by_the_diagonal() {
        let diagonal = [1.0, 2.0, 5.0, 3.0, 4.0, 4.0];
        assert_eq!(Order::Natural.columns(&diagonal), [0, 1, 2, 3, 4, 5]);
        assert_eq!(Order::Falling.columns(&diagonal), [2, 4, 5, 3, 1, 0]);
        assert_eq!(Order::FallingSuperblocks { superblock: 2, unit: 1 }.columns(&diagonal), [2, 3, 4, 5, 1, 0]);
        assert_eq!(Order::FallingSuperblocks { superblock: 4, unit: 1 }.columns(&diagonal), [2, 3, 1, 0, 4, 5]);
        assert_eq!(Order::FallingSuperblocks { superblock: 6, unit: 2 }.columns(&diagonal), [2, 3, 4, 5, 0, 1]);
    }

    #[test]
    fn dead_inputs_are_found_and_do_not_spoil_the_factor() {
        let f = Factor::new(&hessian(16, 100, Some(3)), Damping::default(), Order::Natural);
        assert_eq!(f.dead.iter().position(|&d| d), Some(3));
        assert!(f.damping.is_some() && f.upper.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn fewer_inputs_than_columns_still_factorise() {
        assert!(Factor::new(&hessian(64, 5, None), Damping::default(), Order::Falling).damping.is_some());
    }

    #[test]
    fn inputs_that_are_not_numbers_fall_back_to_the_diagonal() {
        let mut h = Hessian::new(4, 1);
        h.add(&Matrix::new(1, 4, vec![1.0, f32::NAN, 2.0, f32::INFINITY]));
        let f = Factor::new(&h, Damping::default(), Order::Falling);
        assert!(f.upper.iter().all(|v| v.is_finite()));
        assert!(f.importance.iter().all(|v| v.is_finite()));
    }
}
