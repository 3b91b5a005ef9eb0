use std::sync::Mutex;

use honelm_blocks::{BlockError, Grid, GroupParams, WeightData};
use honelm_tensor::Matrix;
use ndarray::Axis;

use crate::Factor;
use crate::linalg::{multiply, view, view_mut};
use crate::parallel::for_each;

/// Rows that one task sweeps together.
const ROWS: usize = 32;
/// Columns whose errors are fed back one by one; beyond them a block at a time.
const BLOCK: usize = 128;

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
    let layout = Layout::new(k, factor, grid);
    let mut codes = vec![0u8; m * k];
    let mut params = vec![GroupParams { scale: 0.0, offset: 0.0 }; m * layout.groups];
    let errors = Mutex::new(vec![0f64; m.div_ceil(ROWS)]);
    let tasks: Vec<_> = codes.chunks_mut(ROWS * k).zip(params.chunks_mut(ROWS * layout.groups)).collect();
    for_each(tasks, threads, |t, (codes, params)| {
        let rows = codes.len() / k;
        let mut chunk = Chunk::new(w, t * ROWS, rows, factor, &layout);
        let error = chunk.sweep(factor, grid, &layout, params, codes);
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

/// How columns, groups and feedback blocks lie.
struct Layout {
    group_size: usize,
    groups: usize,
    block: usize,
    /// Whether groups are fixed before the sweep.
    fixed: bool,
}

impl Layout {
    fn new(k: usize, factor: &Factor, grid: &dyn Grid) -> Self {
        let group_size = if grid.group_size() == 0 { k } else { grid.group_size() };
        // A group must lie in one block, so that its parameters see all feedback so far.
        let block = if group_size >= BLOCK { group_size } else { BLOCK / group_size * group_size };
        let fixed = group_size >= k || !factor.order.iter().enumerate().all(|(i, &c)| i == c);
        let block = if fixed { BLOCK } else { block };
        Self { group_size, groups: k.div_ceil(group_size), block, fixed }
    }
}

/// Rows that are swept together, columns in the order of the sweep.
struct Chunk {
    rows: usize,
    k: usize,
    /// Weights, fed with errors as the sweep goes. // [rows, K]
    w: Vec<f32>,
    /// Errors of the block at hand. // [rows, block]
    e: Vec<f32>,
}

impl Chunk {
    fn new(w: &Matrix, first: usize, rows: usize, factor: &Factor, layout: &Layout) -> Self {
        let k = w.cols;
        let mut data = Vec::with_capacity(rows * k);
        for r in first..first + rows {
            let row = w.row(r);
            data.extend(factor.order.iter().map(|&c| if factor.dead[c] { 0.0 } else { row[c] }));
        }
        Self { rows, k, w: data, e: vec![0.0; rows * layout.block.min(k)] }
    }

    fn sweep(
        &mut self,
        factor: &Factor,
        grid: &dyn Grid,
        layout: &Layout,
        params: &mut [GroupParams],
        codes: &mut [u8],
    ) -> f64 {
        if layout.fixed {
            self.fix_all(factor, grid, layout, params);
        }
        let mut error = 0.0;
        for begin in (0..self.k).step_by(layout.block) {
            let end = (begin + layout.block).min(self.k);
            for r in 0..self.rows {
                let params = &mut params[r * layout.groups..(r + 1) * layout.groups];
                let codes = &mut codes[r * self.k..(r + 1) * self.k];
                error += self.sweep_row(r, begin..end, factor, grid, layout, params, codes);
            }
            self.feed_rest(begin, end, factor);
        }
        error
    }

    /// Parameters of all groups from the weights as they came, in the matrix's own column order.
    fn fix_all(&self, factor: &Factor, grid: &dyn Grid, layout: &Layout, params: &mut [GroupParams]) {
        let mut own = vec![0f32; self.k];
        for r in 0..self.rows {
            for (&c, &x) in factor.order.iter().zip(&self.w[r * self.k..(r + 1) * self.k]) {
                own[c] = x;
            }
            let groups = own.chunks(layout.group_size).zip(factor.importance.chunks(layout.group_size));
            for (p, (values, importance)) in params[r * layout.groups..].iter_mut().zip(groups) {
                *p = grid.fit(values, importance);
            }
        }
    }

    /// Rounds the columns of one block in one row.
    #[allow(clippy::too_many_arguments, reason = "one row's slices of the chunk's state")]
    fn sweep_row(
        &mut self,
        r: usize,
        block: std::ops::Range<usize>,
        factor: &Factor,
        grid: &dyn Grid,
        layout: &Layout,
        params: &mut [GroupParams],
        codes: &mut [u8],
    ) -> f64 {
        let k = self.k;
        let w = &mut self.w[r * k + block.start..r * k + block.end];
        let e = &mut self.e[r * block.len()..(r + 1) * block.len()];
        let mut error = 0.0;
        for i in 0..w.len() {
            let j = block.start + i;
            let column = factor.order[j];
            let group = column / layout.group_size;
            if !layout.fixed && column.is_multiple_of(layout.group_size) {
                let length = layout.group_size.min(k - column);
                params[group] = grid.fit(&w[i..i + length], &factor.importance[column..column + length]);
            }
            let q = grid.round(params[group], w[i]);
            codes[column] = q;
            let u = &factor.upper[j * k + j..j * k + block.end];
            let step = (w[i] - grid.value(params[group], q)) / u[0];
            error += f64::from(step) * f64::from(step);
            e[i] = step;
            for (later, &u) in w[i + 1..].iter_mut().zip(&u[1..]) {
                *later -= step * u;
            }
        }
        error
    }

    /// Feeds the errors of a finished block into all columns after it: W[:, end..] -= E U[begin..end, end..].
    fn feed_rest(&mut self, begin: usize, end: usize, factor: &Factor) {
        let (k, rows, block) = (self.k, self.rows, end - begin);
        if end == k {
            return;
        }
        let upper = view(&factor.upper, k, k);
        let later = upper.slice_axis(Axis(0), (begin..end).into()).slice_axis_move(Axis(1), (end..).into());
        let errors = view(&self.e[..rows * block], rows, block);
        let mut weights = view_mut(&mut self.w, rows, k).slice_axis_move(Axis(1), (end..).into());
        multiply(-1.0, errors, later, 1.0, &mut weights);
    }
}
