//! Sums over the inputs of a stage.

use honelm_tensor::Matrix;
use ndarray::{Array2, ArrayView2, Axis};

use crate::Damping;
use crate::linalg::{cholesky, clear_upper, invert_lower, multiply, view, view_mut};
use crate::parallel::for_each;

/// The number of columns that one task computes. Fixed, so that sums do not depend on the number of threads.
const PANEL: usize = 128;

/// H = sum over inputs of x x^T, the second-order statistic of GPTQ (Frantar et al. 2022, section 3).
///
/// Products are in f32 over one batch, sums over batches in f64. Only the lower triangle is kept.
#[derive(Debug, Clone)]
pub struct Hessian {
    /// The width of the inputs (K).
    pub width: usize,
    /// The number of inputs.
    pub samples: usize,
    /// The lower triangle in panels of [`PANEL`] columns. The column of a panel begins at the panel's first column. Values
    /// above the diagonal are undefined. // each [columns, K - first]
    panels: Vec<Vec<f64>>,
    threads: usize,
}

impl Hessian {
    /// Returns the statistic of no inputs. `threads` only affects the speed.
    #[must_use]
    pub fn new(width: usize, threads: usize) -> Self {
        let panel = |first: usize| vec![0.0; PANEL.min(width - first) * (width - first)];
        Self { width, samples: 0, panels: (0..width).step_by(PANEL).map(panel).collect(), threads }
    }

    /// Adds a batch of inputs. // x [n, K]
    pub fn add(&mut self, x: &Matrix) {
        assert_eq!(x.cols, self.width, "inputs of the stage's width");
        self.samples += x.rows;
        let width = self.width;
        for_each(self.panels.iter_mut().collect(), self.threads, |p, panel| {
            let first = p * PANEL;
            let (rows, cols) = (width - first, panel.len() / (width - first));
            let inputs = view(&x.data, x.rows, width);
            // A panel is column-major: the transposed product, row-major.
            let mut product = vec![0f32; cols * rows];
            let (own, below) = (
                inputs.slice_axis(Axis(1), (first..first + cols).into()),
                inputs.slice_axis(Axis(1), (first..).into()),
            );
            multiply(1.0, own.t(), below, 0.0, &mut view_mut(&mut product, cols, rows));
            panel.iter_mut().zip(product).for_each(|(sum, value)| *sum += f64::from(value));
        });
    }

    /// Divides the inputs by `scales`, as if they had been so when they were added. // `[K]`
    pub(crate) fn divide(&mut self, scales: &[f32]) {
        for (p, panel) in self.panels.iter_mut().enumerate() {
            let below = &scales[p * PANEL..];
            for (column, own) in panel.chunks_exact_mut(below.len()).zip(below) {
                column.iter_mut().zip(below).for_each(|(sum, s)| *sum /= f64::from(*own) * f64::from(*s));
            }
        }
    }

    /// Adds `share` of mean(diag H) to the diagonal: inputs of that variance, without correlation.
    pub(crate) fn add_isotropic(&mut self, share: f64) {
        let k = self.width;
        let mean = (0..k).map(|i| self.panels[i / PANEL][self.place(i, i)]).sum::<f64>() / k.max(1) as f64;
        for i in 0..k {
            let place = self.place(i, i);
            self.panels[i / PANEL][place] += share * mean;
        }
    }

    /// Returns the place of H[row, column] in the panel of its column, on or below the diagonal.
    fn place(&self, row: usize, column: usize) -> usize {
        let first = column / PANEL * PANEL;
        (column - first) * (self.width - first) + row - first
    }

    /// Returns H[i, j], the mean over inputs.
    #[must_use]
    pub fn get(&self, i: usize, j: usize) -> f64 {
        let (row, column) = (i.max(j), i.min(j));
        self.panels[column / PANEL][self.place(row, column)] / self.samples.max(1) as f64
    }

    /// Returns the mean over inputs as a matrix in f32. // [K, K]
    #[must_use]
    pub fn dense(&self) -> Matrix {
        let k = self.width;
        Matrix::new(k, k, (0..k * k).map(|i| self.get(i / k, i % k) as f32).collect())
    }

    /// Returns L^-1 of H + lambda I = L L^T, lambda being the first share of mean(diag H) with which that exists; `None`
    /// where none does. // [K, K], lower
    pub(crate) fn inverse_factor(&self, damping: Damping) -> Option<Array2<f64>> {
        let k = self.width;
        let mean = (0..k).map(|i| self.get(i, i)).sum::<f64>() / k.max(1) as f64;
        damping.shares().find_map(|share| {
            let lambda = (share * mean).max(f64::MIN_POSITIVE);
            let damped = |(i, j)| self.get(i, j) + if i == j { lambda } else { 0.0 };
            let mut l = Array2::from_shape_fn((k, k), damped);
            let found = cholesky(l.view_mut());
            found.then(|| {
                invert_lower(l.view_mut());
                clear_upper(&mut l);
                l
            })
        })
    }

    /// Returns the diagonal of the mean: the cost of an error in each column. // `[K]`
    #[must_use]
    pub fn diagonal(&self) -> Vec<f32> {
        (0..self.width).map(|i| self.get(i, i) as f32).collect()
    }
}

/// C = sum over inputs of (x - x^)^T x^, x being the input in the original and x^ the one in the compressed model.
///
/// Products are in f32 over one batch, sums over batches in f64.
#[derive(Debug, Clone)]
pub struct Cross {
    /// The width of the inputs (K).
    pub width: usize,
    samples: usize,
    /// Row-major. // [K, K]
    sums: Vec<f64>,
    threads: usize,
}

impl Cross {
    /// Returns the statistic of no inputs. `threads` only affects the speed.
    #[must_use]
    pub fn new(width: usize, threads: usize) -> Self {
        Self { width, samples: 0, sums: vec![0.0; width * width], threads }
    }

    /// Adds a batch of inputs. // x, original [n, K]
    pub fn add(&mut self, x: &Matrix, original: &Matrix) {
        assert_eq!((x.cols, original.cols, original.rows), (self.width, self.width, x.rows), "inputs of one stage");
        self.samples += x.rows;
        let width = self.width;
        let difference: Vec<f32> = original.data.iter().zip(&x.data).map(|(a, b)| a - b).collect();
        let panels: Vec<_> = self.sums.chunks_mut(PANEL * width).collect();
        for_each(panels, self.threads, |p, panel| {
            let (first, rows) = (p * PANEL, panel.len() / width);
            let mut product = vec![0f32; panel.len()];
            let own = view(&difference, x.rows, width).slice_axis_move(Axis(1), (first..first + rows).into());
            multiply(1.0, own.t(), view(&x.data, x.rows, width), 0.0, &mut view_mut(&mut product, rows, width));
            panel.iter_mut().zip(product).for_each(|(sum, value)| *sum += f64::from(value));
        });
    }

    /// Returns the sums over the inputs, and the number of inputs. // [K, K]
    pub(crate) fn sums(&self) -> (ArrayView2<'_, f64>, usize) {
        (view(&self.sums, self.width, self.width), self.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_plain_sum_over_batches_and_threads() {
        let (n, k) = (37, 300);
        let x =
            |s: usize| Matrix::new(n, k, (0..n * k).map(|i| ((i * 31 + s * 7) % 101) as f32 / 50.0 - 1.0).collect());
        let (mut one, mut three) = (Hessian::new(k, 1), Hessian::new(k, 3));
        for s in 0..3 {
            one.add(&x(s));
            three.add(&x(s));
        }
        for (i, j) in [(0, 0), (5, 299), (128, 127), (200, 256), (299, 299)] {
            let plain: f64 = (0..3)
                .flat_map(|s| {
                    let m = x(s);
                    (0..n).map(move |r| f64::from(m.row(r)[i]) * f64::from(m.row(r)[j])).collect::<Vec<_>>()
                })
                .sum();
            assert!((one.get(i, j) - plain / (3 * n) as f64).abs() < 1e-5, "{i} {j}");
            assert_eq!(one.get(i, j).to_bits(), three.get(j, i).to_bits());
        }
        assert_eq!(one.samples, 111);
    }

    #[test]
    fn divided_statistics_are_those_of_divided_inputs() {
        let (n, k) = (50, 140);
        let x = Matrix::new(n, k, (0..n * k).map(|i| ((i * 31) % 101) as f32 / 50.0 - 1.0).collect());
        let scales: Vec<f32> = (0..k).map(|c| 0.5 + (c % 7) as f32).collect();
        let mut divided = x.clone();
        for r in 0..n {
            divided.row_mut(r).iter_mut().zip(&scales).for_each(|(x, s)| *x /= s);
        }
        let (mut found, mut expected) = (Hessian::new(k, 1), Hessian::new(k, 1));
        found.add(&x);
        found.divide(&scales);
        expected.add(&divided);
        for (i, j) in [(0, 0), (139, 0), (70, 69), (139, 139)] {
            let (found, expected) = (found.get(i, j), expected.get(i, j));
            assert!((found - expected).abs() <= 1e-5, "{i} {j}: {found} {expected}");
        }
        let (corner, off) = (expected.get(0, 0), expected.get(5, 4));
        let mean = (0..k).map(|i| expected.get(i, i)).sum::<f64>() / k as f64;
        expected.add_isotropic(0.5);
        assert!((expected.get(0, 0) - corner - 0.5 * mean).abs() < 1e-12);
        assert_eq!(expected.get(5, 4).to_bits(), off.to_bits());
    }
}
