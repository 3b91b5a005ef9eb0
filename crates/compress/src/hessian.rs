use honelm_tensor::Matrix;
use ndarray::Axis;

use crate::linalg::{multiply, view, view_mut};
use crate::parallel::for_each;

/// Columns of H that one task computes. Fixed, so that the sums never depend on the number of threads.
const PANEL: usize = 128;

/// H = sum over inputs of x x^T, the second-order statistic of GPTQ (Frantar et al. 2022, section 3).
///
/// Products are in f32 over one batch, sums over batches in f64. Only the lower triangle is kept.
#[derive(Debug, Clone)]
pub struct Hessian {
    /// Input width (K).
    pub width: usize,
    /// Inputs seen.
    pub samples: usize,
    /// Column-major lower triangle; what stands above the diagonal is meaningless. // [K, K]
    lower: Vec<f64>,
    threads: usize,
}

impl Hessian {
    /// No inputs yet. `threads` only decides the speed.
    #[must_use]
    pub fn new(width: usize, threads: usize) -> Self {
        Self { width, samples: 0, lower: vec![0.0; width * width], threads }
    }

    /// Adds a batch of inputs. // x [n, K]
    pub fn add(&mut self, x: &Matrix) {
        assert_eq!(x.cols, self.width, "inputs of the layer's width");
        self.samples += x.rows;
        let width = self.width;
        let panels: Vec<_> = self.lower.chunks_mut(PANEL * width).collect();
        for_each(panels, self.threads, |p, panel| {
            let first = p * PANEL;
            let (rows, cols) = (width - first, panel.len() / width);
            let inputs = view(&x.data, x.rows, width);
            // Column-major, as `lower` is: the transposed product, row-major.
            let mut product = vec![0f32; cols * rows];
            let (own, below) = (
                inputs.slice_axis(Axis(1), (first..first + cols).into()),
                inputs.slice_axis(Axis(1), (first..).into()),
            );
            multiply(1.0, own.t(), below, 0.0, &mut view_mut(&mut product, cols, rows));
            for (column, products) in panel.chunks_exact_mut(width).zip(product.chunks_exact(rows)) {
                for (sum, &value) in column[first..].iter_mut().zip(products) {
                    *sum += f64::from(value);
                }
            }
        });
    }

    /// H[i, j] of the mean over inputs.
    #[must_use]
    pub fn get(&self, i: usize, j: usize) -> f64 {
        let (row, column) = (i.max(j), i.min(j));
        self.lower[column * self.width + row] / self.samples.max(1) as f64
    }

    /// The mean's diagonal: how much an error in each column costs. // `[K]`
    #[must_use]
    pub fn diagonal(&self) -> Vec<f32> {
        (0..self.width).map(|i| self.get(i, i) as f32).collect()
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
}
