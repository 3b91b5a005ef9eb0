//! Refinement of rounded rows: closed-form scales and coordinate descent over the codes.

use honelm_blocks::{Grid, GroupParams};
use honelm_tensor::Matrix;
use ndarray::Array2;

use crate::linalg::{cholesky, dot, multiply, row_quadratics, solve_lower, view, view_mut};
use crate::parallel::for_each;
use crate::rounding::{Codes, size_of};
use crate::settle::{self, add};
use crate::superblocks;
use crate::units::Units;

mod offsets;

/// The number of rows that one task refines together.
const ROWS: usize = 32;
/// The range of a new scale relative to the old one. A solution outside of it comes from a nearly singular system.
const RANGE: std::ops::RangeInclusive<f32> = 0.3..=2.0;

/// Lowers (v - w) H (v - w)^T of every row in `passes` passes, v being the decoded row. A pass solves for the scales of all
/// groups of the row with the codes kept, then visits every column once and takes the code that is best with all others
/// kept. A row whose error does not fall stays as it was. // W [M, K], H [K, K], positive definite
pub(crate) fn polish(w: &Matrix, h: &Matrix, grid: &dyn Grid, passes: usize, rounded: &mut Codes, threads: usize) {
    let (k, groups) = (w.cols, rounded.groups());
    if passes == 0 || w.data.is_empty() {
        return;
    }
    let rows = rounded.codes.chunks_mut(ROWS * k).zip(rounded.params.chunks_mut(ROWS * groups));
    for_each(rows.zip(w.data.chunks(ROWS * k)).collect(), threads, |_, ((codes, params), w)| {
        let before = (codes.to_vec(), params.to_vec());
        let mut tile = Tile { w: Matrix::new(w.len() / k, k, w.to_vec()), h, grid, groups, codes, params };
        let first = tile.errors();
        for _ in 0..passes {
            let mut gradients = match grid.two_level() {
                Some(rule) => superblocks::refit(&mut tile, rule),
                None if tile.has_few_scales() => settle::refit(&mut tile),
                None => {
                    tile.refit();
                    offsets::refit(&mut tile);
                    tile.gradients()
                }
            };
            tile.descend(&mut gradients);
        }
        for (r, (before_row, after_row)) in first.into_iter().zip(tile.errors()).enumerate() {
            // A new error that is not a number is no improvement.
            let is_better = after_row < before_row;
            if !is_better {
                tile.codes[r * k..(r + 1) * k].copy_from_slice(&before.0[r * k..(r + 1) * k]);
                tile.params[r * groups..(r + 1) * groups].copy_from_slice(&before.1[r * groups..(r + 1) * groups]);
            }
        }
    });
}

/// Rows that are refined together.
pub(crate) struct Tile<'t> {
    /// The weights. // [rows, K]
    pub w: Matrix,
    /// H. // [K, K]
    pub h: &'t Matrix,
    pub grid: &'t dyn Grid,
    /// The number of groups per row.
    pub groups: usize,
    /// The codes. // [rows, K]
    pub codes: &'t mut [u8],
    /// The parameters of the groups. // [rows, groups]
    pub params: &'t mut [GroupParams],
}

impl Tile<'_> {
    /// Returns the number of columns per group.
    pub(crate) fn group_size(&self) -> usize {
        size_of(self.grid.group_size(), self.w.cols)
    }

    fn has_few_scales(&self) -> bool {
        self.params.first().is_some_and(|p| self.grid.neighbours(*p).is_some())
    }

    /// V - W. // [rows, K]
    fn difference(&self) -> Matrix {
        let (k, size) = (self.w.cols, self.group_size());
        let value = |i: usize| {
            let p = self.params[i / k * self.groups + i % k / size];
            self.grid.value(p, self.codes[i]) - self.w.data[i]
        };
        Matrix::new(self.w.rows, k, (0..self.w.data.len()).map(value).collect())
    }

    fn errors(&self) -> Vec<f64> {
        row_quadratics(&self.difference(), self.h)
    }

    /// (V - W) H, half the gradient of the errors. // [rows, K]
    pub(crate) fn gradients(&self) -> Matrix {
        self.times_h(&self.difference())
    }

    /// A H. // A [rows, K] -> [rows, K]
    fn times_h(&self, a: &Matrix) -> Matrix {
        let mut out = Matrix::zeros(a.rows, a.cols);
        let (left, right) = (view(&a.data, a.rows, a.cols), view(&self.h.data, a.cols, a.cols));
        multiply(1.0, left, right, 0.0, &mut view_mut(&mut out.data, a.rows, a.cols));
        out
    }

    /// Takes the scales of least error with the codes kept: v = T s + c, so T^T H T s = T^T H (w - c).
    fn refit(&mut self) {
        let (k, size) = (self.w.cols, self.group_size());
        let mut steps = Matrix::zeros(self.w.rows, k);
        let mut rest = self.w.clone();
        for i in 0..steps.data.len() {
            let p = self.params[i / k * self.groups + i % k / size];
            let [one, two] = [1.0, 2.0].map(|s| self.grid.value(self.grid.with_scale(p, s), self.codes[i]));
            steps.data[i] = two - one;
            rest.data[i] -= one - steps.data[i];
        }
        let pulled = self.times_h(&rest);
        for r in 0..self.w.rows {
            let params = &mut self.params[r * self.groups..(r + 1) * self.groups];
            let Some(scales) = scales(steps.row(r), pulled.row(r), self.h, size, params) else { continue };
            for (p, scale) in params.iter_mut().zip(scales) {
                let refitted = self.grid.with_scale(*p, scale);
                if RANGE.contains(&(refitted.scale / p.scale)) {
                    *p = refitted;
                }
            }
        }
    }

    /// Visits every column once and takes the code that is best with all others kept. // gradients [rows, K]
    fn descend(&mut self, gradients: &mut Matrix) {
        let (k, size) = (self.w.cols, self.group_size());
        if self.grid.unit() > 1 {
            return self.descend_units(gradients);
        }
        for r in 0..self.w.rows {
            let gradient = gradients.row_mut(r);
            for c in 0..k {
                let (p, code) = (self.params[r * self.groups + c / size], &mut self.codes[r * k + c]);
                let h = self.h.row(c);
                let old = self.grid.value(p, *code);
                let best = self.grid.round(p, old - gradient[c] / h[c]);
                let step = self.grid.value(p, best) - old;
                if best != *code && step * (step * h[c] + 2.0 * gradient[c]) < 0.0 {
                    *code = best;
                    gradient.iter_mut().zip(h).for_each(|(g, h)| *g += step * h);
                }
            }
        }
    }

    /// [`Tile::descend`] for codes that are chosen by units.
    fn descend_units(&mut self, gradients: &mut Matrix) {
        let (k, size) = (self.w.cols, self.group_size());
        let units = Units::new(self.grid.unit(), k, |i, j| self.h.row(i)[j]);
        for r in 0..self.w.rows {
            let gradient = gradients.row_mut(r);
            for c in (0..k).step_by(units.size) {
                let unit = c..c + units.size;
                let p = self.params[r * self.groups + c / size];
                let codes = &mut self.codes[r * k + unit.start..r * k + unit.end];
                let values: Vec<f32> = codes.iter().map(|&q| self.grid.value(p, q)).collect();
                let state = (&values[..], &gradient[unit.clone()]);
                let Some(steps) = units.step(self.grid, p, c, state, codes) else { continue };
                unit.zip(steps).for_each(|(c, step)| add(gradient, step, self.h.row(c)));
            }
        }
    }
}

/// Solves for the scales of one row; a group whose scale is 0 keeps it. `None` where the system is singular.
/// // t `[K]`, y = H (w - c) `[K]`
fn scales(t: &[f32], y: &[f32], h: &Matrix, size: usize, params: &[GroupParams]) -> Option<Vec<f32>> {
    let groups = params.len();
    let mut a = Array2::<f64>::zeros((groups, groups));
    let mut b = vec![0f64; groups];
    for (c, (&t_c, &y_c)) in t.iter().zip(y).enumerate() {
        let g = c / size;
        b[g] += f64::from(t_c) * f64::from(y_c);
        if t_c != 0.0 {
            for (other, (t, h)) in t.chunks(size).zip(h.row(c).chunks(size)).enumerate().take(g + 1) {
                a[(g, other)] += f64::from(t_c) * f64::from(dot(t, h));
            }
        }
    }
    for (g, p) in params.iter().enumerate() {
        if p.scale == 0.0 || a[(g, g)] <= 0.0 {
            a[(g, g)] = a[(g, g)].max(0.0) + 1.0;
            b[g] += f64::from(p.scale);
        }
    }
    if !cholesky(a.view_mut()) {
        return None;
    }
    solve_lower(a.view(), &mut b);
    Some(b.into_iter().map(|s| s as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounding::{grid, round_to};
    use crate::target::{GroupNumbers, Target};
    use honelm_blocks::{Encoding, Fit};

    /// Correlated inputs, as those of a layer are. // [k, k]
    fn correlated(k: usize) -> Matrix {
        let x: Vec<f32> =
            (0..k * k).map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0 + (i / k) as f32 * 0.01).collect();
        let mut h = Matrix::zeros(k, k);
        for i in 0..k {
            for j in 0..k {
                h.row_mut(i)[j] = (0..k).map(|n| x[n * k + i] * x[n * k + j]).sum::<f32>() / k as f32;
            }
            h.row_mut(i)[i] += 0.05;
        }
        h
    }

    #[test]
    fn every_pass_lowers_the_error_of_every_grid() {
        let numbers = GroupNumbers { has_bias: true, ..GroupNumbers::default() };
        let biased = Target::Groups { bits: 4, group_size: 32, symmetric: false, numbers };
        let groups = |symmetric| Target::groups(4, 32, symmetric);
        let blocks = Encoding::ALL.into_iter().filter(|e| e.grid().is_some()).map(Target::Block);
        let (m, k) = (36, 256);
        let w = Matrix::new(m, k, (0..m * k).map(|i| ((i * 31) % 113) as f32 / 50.0 - 1.0).collect());
        let (h, ones) = (correlated(k), vec![1.0; k]);
        for target in [groups(false), groups(true), biased].into_iter().chain(blocks) {
            let grid = grid(target, Fit::Search).expect("a grid");
            let mut rounded = round_to(&w, (!grid.has_plain_fit()).then_some(&ones), &*grid, 1);
            let error = |rounded: &Codes| {
                let mut v = rounded.pack(&*grid).expect("packed").dequantize();
                v.data.iter_mut().zip(&w.data).for_each(|(v, w)| *v -= w);
                row_quadratics(&v, &h).iter().sum::<f64>()
            };
            let plain = error(&rounded);
            polish(&w, &h, &*grid, 1, &mut rounded, 2);
            let once = error(&rounded);
            polish(&w, &h, &*grid, 2, &mut rounded, 1);
            let more = error(&rounded);
            assert!(once < 0.8 * plain && more <= once, "{target}: {plain} {once} {more}");
        }
    }
}
