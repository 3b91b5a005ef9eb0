//! Units: neighbouring columns whose codes form one point of a lattice, so that they are chosen together.

use honelm_blocks::{Grid, GroupParams};
use ndarray::Array2;

use crate::linalg::{cholesky, dot, invert_lower, lower_of};

/// The largest number of columns in a unit.
const LARGEST: usize = 8;

/// The parts of H that belong to the units of a range of columns. Without any, if every column has a code of its own.
pub(crate) struct Units {
    /// The number of columns per unit.
    pub size: usize,
    /// H of each unit. // [units, size, size]
    blocks: Vec<f32>,
    /// Their inverses. // [units, size, size]
    inverses: Vec<f32>,
}

impl Units {
    /// Takes the diagonal blocks of H. // h [n, n]
    pub(crate) fn new(size: usize, n: usize, h: impl Fn(usize, usize) -> f32) -> Self {
        let mut units = Self { size, blocks: Vec::new(), inverses: Vec::new() };
        for first in (0..n).step_by(size).filter(|_| size > 1) {
            let block = Array2::from_shape_fn((size, size), |(i, j)| f64::from(h(first + i, first + j)));
            let mut l = block.clone();
            let inverse = if cholesky(l.view_mut()) {
                invert_lower(l.view_mut());
                let l = lower_of(l.view());
                l.t().dot(&l)
            } else {
                Array2::from_diag(&block.diag().map(|x| 1.0 / x))
            };
            units.blocks.extend(block.iter().map(|&x| x as f32));
            units.inverses.extend(inverse.iter().map(|&x| x as f32));
        }
        units
    }

    /// Rounds values without regard to other columns. // values, codes `[n]`
    pub(crate) fn round(&self, grid: &dyn Grid, p: GroupParams, values: &[f32], codes: &mut [u8]) {
        let blocks = self.blocks.chunks(self.size * self.size);
        for ((x, codes), h) in values.chunks(self.size).zip(codes.chunks_mut(self.size)).zip(blocks) {
            grid.round_unit(p, x, h, codes);
        }
    }

    /// Takes the codes of the unit at column `i` that are best with all others kept. Returns the changes of its values, or
    /// `None` if none lowers the error. // values, gradient, codes `[size]`
    pub(crate) fn step(
        &self,
        grid: &dyn Grid,
        p: GroupParams,
        i: usize,
        (values, gradient): (&[f32], &[f32]),
        codes: &mut [u8],
    ) -> Option<[f32; LARGEST]> {
        let n = self.size;
        let part = i * n..(i + n) * n;
        let (h, inverse) = (&self.blocks[part.clone()], &self.inverses[part]);
        let (mut x, mut best, mut change) = ([0f32; LARGEST], [0u8; LARGEST], [0f32; LARGEST]);
        for (x, (v, row)) in x.iter_mut().zip(values.iter().zip(inverse.chunks(n))) {
            *x = v - dot(row, gradient);
        }
        let best = &mut best[..n];
        grid.round_unit(p, &x[..n], h, best);
        if best == codes {
            return None;
        }
        for (change, (&q, v)) in change.iter_mut().zip(best.iter().zip(values)) {
            *change = grid.value(p, q) - v;
        }
        let rows = change.iter().zip(gradient.iter().zip(h.chunks(n)));
        let error: f32 = rows.map(|(c, (g, row))| c * (2.0 * g + dot(row, &change))).sum();
        if error < 0.0 {
            codes.copy_from_slice(best);
            Some(change)
        } else {
            None
        }
    }
}
