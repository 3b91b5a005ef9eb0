//! GPTQ (Frantar et al. 2022): the rounding error of each column is fed into the columns that follow.

use std::ops::Range;

use honelm_blocks::{Fit, Grid, GroupParams};
use honelm_tensor::Matrix;
use ndarray::Axis;
use serde::{Deserialize, Serialize};

use super::{Method, Needs, Scales};
use crate::linalg::{multiply, view, view_mut};
use crate::parallel::for_each;
use crate::polish::polish;
use crate::rounding::{Codes, grid, round, size_of};
use crate::target::Target;
use crate::{Change, CompressError, Damping, Factor, Order, Stage};

/// Settings of GPTQ.
///
/// An encoding that is not a [`Grid`] takes no error feedback: its scales are searched with columns weighted by diag(H).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gptq {
    /// The damping of H.
    pub damping: Damping,
    /// `true` to sweep by falling diag(H): the groups by its sum, and the columns within each. Where groups share the numbers
    /// of a block (K-quants, IQ4_XS), the blocks, and the columns within each.
    pub act_order: bool,
    /// `true` to search for scales (and zero points) by weighted error; `false` to take them from the extremes.
    pub search: bool,
    /// The number of passes after the sweep that solve for the scales and then visit every code once more.
    pub polish: usize,
}

impl Default for Gptq {
    fn default() -> Self {
        Self { damping: Damping::default(), act_order: true, search: true, polish: 0 }
    }
}

impl Method for Gptq {
    fn needs(&self) -> Needs {
        Needs::Inputs
    }

    fn check(&self) -> Result<(), String> {
        if self.polish > 100 {
            return Err(format!("polish {}: expected at most 100 passes", self.polish));
        }
        self.damping.check()
    }

    fn apply(&self, stage: &mut Stage<'_>) -> Result<Vec<Change>, CompressError> {
        let statistics = stage.statistics()?;
        let fit = if self.search { Fit::Search } else { Fit::MinMax };
        let mut orders: Vec<Order> = Vec::new();
        for target in stage.modules().iter().map(|module| stage.target(module)) {
            let order = self.order(target, fit);
            if target != Target::Keep && !orders.contains(&order) {
                orders.push(order);
            }
        }
        let factor = |order| (order, Factor::new(&statistics.hessian, self.damping, order));
        let factors: Vec<(Order, Factor)> = orders.into_iter().map(factor).collect();
        if factors.iter().any(|(_, factor)| factor.damping.is_none()) {
            stage.warn("no damping makes H positive definite; the weights are rounded without error feedback");
        }
        let damped = factors.first().filter(|_| self.polish > 0).map(|(_, factor)| factor.damped(&statistics.hessian));
        let threads = stage.threads();
        stage.quantise(|w, target, _| {
            let order = self.order(target, fit);
            let Some((_, factor)) = factors.iter().find(|(known, _)| *known == order) else {
                return round(w, target, Scales::Weighted, None, threads);
            };
            let Some(grid) = grid(target, fit) else {
                return round(w, target, Scales::Weighted, Some(&factor.importance), threads);
            };
            let mut swept = sweep(w, factor, &*grid, threads);
            if let Some(h) = &damped {
                polish(&factor.alive(w), h, &*grid, self.polish, &mut swept, threads);
            }
            swept.pack(&*grid)
        })
    }
}

impl Gptq {
    /// Returns the order of the columns for a target.
    fn order(&self, target: Target, fit: Fit) -> Order {
        match grid(target, fit).map_or((0, 1), |grid| (grid.superblock(), grid.unit())) {
            _ if !self.act_order => Order::Natural,
            (0, _) => Order::Falling,
            (superblock, unit) => Order::FallingSuperblocks { superblock, unit },
        }
    }
}

/// The number of rows that one task sweeps together.
const ROWS: usize = 32;
/// The number of columns whose errors are fed back one by one; later columns get the errors of a whole panel at once.
const PANEL: usize = 128;

/// Rounds W `[M, K]` onto a grid (Frantar et al. 2022, algorithm 1).
///
/// Columns are rounded in the factor's order. The error e = (w - q) / U_jj of each column is fed into the columns after it:
/// w[j+1..] -= e U[j, j+1..]. The parameters of a superblock are chosen when the sweep reaches it, from weights that include the
/// feedback so far. Where the order mixes superblocks, they are chosen before the sweep (static groups). Either way, no column order
/// has to be stored.
fn sweep(w: &Matrix, factor: &Factor, grid: &dyn Grid, threads: usize) -> Codes {
    let k = w.cols;
    let panels = Panels::new(k, factor, grid);
    let mut swept = Codes::new(w.rows, k, grid);
    let tasks: Vec<_> = swept.codes.chunks_mut(ROWS * k).zip(swept.params.chunks_mut(ROWS * panels.groups)).collect();
    for_each(tasks, threads, |t, (codes, params)| {
        Rows::new(w, t * ROWS, codes.len() / k, factor, &panels).sweep(factor, grid, &panels, params, codes);
    });
    swept
}

/// The sizes of groups, superblocks and panels.
struct Panels {
    group_size: usize,
    groups: usize,
    /// The number of columns whose parameters are chosen together.
    superblock: usize,
    panel: usize,
    /// The cost of errors in the columns of each unit: A = (U U^T)^-1 of the unit's part of U; empty for units of one column.
    /// // [K / unit, unit, unit]
    metrics: Vec<f32>,
    /// `true` if all parameters are chosen before the sweep.
    fixed: bool,
}

impl Panels {
    fn new(k: usize, factor: &Factor, grid: &dyn Grid) -> Self {
        let (group_size, superblock) = (size_of(grid.group_size(), k), size_of(grid.superblock(), k));
        // A superblock lies in one panel, so that its parameters include all feedback so far.
        let panel = if superblock >= PANEL { superblock } else { PANEL / superblock * superblock };
        let is_mixed = |columns: &[usize]| columns.iter().any(|c| c / superblock != columns[0] / superblock);
        let fixed = superblock >= k || factor.order.chunks(superblock).any(is_mixed);
        let panel = if fixed { PANEL } else { panel };
        let metrics = unit_metrics(factor, k, grid.unit());
        Self { group_size, groups: k.div_ceil(group_size), superblock, panel, metrics, fixed }
    }

    /// Returns the groups of a superblock's columns.
    fn groups_of(&self, columns: Range<usize>) -> Range<usize> {
        columns.start / self.group_size..columns.end.div_ceil(self.group_size)
    }
}

/// The errors of a unit, fed into its later columns one by one, are e = d U^-1 for differences d = w - q: e e^T = d A d^T.
fn unit_metrics(factor: &Factor, k: usize, unit: usize) -> Vec<f32> {
    let mut out = Vec::new();
    if unit == 1 {
        return out;
    }
    for j in (0..k).step_by(unit) {
        let u = |a: usize, b: usize| f64::from(factor.upper[(j + a) * k + j + b]);
        // V = U^-1, column by column.
        let mut v = vec![0f64; unit * unit];
        for b in 0..unit {
            for a in (0..=b).rev() {
                let sum: f64 = (a + 1..=b).map(|c| u(a, c) * v[c * unit + b]).sum();
                v[a * unit + b] = (f64::from(u8::from(a == b)) - sum) / u(a, a);
            }
        }
        let dot = |a: usize, b: usize| (0..unit).map(|c| v[a * unit + c] * v[b * unit + c]).sum::<f64>();
        out.extend((0..unit * unit).map(|i| dot(i / unit, i % unit) as f32));
    }
    out
}

/// Rows that are swept together, columns in the order of the sweep.
struct Rows {
    rows: usize,
    k: usize,
    /// The weights with the feedback so far. // [rows, K]
    w: Vec<f32>,
    /// The errors of the current panel. // [rows, panel]
    e: Vec<f32>,
}

impl Rows {
    fn new(w: &Matrix, first: usize, rows: usize, factor: &Factor, panels: &Panels) -> Self {
        let k = w.cols;
        let mut data = Vec::with_capacity(rows * k);
        for r in first..first + rows {
            let row = w.row(r);
            data.extend(factor.order.iter().map(|&c| if factor.dead[c] { 0.0 } else { row[c] }));
        }
        Self { rows, k, w: data, e: vec![0.0; rows * panels.panel.min(k)] }
    }

    fn sweep(
        &mut self,
        factor: &Factor,
        grid: &dyn Grid,
        panels: &Panels,
        params: &mut [GroupParams],
        codes: &mut [u8],
    ) {
        if panels.fixed {
            self.fix_all(factor, grid, panels, params);
        }
        for begin in (0..self.k).step_by(panels.panel) {
            let end = (begin + panels.panel).min(self.k);
            for r in 0..self.rows {
                let params = &mut params[r * panels.groups..(r + 1) * panels.groups];
                let codes = &mut codes[r * self.k..(r + 1) * self.k];
                self.sweep_row(r, begin..end, factor, grid, panels, params, codes);
            }
            self.feed_rest(begin, end, factor);
        }
    }

    /// Chooses the parameters of all groups from the weights without feedback, in the matrix's own column order.
    fn fix_all(&self, factor: &Factor, grid: &dyn Grid, panels: &Panels, params: &mut [GroupParams]) {
        let mut own = vec![0f32; self.k];
        for r in 0..self.rows {
            for (&c, &x) in factor.order.iter().zip(&self.w[r * self.k..(r + 1) * self.k]) {
                own[c] = x;
            }
            let params = &mut params[r * panels.groups..(r + 1) * panels.groups];
            for start in (0..self.k).step_by(panels.superblock) {
                let columns = start..(start + panels.superblock).min(self.k);
                let groups = &mut params[panels.groups_of(columns.clone())];
                grid.fit_superblock(&own[columns.clone()], &factor.importance[columns], groups);
            }
        }
    }

    /// Rounds the columns of one panel in one row.
    #[allow(clippy::too_many_arguments, reason = "one row's slices of the tile's state")]
    fn sweep_row(
        &mut self,
        r: usize,
        panel: Range<usize>,
        factor: &Factor,
        grid: &dyn Grid,
        panels: &Panels,
        params: &mut [GroupParams],
        codes: &mut [u8],
    ) {
        let (k, unit) = (self.k, grid.unit());
        let w = &mut self.w[r * k + panel.start..r * k + panel.end];
        let e = &mut self.e[r * panel.len()..(r + 1) * panel.len()];
        for i in 0..w.len() {
            let j = panel.start + i;
            let column = factor.order[j];
            let group = column / panels.group_size;
            if !panels.fixed && j.is_multiple_of(panels.superblock) {
                let start = column / panels.superblock * panels.superblock;
                let columns = start..(start + panels.superblock).min(k);
                let mut own = vec![0f32; columns.len()];
                for (&x, &c) in w[i..].iter().zip(&factor.order[j..j + columns.len()]) {
                    own[c - start] = x;
                }
                let groups = &mut params[panels.groups_of(columns.clone())];
                grid.fit_superblock(&own, &factor.importance[columns], groups);
            }
            let p = params[group];
            if unit == 1 {
                codes[column] = grid.round(p, w[i]);
            } else if j.is_multiple_of(unit) {
                // The columns of a unit follow each other in the matrix too.
                grid.round_unit(
                    p,
                    &w[i..i + unit],
                    &panels.metrics[j * unit..(j + unit) * unit],
                    &mut codes[column..column + unit],
                );
            }
            let u = &factor.upper[j * k + j..j * k + panel.end];
            let step = (w[i] - grid.value(p, codes[column])) / u[0];
            e[i] = step;
            for (later, &u) in w[i + 1..].iter_mut().zip(&u[1..]) {
                *later -= step * u;
            }
        }
    }

    /// Feeds the errors of a finished panel into all later columns: W[:, end..] -= E U[begin..end, end..].
    fn feed_rest(&mut self, begin: usize, end: usize, factor: &Factor) {
        let (k, rows, panel) = (self.k, self.rows, end - begin);
        if end == k {
            return;
        }
        let upper = view(&factor.upper, k, k);
        let later = upper.slice_axis(Axis(0), (begin..end).into()).slice_axis_move(Axis(1), (end..).into());
        let errors = view(&self.e[..rows * panel], rows, panel);
        let mut weights = view_mut(&mut self.w, rows, k).slice_axis_move(Axis(1), (end..).into());
        multiply(-1.0, errors, later, 1.0, &mut weights);
    }
}

#[cfg(test)]
mod tests {
    use honelm_blocks::{BlockError, BlockMatrix, Encoding, WeightData};

    use super::*;
    use crate::Hessian;
    use crate::linalg::row_quadratics;

    /// Numbers in -1..1 that look random. // [rows, cols]
    fn noise(rows: usize, cols: usize, seed: u32) -> Matrix {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        Matrix::new(rows, cols, (0..rows * cols).map(next).collect())
    }

    /// Inputs of unequal size whose neighbours are alike.
    fn hessian(k: usize) -> Hessian {
        let mut x = noise(2 * k, k, 7);
        for r in 0..x.rows {
            let row = x.row_mut(r);
            (1..k).for_each(|c| row[c] += 0.7 * row[c - 1]);
            row.iter_mut().enumerate().for_each(|(c, x)| *x *= 0.3 + (c * 37 % 101) as f32 / 50.0);
        }
        let mut h = Hessian::new(k, 1);
        h.add(&x);
        h
    }

    fn grids() -> impl Iterator<Item = Encoding> {
        Encoding::ALL.into_iter().filter(|e| e.grid().is_some())
    }

    /// The result of the method for W, by its own steps.
    fn quantised(w: &Matrix, h: &Hessian, encoding: Encoding, method: &Gptq) -> Result<WeightData, BlockError> {
        let target = Target::Block(encoding);
        let factor = Factor::new(h, method.damping, method.order(target, Fit::Search));
        let grid = grid(target, Fit::Search).expect("a grid");
        let mut swept = sweep(w, &factor, &*grid, 2);
        polish(&factor.alive(w), &factor.damped(h), &*grid, method.polish, &mut swept, 2);
        swept.pack(&*grid)
    }

    /// The error of each row.
    fn errors(w: &Matrix, h: &Hessian, made: &WeightData) -> Vec<f64> {
        let mut v = made.dequantize();
        v.data.iter_mut().zip(&w.data).for_each(|(v, w)| *v -= w);
        row_quadratics(&v, &h.dense())
    }

    #[test]
    fn feedback_and_polish_each_lower_the_error_of_every_grid() {
        let (w, h) = (noise(6, 512, 3), hessian(512));
        let total = |made: &WeightData| errors(&w, &h, made).iter().sum::<f64>();
        for encoding in grids() {
            let searched = round(&w, Target::Block(encoding), Scales::Weighted, Some(&h.diagonal()), 1);
            let searched = total(&searched.expect("encoded"));
            for act_order in [false, true] {
                let [swept, polished] = [0, 2].map(|polish| {
                    let method = Gptq { act_order, polish, ..Gptq::default() };
                    total(&quantised(&w, &h, encoding, &method).expect("encoded"))
                });
                assert!(swept < 0.9 * searched && polished < 0.99 * swept, "{encoding}: {searched} {swept} {polished}");
            }
        }
    }

    #[test]
    fn rows_of_zeros_tiny_and_large_values_are_exact_or_near() {
        let (mut w, h) = (noise(4, 256, 5), hessian(256));
        w.row_mut(0).fill(0.0);
        w.row_mut(1).iter_mut().for_each(|x| *x *= 1e-9);
        w.row_mut(2).iter_mut().for_each(|x| *x *= 1e3);
        w.row_mut(3)[16..].fill(0.0);
        for encoding in grids() {
            let made = quantised(&w, &h, encoding, &Gptq { polish: 2, ..Gptq::default() }).expect("encoded");
            made.check_finite().expect("finite");
            assert!(made.dequantize().row(0).iter().all(|&v| v == 0.0), "{encoding}");
            let zeros = errors(
                &Matrix::zeros(4, 256),
                &h,
                &BlockMatrix::quantize(&w, Encoding::F32, None).expect("floats").into(),
            );
            for (r, (error, zero)) in errors(&w, &h, &made).into_iter().zip(zeros).enumerate() {
                let share = if r == 1 { 1.0 } else { 0.1 };
                assert!(error <= share * zero, "{encoding} row {r}: {error} of {zero}");
            }
        }
    }

    #[test]
    fn values_beyond_half_precision_are_an_error_that_names_the_row() {
        let (mut w, h) = (noise(3, 256, 5), hessian(256));
        w.row_mut(1).iter_mut().for_each(|x| *x *= 1e30);
        for encoding in grids().filter(|e| *e != Encoding::MXFP4) {
            let error = quantised(&w, &h, encoding, &Gptq { polish: 1, ..Gptq::default() }).expect_err("too large");
            assert!(matches!(error, BlockError::ScaleOverflow { row: 1, .. }), "{encoding}: {error}");
        }
    }
}
