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
use crate::rounding::{Codes, grid, round};
use crate::{Change, CompressError, Damping, Factor, Stage};

/// Settings of GPTQ.
///
/// An encoding that is not a [`Grid`] takes no error feedback: its scales are searched with columns weighted by diag(H).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gptq {
    /// The damping of H.
    pub damping: Damping,
    /// `true` to sweep the columns by falling diag(H), with the parameters of all groups fixed before (static groups).
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
        let factor = Factor::new(&statistics.hessian, self.damping, self.act_order);
        if factor.damping.is_none() {
            stage.warn("no damping makes H positive definite; the weights are rounded without error feedback");
        }
        let damped = (self.polish > 0).then(|| factor.damped(&statistics.hessian));
        let fit = if self.search { Fit::Search } else { Fit::MinMax };
        let threads = stage.threads();
        stage.quantise(|w, target, _| {
            let Some(grid) = grid(target, fit) else {
                return round(w, target, Scales::Weighted, Some(&factor.importance), threads);
            };
            let mut swept = sweep(w, &factor, &*grid, threads);
            if let Some(h) = &damped {
                polish(&factor.alive(w), h, &*grid, self.polish, &mut swept, threads);
            }
            swept.pack(&*grid)
        })
    }
}

/// The number of rows that one task sweeps together.
const ROWS: usize = 32;
/// The number of columns whose errors are fed back one by one; later columns get the errors of a whole panel at once.
const PANEL: usize = 128;

/// Rounds W `[M, K]` onto a grid (Frantar et al. 2022, algorithm 1).
///
/// Columns are rounded in the factor's order. The error e = (w - q) / U_jj of each column is fed into the columns after it:
/// w[j+1..] -= e U[j, j+1..]. The parameters of a group are chosen when the sweep reaches it, from weights that include the
/// feedback so far. Where the order is not the matrix's own, they are chosen before the sweep (static groups), and no column
/// order has to be stored.
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

/// The sizes of groups and panels.
struct Panels {
    group_size: usize,
    groups: usize,
    panel: usize,
    /// `true` if the parameters of all groups are chosen before the sweep.
    fixed: bool,
}

impl Panels {
    fn new(k: usize, factor: &Factor, grid: &dyn Grid) -> Self {
        let group_size = if grid.group_size() == 0 { k } else { grid.group_size() };
        // A group lies in one panel, so that its parameters include all feedback so far.
        let panel = if group_size >= PANEL { group_size } else { PANEL / group_size * group_size };
        let fixed = group_size >= k || !factor.order.iter().enumerate().all(|(i, &c)| i == c);
        let panel = if fixed { PANEL } else { panel };
        Self { group_size, groups: k.div_ceil(group_size), panel, fixed }
    }
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
            let groups = own.chunks(panels.group_size).zip(factor.importance.chunks(panels.group_size));
            for (p, (values, importance)) in params[r * panels.groups..].iter_mut().zip(groups) {
                *p = grid.fit(values, importance);
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
        let k = self.k;
        let w = &mut self.w[r * k + panel.start..r * k + panel.end];
        let e = &mut self.e[r * panel.len()..(r + 1) * panel.len()];
        for i in 0..w.len() {
            let j = panel.start + i;
            let column = factor.order[j];
            let group = column / panels.group_size;
            if !panels.fixed && column.is_multiple_of(panels.group_size) {
                let length = panels.group_size.min(k - column);
                params[group] = grid.fit(&w[i..i + length], &factor.importance[column..column + length]);
            }
            let q = grid.round(params[group], w[i]);
            codes[column] = q;
            let u = &factor.upper[j * k + j..j * k + panel.end];
            let step = (w[i] - grid.value(params[group], q)) / u[0];
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
