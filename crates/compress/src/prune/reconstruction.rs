//! Importance by what the remaining units cannot replace.

use std::ops::Range;

use honelm_tensor::Matrix;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};

use super::choice::Choice;
use crate::linalg::{cholesky, clear_upper, invert_lower, multiply_f64};
use crate::{Damping, Hessian};

/// Returns the units that remain when those are removed one after the other whose removal costs the least once all others are
/// refitted; `None` if no damping makes H positive definite. // W [M, K]
///
/// With G = H^-1 of the columns that are left, removing the unit u costs tr(W_u (G_uu)^-1 W_u^T). Then W and G are updated:
/// W -= W_u (G_uu)^-1 G_u, G -= G_u^T (G_uu)^-1 G_u (ZipLM: Kurtic et al. 2023, equations 3 and 4).
pub(super) fn keep(w: &Matrix, hessian: &Hessian, damping: Damping, choice: &Choice) -> Option<Vec<usize>> {
    let l = hessian.inverse_factor(damping)?;
    let mut state = State {
        inverse: l.t().dot(&l),
        // Transposed, so that the values of a column are together.
        weights: Array2::from_shape_fn((w.cols, w.rows), |(c, r)| f64::from(w.row(r)[c])),
        choice,
    };
    let mut left: Vec<usize> = (0..choice.units).collect();
    let mut removed = vec![0; choice.classes];
    for _ in 0..choice.classes * choice.remove {
        let open = left.iter().copied().filter(|&unit| removed[choice.class(unit)] < choice.remove);
        let costs: Option<Vec<(usize, f64)>> = open.map(|unit| Some((unit, state.cost(unit)?))).collect();
        let (unit, _) = costs?.into_iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
        state.remove(unit)?;
        removed[choice.class(unit)] += 1;
        left.retain(|&other| other != unit);
    }
    Some(left)
}

struct State<'a> {
    /// G. // [K, K]
    inverse: Array2<f64>,
    /// W^T. // [K, M]
    weights: Array2<f64>,
    choice: &'a Choice,
}

impl State<'_> {
    /// Returns L^-1 of G_uu = L L^T. // [b, b]
    fn factor(&self, unit: usize) -> Option<Array2<f64>> {
        let columns = self.choice.columns(unit);
        let mut l = rows_of(&self.inverse, &columns).slice_axis_move(Axis(1), columns.into()).to_owned();
        if !cholesky(l.view_mut()) {
            return None;
        }
        invert_lower(l.view_mut());
        clear_upper(&mut l);
        Some(l)
    }

    fn cost(&self, unit: usize) -> Option<f64> {
        let columns = self.choice.columns(unit);
        if columns.len() == 1 {
            let g = self.inverse[(columns.start, columns.start)];
            let squares: f64 = self.weights.row(columns.start).iter().map(|w| w * w).sum();
            return (g > 0.0).then_some(squares / g);
        }
        let half = self.factor(unit)?.dot(&rows_of(&self.weights, &columns));
        Some(half.iter().map(|x| x * x).sum())
    }

    fn remove(&mut self, unit: usize) -> Option<()> {
        let columns = self.choice.columns(unit);
        let half = self.factor(unit)?;
        let rows = half.dot(&rows_of(&self.inverse, &columns));
        let outputs = half.dot(&rows_of(&self.weights, &columns));
        multiply_f64(-1.0, rows.t(), outputs.view(), 1.0, &mut self.weights.view_mut());
        multiply_f64(-1.0, rows.t(), rows.view(), 1.0, &mut self.inverse.view_mut());
        // What rounding leaves of the removed columns must not reach others.
        part_of(&mut self.weights, 0, &columns).fill(0.0);
        part_of(&mut self.inverse, 0, &columns).fill(0.0);
        part_of(&mut self.inverse, 1, &columns).fill(0.0);
        Some(())
    }
}

fn rows_of<'m>(matrix: &'m Array2<f64>, rows: &Range<usize>) -> ArrayView2<'m, f64> {
    matrix.slice_axis(Axis(0), rows.clone().into())
}

fn part_of<'m>(matrix: &'m mut Array2<f64>, axis: usize, range: &Range<usize>) -> ArrayViewMut2<'m, f64> {
    matrix.slice_axis_mut(Axis(axis), range.clone().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_others_replace_go_first() {
        let (n, k) = (300, 6);
        let mut x = Matrix::zeros(n, k);
        let mut value = 1u32;
        for r in 0..n {
            let row = x.row_mut(r);
            for x in row.iter_mut() {
                value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *x = (value >> 8) as f32 / 8_388_608.0 - 1.0;
            }
            // The columns of the last unit are large, but sums of others.
            (row[4], row[5]) = (5.0 * row[0] + row[1], 3.0 * row[2] - row[3]);
        }
        let w = Matrix::new(2, k, vec![1.0; 2 * k]);
        let mut hessian = Hessian::new(k, 1);
        hessian.add(&x);
        let damping = Damping { first: 1e-6, step: 0.01, retries: 3 };
        let choice = Choice { width: 2, units: 3, classes: 1, remove: 1 };
        assert_eq!(keep(&w, &hessian, damping, &choice), Some(vec![0, 1]));
        assert_eq!(choice.keep_highest(&super::super::activations::scores(&w, &hessian, &choice)), [0, 2]);
        let single = Choice { width: 1, units: 6, classes: 3, remove: 1 };
        let kept = keep(&w, &hessian, damping, &single).expect("positive definite");
        assert_eq!(kept.iter().map(|unit| unit / 2).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
