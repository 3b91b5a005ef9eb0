//! Trials of new parameters for one group of one row, and the refinement of scales of which there are few.
//!
//! With D = v - w, a change of v by x changes the error D H D^T by 2 x G + x H x^T, G = D H being half the gradient.

use std::ops::Range;

use honelm_blocks::{Grid, GroupParams};
use honelm_tensor::Matrix;
use ndarray::Axis;

use crate::linalg::{multiply, view, view_mut};
use crate::polish::Tile;
use crate::units::Units;

/// The number of passes over the codes of a group under new parameters.
const PASSES: usize = 2;

/// A change of a group that lowers the error.
pub(crate) struct Found<T> {
    /// The parameters, as the caller names them.
    pub choice: T,
    pub codes: Vec<u8>,
    /// The change of the decoded values. // `[g]`
    pub change: Vec<f32>,
}

/// One group of one row.
pub(crate) struct Group<'g> {
    pub grid: &'g dyn Grid,
    /// The group's part of H. // [g, g]
    pub h: &'g [f32],
    pub units: &'g Units,
    /// The group's part of G. // `[g]`
    pub gradient: &'g [f32],
    /// The present codes. // `[g]`
    pub codes: &'g [u8],
    /// The present parameters.
    pub params: GroupParams,
}

/// The state of a group under parameters on trial.
struct Trial {
    codes: Vec<u8>,
    change: Vec<f32>,
    gradient: Vec<f32>,
}

impl Group<'_> {
    /// Returns the choice that lowers the error most, if any does. Under each, the values are first rounded to the codes
    /// nearest to the present ones, and then every code is visited [`PASSES`] times.
    pub(crate) fn best<T>(&self, choices: impl Iterator<Item = (T, GroupParams)>) -> Option<Found<T>> {
        let g = self.codes.len();
        let values: Vec<f32> = self.codes.iter().map(|&q| self.grid.value(self.params, q)).collect();
        let mut trial = Trial { codes: vec![0; g], change: vec![0.0; g], gradient: vec![0.0; g] };
        let (mut best, mut least) = (None, 0f32);
        for (choice, p) in choices {
            self.start(p, &values, &mut trial);
            for _ in 0..PASSES {
                let moved = if self.units.size > 1 {
                    self.visit_units(p, &values, &mut trial)
                } else {
                    self.visit(p, &values, &mut trial)
                };
                if !moved {
                    break;
                }
            }
            // 2 x G + x H x^T = x (G + (G + x H)).
            let both = self.gradient.iter().zip(&trial.gradient).map(|(a, b)| a + b);
            let error: f32 = trial.change.iter().zip(both).map(|(x, g)| x * g).sum();
            if error < least {
                least = error;
                best = Some(Found { choice, codes: trial.codes.clone(), change: trial.change.clone() });
            }
        }
        best
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.h[i * self.codes.len()..(i + 1) * self.codes.len()]
    }

    /// Rounds the present values under other parameters.
    fn start(&self, p: GroupParams, values: &[f32], trial: &mut Trial) {
        trial.gradient.copy_from_slice(self.gradient);
        self.units.round(self.grid, p, values, &mut trial.codes);
        for (i, (&v, q)) in values.iter().zip(&mut trial.codes).enumerate() {
            if self.units.size == 1 {
                *q = self.grid.round(p, v);
            }
            trial.change[i] = self.grid.value(p, *q) - v;
            add(&mut trial.gradient, trial.change[i], self.row(i));
        }
    }

    /// Visits every code once. Returns `false` if none changed.
    fn visit(&self, p: GroupParams, values: &[f32], trial: &mut Trial) -> bool {
        let mut moved = false;
        for i in 0..values.len() {
            let (h, gradient) = (self.row(i), trial.gradient[i]);
            let q = self.grid.round(p, values[i] + trial.change[i] - gradient / h[i]);
            if q == trial.codes[i] {
                continue;
            }
            let step = self.grid.value(p, q) - self.grid.value(p, trial.codes[i]);
            if step * (step * h[i] + 2.0 * gradient) < 0.0 {
                trial.codes[i] = q;
                trial.change[i] += step;
                add(&mut trial.gradient, step, h);
                moved = true;
            }
        }
        moved
    }

    /// Visits the codes of every unit once. Returns `false` if none changed.
    fn visit_units(&self, p: GroupParams, values: &[f32], trial: &mut Trial) -> bool {
        let mut moved = false;
        for i in (0..values.len()).step_by(self.units.size) {
            let unit = i..i + self.units.size;
            let now: Vec<f32> = unit.clone().map(|i| values[i] + trial.change[i]).collect();
            let state = (&now[..], &trial.gradient[unit.clone()]);
            let Some(steps) = self.units.step(self.grid, p, i, state, &mut trial.codes[unit.clone()]) else { continue };
            moved = true;
            for (i, step) in unit.zip(steps) {
                trial.change[i] += step;
                add(&mut trial.gradient, step, self.row(i));
            }
        }
        moved
    }
}

/// Lets `choose` change the groups of all rows, group after group, and keeps the gradients up to date.
///
/// `choose` gets the row, the group's number and the group, and returns its new parameters with the change. // gradients [rows, K]
pub(crate) fn each_group(
    tile: &mut Tile<'_>,
    gradients: &mut Matrix,
    mut choose: impl FnMut(usize, usize, &Group<'_>) -> Option<Found<GroupParams>>,
) {
    let (rows, k, size) = (tile.w.rows, tile.w.cols, tile.group_size());
    for (j, start) in (0..k).step_by(size).enumerate() {
        let columns = start..(start + size).min(k);
        let g = columns.len();
        let h: Vec<f32> = columns.clone().flat_map(|c| &tile.h.row(c)[columns.clone()]).copied().collect();
        let units = Units::new(tile.grid.unit(), g, |i, j| h[i * g + j]);
        let mut change = vec![0f32; rows * g];
        let mut moved = false;
        for r in 0..rows {
            let (codes, at) = (r * k + columns.start..r * k + columns.end, r * tile.groups + j);
            let group = Group {
                grid: tile.grid,
                h: &h,
                units: &units,
                gradient: &gradients.row(r)[columns.clone()],
                codes: &tile.codes[codes.clone()],
                params: tile.params[at],
            };
            if let Some(found) = choose(r, j, &group) {
                moved = true;
                tile.params[at] = found.choice;
                tile.codes[codes].copy_from_slice(&found.codes);
                change[r * g..(r + 1) * g].copy_from_slice(&found.change);
            }
        }
        if moved {
            feed(&change, tile.h, columns, gradients);
        }
    }
}

/// Takes for every group the neighbouring scale and the codes of least error. Returns the gradients G. // -> [rows, K]
pub(crate) fn refit(tile: &mut Tile<'_>) -> Matrix {
    let mut gradients = tile.gradients();
    each_group(tile, &mut gradients, |_, _, group| {
        let [below, above] = group.grid.neighbours(group.params)?;
        group.best([below, above, group.params].into_iter().map(|p| (p, p)))
    });
    gradients
}

/// Adds `step` times `row` to `out`.
pub(crate) fn add(out: &mut [f32], step: f32, row: &[f32]) {
    out.iter_mut().zip(row).for_each(|(out, x)| *out += step * x);
}

/// Adds the change X of the values in `columns` to the gradients: G += X H. // X [rows, columns], G [rows, K]
pub(crate) fn feed(change: &[f32], h: &Matrix, columns: Range<usize>, gradients: &mut Matrix) {
    let (rows, k) = (gradients.rows, gradients.cols);
    let change = view(change, rows, columns.len());
    let part = view(&h.data, k, k).slice_axis_move(Axis(0), columns.into());
    multiply(1.0, change, part, 1.0, &mut view_mut(&mut gradients.data, rows, k));
}
