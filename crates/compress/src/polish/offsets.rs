//! Closed-form offsets of groups that have their own.

use honelm_tensor::Matrix;
use ndarray::Array2;

use super::Tile;
use crate::linalg::{cholesky, solve_lower};

/// Takes the offsets of least error with codes and scales kept: v = G b + s, with G the columns of each group, so
/// G^T H G b = G^T H (w - s). A grid whose offsets follow from the scales is left as it is.
pub(super) fn refit(tile: &mut Tile<'_>) {
    let (k, size, groups) = (tile.w.cols, tile.group_size(), tile.groups);
    if tile.params.first().is_none_or(|&p| tile.grid.with_offset(p, p.offset).is_none()) {
        return;
    }
    let Some(l) = factor(tile.h, size, groups) else { return };
    let mut rest = tile.w.clone();
    for (i, x) in rest.data.iter_mut().enumerate() {
        let p = tile.params[i / k * groups + i % k / size];
        *x -= tile.grid.value(p, tile.codes[i]) - p.offset;
    }
    let pulled = tile.times_h(&rest);
    let codes = f32::from(tile.grid.codes().1);
    for (row, params) in pulled.iter_rows().zip(tile.params.chunks_mut(groups)) {
        let mut offsets: Vec<f64> = row.chunks(size).map(|y| y.iter().map(|&y| f64::from(y)).sum()).collect();
        solve_lower(l.view(), &mut offsets);
        for (p, offset) in params.iter_mut().zip(offsets) {
            let refitted = tile.grid.with_offset(*p, offset as f32);
            // An offset farther away than the whole range comes from a nearly singular system.
            if let Some(refitted) = refitted.filter(|new| (new.offset - p.offset).abs() <= codes * p.scale.abs()) {
                *p = refitted;
            }
        }
    }
}

/// Returns L of G^T H G = L L^T, the same for all rows; `None` where that is singular. // H [K, K] -> [groups, groups]
fn factor(h: &Matrix, size: usize, groups: usize) -> Option<Array2<f64>> {
    let mut a = Array2::<f64>::zeros((groups, groups));
    for (c, row) in h.iter_rows().enumerate() {
        for (other, values) in row.chunks(size).enumerate().take(c / size + 1) {
            a[(c / size, other)] += values.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
    }
    cholesky(a.view_mut()).then_some(a)
}
