//! Single weights replaced by zeros: Wanda (Sun et al. 2023) and SparseGPT (Frantar and Alistarh 2023).
//!
//! Shapes, file sizes and speed stay, since no container of ours has a sparse form.

use std::fmt;

use honelm_tensor::Matrix;
use serde::{Deserialize, Serialize};

use crate::parallel::for_each;
use crate::{Damping, Factor, Hessian, Order};

/// The number of columns among which SparseGPT chooses at a time (section 3.2).
const PANEL: usize = 128;

/// The number of rows of a task.
const ROWS: usize = 64;

/// The weights that become zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// This share of all weights.
    Share(f64),
    /// Two of every four weights of a row.
    TwoOfFour,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{:.1}%", share * 100.0),
            Self::TwoOfFour => f.write_str("2:4"),
        }
    }
}

/// The way in which the weights are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SparseMethod {
    /// The smallest |w_ij| sqrt(H_jj) of every row; the others stay (Sun et al. 2023, equation 1).
    Wanda,
    /// The smallest w_ij^2 / U_jj^2, U being the upper Cholesky factor of H^-1; the columns that follow take up the error (Frantar and
    /// Alistarh 2023, algorithm 1).
    #[default]
    SparseGpt,
}

/// The settings of unstructured and 2:4 sparsity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sparsity {
    /// The weights that become zero.
    pub pattern: Pattern,
    /// The way in which they are chosen.
    pub method: SparseMethod,
}

impl Sparsity {
    /// Checks the settings.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.pattern {
            Pattern::Share(share) if !(share > 0.0 && share < 1.0) => {
                Err(format!("sparsity {share}: expected a share above 0 and below 1"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the factor that [`Sparsity::apply`] needs.
    pub(super) fn factor(&self, hessian: &Hessian) -> Option<Factor> {
        (self.method == SparseMethod::SparseGpt).then(|| Factor::new(hessian, Damping::default(), Order::Natural))
    }

    /// Returns W with zeros. // W [M, K]
    pub(super) fn apply(&self, w: &Matrix, hessian: &Hessian, factor: Option<&Factor>, threads: usize) -> Matrix {
        let mut out = w.clone();
        let norms: Vec<f32> = hessian.diagonal().iter().map(|d| d.max(0.0).sqrt()).collect();
        let cols = w.cols;
        for_each(out.data.chunks_mut(ROWS * cols.max(1)).collect(), threads, |_, rows| match factor {
            None => rows.chunks_mut(cols).for_each(|row| self.wanda(row, &norms)),
            Some(factor) => rows.chunks_mut(cols).for_each(|row| self.sparse_gpt(row, factor)),
        });
        out
    }

    fn wanda(&self, row: &mut [f32], norms: &[f32]) {
        let score = |(x, norm): (&f32, &f32)| x.abs() * norm;
        let scores: Vec<f32> = row.iter().zip(norms).map(score).collect();
        for column in self.lowest(&scores) {
            row[column] = 0.0;
        }
    }

    fn sparse_gpt(&self, row: &mut [f32], factor: &Factor) {
        let k = row.len();
        let upper = |i: usize, j: usize| factor.upper[i * k + j];
        for first in (0..k).step_by(PANEL) {
            let end = (first + PANEL).min(k);
            let mut zeros = vec![false; end - first];
            if let Pattern::Share(_) = self.pattern {
                let scores: Vec<f32> = (first..end).map(|j| (row[j] / upper(j, j)).powi(2)).collect();
                self.lowest(&scores).into_iter().for_each(|at| zeros[at] = true);
            }
            for j in first..end {
                if self.pattern == Pattern::TwoOfFour && (j - first).is_multiple_of(4) {
                    let scores: Vec<f32> = (j..(j + 4).min(end)).map(|j| (row[j] / upper(j, j)).powi(2)).collect();
                    self.lowest(&scores).into_iter().for_each(|at| zeros[j - first + at] = true);
                }
                if zeros[j - first] {
                    let error = row[j] / upper(j, j);
                    row[j] = 0.0;
                    row[j + 1..]
                        .iter_mut()
                        .zip(&factor.upper[j * k + j + 1..(j + 1) * k])
                        .for_each(|(x, u)| *x -= error * u);
                }
            }
        }
    }

    /// Returns the places of the lowest scores that the pattern makes zero.
    fn lowest(&self, scores: &[f32]) -> Vec<usize> {
        let (group, count): (usize, fn(usize, f64) -> usize) = match self.pattern {
            Pattern::Share(_) => (scores.len().max(1), |n, share| (n as f64 * share).round() as usize),
            Pattern::TwoOfFour => (4, |n, _| n / 2),
        };
        let share = if let Pattern::Share(share) = self.pattern { share } else { 0.5 };
        let mut out = Vec::new();
        for first in (0..scores.len()).step_by(group) {
            let mut places: Vec<usize> = (first..(first + group).min(scores.len())).collect();
            let zeros = count(places.len(), share);
            places.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            out.extend(places.into_iter().take(zeros));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::row_quadratics;

    fn inputs() -> (Matrix, Hessian) {
        let value = |i: usize| ((i * 7919 + i / 7 * 31) % 1009) as f32 / 500.0 - 1.0;
        let w = Matrix::new(6, 160, (0..960).map(value).collect());
        let mut x = Matrix::new(400, 160, (0..64_000).map(|i| value(i + 5)).collect());
        for r in 0..x.rows {
            let row = x.row_mut(r);
            // Neighbours are correlated, so that one can take up the other's error.
            (1..160).for_each(|c| row[c] = 0.7 * row[c - 1] + 0.5 * row[c]);
        }
        let mut hessian = Hessian::new(160, 1);
        hessian.add(&x);
        (w, hessian)
    }

    fn error(w: &Matrix, other: &Matrix, hessian: &Hessian) -> f64 {
        let data = w.data.iter().zip(&other.data).map(|(a, b)| a - b).collect();
        row_quadratics(&Matrix::new(w.rows, w.cols, data), &hessian.dense()).iter().sum()
    }

    #[test]
    fn patterns_are_met_and_errors_taken_up() {
        let (w, hessian) = inputs();
        for pattern in [Pattern::Share(0.5), Pattern::TwoOfFour] {
            let made = [SparseMethod::Wanda, SparseMethod::SparseGpt].map(|method| {
                let sparsity = Sparsity { pattern, method };
                let factor = sparsity.factor(&hessian);
                let one = sparsity.apply(&w, &hessian, factor.as_ref(), 1);
                assert_eq!(one, sparsity.apply(&w, &hessian, factor.as_ref(), 3));
                for row in one.iter_rows() {
                    let zeros = |part: &[f32]| part.iter().filter(|x| **x == 0.0).count();
                    assert_eq!(zeros(row), 80, "{sparsity:?}");
                    assert!(pattern != Pattern::TwoOfFour || row.chunks(4).all(|four| zeros(four) == 2));
                }
                error(&w, &one, &hessian)
            });
            assert!(made[1] < 0.9 * made[0], "{pattern}: {made:?}");
        }
    }

    #[test]
    fn wanda_weighs_by_inputs() {
        let mut hessian = Hessian::new(4, 1);
        hessian.add(&Matrix::new(1, 4, vec![10.0, 1.0, 1.0, 0.1]));
        let w = Matrix::new(1, 4, vec![0.5, 2.0, 1.0, 9.0]);
        let sparsity = Sparsity { pattern: Pattern::TwoOfFour, method: SparseMethod::Wanda };
        assert_eq!(sparsity.apply(&w, &hessian, None, 1).data, [0.5, 2.0, 0.0, 0.0]);
    }
}
