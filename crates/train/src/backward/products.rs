//! Matrix products on the threads of a pool, in tiles that depend on the shapes alone.

use std::sync::{Mutex, PoisonError};

use honelm_cpu::{Pool, multiply};
use honelm_tensor::Matrix;
use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};

/// The rows and the columns of the result that one task computes. Larger tiles pack the factors less often.
const TILE: [usize; 2] = [256, 512];

/// Returns A B. // A [N, M], B [M, K] -> [N, K]
pub(crate) fn times(pool: &Pool, a: &Matrix, b: &Matrix) -> Matrix {
    product(pool, view(a), view(b))
}

/// Returns A^T B. // A [N, M], B [N, K] -> [M, K]
pub(crate) fn transposed_times(pool: &Pool, a: &Matrix, b: &Matrix) -> Matrix {
    product(pool, view(a).reversed_axes(), view(b))
}

/// Returns the sums of the columns. // [N, M] -> `[M]`
pub(crate) fn column_sums(a: &Matrix) -> Vec<f32> {
    let mut sums = vec![0.0f64; a.cols];
    for row in a.iter_rows() {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Returns a view of a matrix. // [rows, cols]
pub(crate) fn view(a: &Matrix) -> ArrayView2<'_, f32> {
    match ArrayView2::from_shape((a.rows, a.cols), &a.data) {
        Ok(view) => view,
        Err(_) => panic!("{} values for a matrix of {} x {}", a.data.len(), a.rows, a.cols),
    }
}

/// Returns a mutable view of a matrix. // [rows, cols]
pub(crate) fn view_mut(a: &mut Matrix) -> ArrayViewMut2<'_, f32> {
    let (rows, cols, len) = (a.rows, a.cols, a.data.len());
    match ArrayViewMut2::from_shape((rows, cols), &mut a.data) {
        Ok(view) => view,
        Err(_) => panic!("{len} values for a matrix of {rows} x {cols}"),
    }
}

fn product(pool: &Pool, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Matrix {
    let mut out = Matrix::zeros(a.nrows(), b.ncols());
    let mut tasks = Vec::new();
    for (i, rows) in chunks(view_mut(&mut out), Axis(0), TILE[0]).into_iter().enumerate() {
        let a = a.slice(s![i * TILE[0]..i * TILE[0] + rows.nrows(), ..]);
        for (j, tile) in chunks(rows, Axis(1), TILE[1]).into_iter().enumerate() {
            let b = b.slice(s![.., j * TILE[1]..j * TILE[1] + tile.ncols()]);
            tasks.push(Mutex::new((a, b, tile)));
        }
    }
    pool.run(tasks.len(), |task| {
        let mut task = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
        let (a, b, out) = &mut *task;
        multiply(1.0, *a, *b, 0.0, out);
    });
    drop(tasks);
    out
}

/// Splits a matrix along an axis into parts of `size`; the last one may be smaller.
fn chunks(whole: ArrayViewMut2<'_, f32>, axis: Axis, size: usize) -> Vec<ArrayViewMut2<'_, f32>> {
    let (mut rest, mut parts) = (whole, Vec::new());
    while rest.len_of(axis) > size {
        let (part, after) = rest.split_at(axis, size);
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}
