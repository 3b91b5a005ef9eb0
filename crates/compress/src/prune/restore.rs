//! The least-squares fit of what remains.
//!
//! With X the inputs of a consumer W in the original, Y those in the pruned model and K the columns that remain, the fit is
//! W' = argmin sum |W x - W' y_K|^2 = W S_K (H_KK)^-1 with S = sum x y^T and H = sum y y^T (FASP: Hu et al. 2025, section 3.3,
//! there with x = y). The fit is damped towards the columns as they were: W' = W_K + (W S_K - W_K H_KK)(H_KK + lambda I)^-1.
//! A consumer with a bias is fitted with centred inputs, and its bias takes up the difference of the means.

use honelm_tensor::Matrix;
use ndarray::Array2;

use crate::linalg::{cholesky, clear_upper, invert_lower, multiply, view, view_mut};
use crate::{Cross, Damping, Hessian};

/// Sums over the inputs of a consumer.
pub(super) struct Seen {
    /// H, of the pruned model's inputs. // [K, K]
    pub(super) hessian: Hessian,
    /// S - H. // [K, K]
    cross: Cross,
    /// The sums of the inputs in the pruned model and in the original. // `[K]`
    sums: [Vec<f64>; 2],
    /// The sum of |W x|^2.
    energy: f64,
}

/// A consumer with fewer columns.
pub(super) struct Fitted {
    /// The columns that remain. // [M, k]
    pub(super) weight: Matrix,
    pub(super) bias: Option<Vec<f32>>,
    /// The mean square error of the outputs relative to their mean square.
    pub(super) error: f64,
}

impl Seen {
    pub(super) fn new(width: usize, threads: usize) -> Self {
        let (hessian, cross) = (Hessian::new(width, threads), Cross::new(width, threads));
        Self { hessian, cross, sums: [vec![0.0; width], vec![0.0; width]], energy: 0.0 }
    }

    /// Adds inputs in the pruned model and in the original. // each [n, K], W [M, K]
    pub(super) fn add(&mut self, pruned: &Matrix, original: &Matrix, w: &Matrix) {
        self.hessian.add(pruned);
        self.cross.add(pruned, original);
        for (sums, inputs) in self.sums.iter_mut().zip([pruned, original]) {
            for row in inputs.iter_rows() {
                sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
            }
        }
        let mut out = vec![0f32; original.rows * w.rows];
        let (x, weight) = (view(&original.data, original.rows, w.cols), view(&w.data, w.rows, w.cols));
        multiply(1.0, x, weight.t(), 0.0, &mut view_mut(&mut out, original.rows, w.rows));
        self.energy += out.iter().map(|&y| f64::from(y) * f64::from(y)).sum::<f64>();
    }

    fn count(&self) -> f64 {
        self.hessian.samples.max(1) as f64
    }

    fn mean(&self, which: usize, column: usize) -> f64 {
        self.sums[which][column] / self.count()
    }

    /// Returns S and H at the remaining columns, of centred inputs if asked for. // [K, k], [k, k]
    fn at(&self, kept: &[usize], centred: bool) -> [Array2<f64>; 2] {
        let (cross, count) = self.cross.sums();
        let count = count.max(1) as f64;
        let product = |which: usize, i: usize, j: usize| match centred {
            true => self.mean(which, i) * self.mean(0, j),
            false => 0.0,
        };
        let s = |(i, j): (usize, usize)| {
            self.hessian.get(i, kept[j]) + cross[(i, kept[j])] / count - product(1, i, kept[j])
        };
        let h = |(i, j): (usize, usize)| self.hessian.get(kept[i], kept[j]) - product(0, kept[i], kept[j]);
        [Array2::from_shape_fn((self.hessian.width, kept.len()), s), Array2::from_shape_fn((kept.len(), kept.len()), h)]
    }
}

/// Returns the consumer `w` with the columns `kept` as they are. // W [M, K]
pub(super) fn cut(w: &Matrix, bias: Option<&[f32]>, kept: &[usize], seen: &Seen) -> Fitted {
    let weight = super::cut::selected(w, None, Some(kept));
    let error = seen.error(w, &weight, &[], kept);
    Fitted { weight, bias: bias.map(<[f32]>::to_vec), error }
}

/// Returns the consumer `w` with the columns `kept` fitted to its outputs in the original; as they are where no damping makes H
/// positive definite. // W [M, K]
pub(super) fn restore(w: &Matrix, bias: Option<&[f32]>, kept: &[usize], seen: &Seen, damping: Damping) -> Fitted {
    let [s, h] = seen.at(kept, bias.is_some());
    let wide = Array2::from_shape_fn((w.rows, w.cols), |(r, c)| f64::from(w.row(r)[c]));
    let old = Array2::from_shape_fn((w.rows, kept.len()), |(r, c)| f64::from(w.row(r)[kept[c]]));
    let missing = wide.dot(&s) - old.dot(&h);
    let Some(change) = solve(&h, &missing, damping) else { return cut(w, bias, kept, seen) };
    let new = old + change;
    let weight = Matrix::new(w.rows, kept.len(), new.iter().map(|&x| x as f32).collect());
    let shift = |r: usize| {
        let before: f64 = (0..w.cols).map(|c| wide[(r, c)] * seen.mean(1, c)).sum();
        let after: f64 = kept.iter().enumerate().map(|(j, &c)| new[(r, j)] * seen.mean(0, c)).sum();
        before - after
    };
    let shifts: Vec<f64> = if bias.is_some() { (0..w.rows).map(shift).collect() } else { Vec::new() };
    let error = seen.error(w, &weight, &shifts, kept);
    let moved = |bias: &[f32]| bias.iter().zip(&shifts).map(|(&b, &shift)| (f64::from(b) + shift) as f32).collect();
    Fitted { weight, bias: bias.map(moved), error }
}

impl Seen {
    /// Returns the mean square error of the outputs of a consumer `part` [M, k] with the columns `kept` and a bias that differs
    /// by `shifts`, relative to the mean square of those of W [M, K] in the original. // shifts `[M]`, or empty for none
    fn error(&self, w: &Matrix, part: &Matrix, shifts: &[f64], kept: &[usize]) -> f64 {
        let [s, h] = self.at(kept, false);
        let double = |m: &Matrix| Array2::from_shape_fn((m.rows, m.cols), |(r, c)| f64::from(m.row(r)[c]));
        let (wide, part) = (double(w), double(part));
        let squares = (part.dot(&h) - wide.dot(&s) * 2.0) * &part;
        let mut sum = self.energy / self.count() + squares.sum();
        for (r, shift) in shifts.iter().enumerate() {
            let before: f64 = (0..w.cols).map(|c| wide[(r, c)] * self.mean(1, c)).sum();
            let after: f64 = kept.iter().enumerate().map(|(j, &c)| part[(r, j)] * self.mean(0, c)).sum();
            sum += shift * shift - 2.0 * shift * (before - after);
        }
        let energy = self.energy / self.count();
        if energy > 0.0 { sum.max(0.0) / energy } else { 0.0 }
    }
}

/// Returns B (H + lambda I)^-1, lambda being the first share of mean(diag H) with which that exists; `None` where none does.
/// // H [k, k], B [M, k]
fn solve(h: &Array2<f64>, b: &Array2<f64>, damping: Damping) -> Option<Array2<f64>> {
    let mean = h.diag().sum() / h.nrows().max(1) as f64;
    if !(mean > 0.0 && mean.is_finite()) {
        return None;
    }
    damping.shares().find_map(|share| {
        let mut l = h.clone();
        l.diag_mut().iter_mut().for_each(|x| *x += share * mean);
        if !cholesky(l.view_mut()) {
            return None;
        }
        invert_lower(l.view_mut());
        clear_upper(&mut l);
        let out = b.dot(&l.t()).dot(&l);
        out.iter().all(|x| x.is_finite()).then_some(out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(rows: usize, cols: usize, seed: usize) -> Matrix {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0;
        Matrix::new(rows, cols, (0..rows * cols).map(value).collect())
    }

    fn output(x: &Matrix, w: &Matrix, bias: &[f32], r: usize, m: usize) -> f64 {
        let dot: f64 = x.row(r).iter().zip(w.row(m)).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
        dot + f64::from(bias.get(m).copied().unwrap_or(0.0))
    }

    /// The relative error of the outputs, computed from the definition.
    fn plain_error([y, x]: [&Matrix; 2], (w, bias): (&Matrix, &[f32]), fitted: &Fitted, kept: &[usize]) -> f64 {
        let part = super::super::cut::selected(y, None, Some(kept));
        let new = fitted.bias.as_deref().unwrap_or_default();
        let (mut sum, mut energy) = (0.0, 0.0);
        for r in 0..x.rows {
            for m in 0..w.rows {
                sum += (output(x, w, bias, r, m) - output(&part, &fitted.weight, new, r, m)).powi(2);
                energy += output(x, w, &[], r, m).powi(2);
            }
        }
        sum / energy
    }

    #[test]
    fn errors_are_those_of_the_definition_and_fall() {
        let (n, k, m) = (200, 12, 5);
        let x = values(n, k, 1);
        let noise = values(n, k, 2);
        let y = Matrix::new(n, k, x.data.iter().zip(&noise.data).map(|(x, e)| x + 0.3 * e + 0.1).collect());
        let (w, bias) = (values(m, k, 3), vec![0.5; m]);
        let kept: Vec<usize> = (0..k).filter(|i| i % 4 != 1).collect();
        let mut seen = Seen::new(k, 1);
        seen.add(&y, &x, &w);
        for bias in [None, Some(bias.as_slice())] {
            let before = cut(&w, bias, &kept, &seen);
            let after = restore(&w, bias, &kept, &seen, Damping { first: 1e-6, step: 0.01, retries: 3 });
            for fitted in [&before, &after] {
                let plain = plain_error([&y, &x], (&w, bias.unwrap_or_default()), fitted, &kept);
                assert!((fitted.error - plain).abs() < 1e-4, "{} {plain}", fitted.error);
            }
            assert!(after.error < 0.9 * before.error, "{} {}", before.error, after.error);
        }
    }

    #[test]
    fn a_sum_of_other_inputs_is_restored_completely() {
        let (n, k) = (100, 6);
        let mut x = values(n, k, 4);
        for r in 0..n {
            let row = x.row_mut(r);
            row[5] = row[0] - 2.0 * row[2];
        }
        let w = values(3, k, 5);
        let mut seen = Seen::new(k, 1);
        seen.add(&x, &x, &w);
        let kept = [0, 1, 2, 3, 4];
        let fitted = restore(&w, None, &kept, &seen, Damping { first: 1e-9, step: 0.01, retries: 3 });
        assert!(fitted.error < 1e-6, "{}", fitted.error);
        for m in 0..3 {
            let expected = w.row(m)[2] - 2.0 * w.row(m)[5];
            assert!((fitted.weight.row(m)[2] - expected).abs() < 1e-3);
        }
    }

    #[test]
    fn inputs_of_zeros_leave_the_columns() {
        let w = values(2, 4, 6);
        let mut seen = Seen::new(4, 1);
        seen.add(&Matrix::zeros(3, 4), &Matrix::zeros(3, 4), &w);
        let fitted = restore(&w, None, &[0, 2], &seen, Damping::default());
        assert_eq!(fitted.weight.row(1), [w.row(1)[0], w.row(1)[2]]);
        assert!(fitted.error.abs() < f64::EPSILON);
    }
}
