use std::sync::Mutex;

use honelm_blocks::{BlockError, Grid, GroupParams, WeightData};
use honelm_tensor::Matrix;
use ndarray::Axis;

use crate::Factor;
use crate::linalg::{multiply, view, view_mut};
use crate::parallel::for_each;

/// Rows that one task sweeps together.
const ROWS: usize = 32;
/// Columns whose errors are fed back one by one; beyond them a panel at a time.
const PANEL: usize = 128;

/// A rounded matrix.
#[derive(Debug, Clone)]
pub struct Swept {
    /// The packed weight.
    pub weight: WeightData,
    /// Squared output error that the sweep leaves, sum of ((w - q) / U_jj)^2; 0 for plain rounding.
    pub error: f64,
}

/// GPTQ (Frantar et al. 2022, algorithm 1) onto any grid.
///
/// Columns are rounded in the factor's order; the error e = (w - q) / U_jj of each is fed into the columns still to come,
/// w[j+1..] -= e U[j, j+1..]. A group's parameters are fixed when the sweep reaches it, from weights that carry the feedback so far;
/// where the order is not the matrix's own they are fixed before (static groups), so that no column order has to be
/// stored. W `[M, K]`.
pub fn sweep(w: &Matrix, factor: &Factor, grid: &dyn Grid, threads: usize) -> Result<Swept, BlockError> {
    let (m, k) = (w.rows, w.cols);
    let panels = Panels::new(k, factor, grid);
    let mut codes = vec![0u8; m * k];
    let mut params = vec![GroupParams { scale: 0.0, offset: 0.0 }; m * panels.groups];
    let errors = Mutex::new(vec![0f64; m.div_ceil(ROWS)]);
    let tasks: Vec<_> = codes.chunks_mut(ROWS * k).zip(params.chunks_mut(ROWS * panels.groups)).collect();
    for_each(tasks, threads, |t, (codes, params)| {
        let rows = codes.len() / k;
        let mut chunk = Chunk::new(w, t * ROWS, rows, factor, &panels);
        let error = chunk.sweep(factor, grid, &panels, params, codes);
        errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[t] = error;
    });
    let error = errors.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).iter().sum();
    Ok(Swept { weight: grid.pack(m, k, &params, &codes)?, error })
}

/// Plain rounding of every group on its own; `importance` `[K]` weighs the columns where it is given.
pub fn rtn(w: &Matrix, importance: Option<&[f32]>, grid: &dyn Grid, threads: usize) -> Result<Swept, BlockError> {
    let (m, k) = (w.rows, w.cols);
    let g = if grid.group_size() == 0 { k } else { grid.group_size() };
    let groups = k.div_ceil(g);
    let mut codes = vec![0u8; m * k];
    let mut params = vec![GroupParams { scale: 0.0, offset: 0.0 }; m * groups];
    let tasks: Vec<_> = codes.chunks_mut(k).zip(params.chunks_mut(groups)).collect();
    for_each(tasks, threads, |r, (codes, params)| {
        let parts = w.row(r).chunks(g).zip(codes.chunks_mut(g)).zip(params.iter_mut());
        for (i, ((values, codes), p)) in parts.enumerate() {
            *p = match importance {
                Some(all) => grid.fit(values, &all[i * g..i * g + values.len()]),
                None => grid.fit_plain(values),
            };
            codes.iter_mut().zip(values).for_each(|(q, &x)| *q = grid.round(*p, x));
        }
    });
    Ok(Swept { weight: grid.pack(m, k, &params, &codes)?, error: 0.0 })
}

/// How columns, groups and feedback panels lie.
struct Panels {
    group_size: usize,
    groups: usize,
    panel: usize,
    /// Whether groups are fixed before the sweep.
    fixed: bool,
}

impl Panels {
    fn new(k: usize, factor: &Factor, grid: &dyn Grid) -> Self {
        let group_size = if grid.group_size() == 0 { k } else { grid.group_size() };
        // A group must lie in one panel, so that its parameters see all feedback so far.
        let panel = if group_size >= PANEL { group_size } else { PANEL / group_size * group_size };
        let fixed = group_size >= k || !factor.order.iter().enumerate().all(|(i, &c)| i == c);
        let panel = if fixed { PANEL } else { panel };
        Self { group_size, groups: k.div_ceil(group_size), panel, fixed }
    }
}

/// Rows that are swept together, columns in the order of the sweep.
struct Chunk {
    rows: usize,
    k: usize,
    /// Weights, fed with errors as the sweep goes. // [rows, K]
    w: Vec<f32>,
    /// Errors of the panel at hand. // [rows, panel]
    e: Vec<f32>,
}

impl Chunk {
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
    ) -> f64 {
        if panels.fixed {
            self.fix_all(factor, grid, panels, params);
        }
        let mut error = 0.0;
        for begin in (0..self.k).step_by(panels.panel) {
            let end = (begin + panels.panel).min(self.k);
            for r in 0..self.rows {
                let params = &mut params[r * panels.groups..(r + 1) * panels.groups];
                let codes = &mut codes[r * self.k..(r + 1) * self.k];
                error += self.sweep_row(r, begin..end, factor, grid, panels, params, codes);
            }
            self.feed_rest(begin, end, factor);
        }
        error
    }

    /// Parameters of all groups from the weights as they came, in the matrix's own column order.
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
    #[allow(clippy::too_many_arguments, reason = "one row's slices of the chunk's state")]
    fn sweep_row(
        &mut self,
        r: usize,
        panel: std::ops::Range<usize>,
        factor: &Factor,
        grid: &dyn Grid,
        panels: &Panels,
        params: &mut [GroupParams],
        codes: &mut [u8],
    ) -> f64 {
        let k = self.k;
        let w = &mut self.w[r * k + panel.start..r * k + panel.end];
        let e = &mut self.e[r * panel.len()..(r + 1) * panel.len()];
        let mut error = 0.0;
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
            error += f64::from(step) * f64::from(step);
            e[i] = step;
            for (later, &u) in w[i + 1..].iter_mut().zip(&u[1..]) {
                *later -= step * u;
            }
        }
        error
    }

    /// Feeds the errors of a finished panel into all columns after it: W[:, end..] -= E U[begin..end, end..].
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
