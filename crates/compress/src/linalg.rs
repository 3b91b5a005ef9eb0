//! The dense linear algebra of compression: products, a Cholesky factorisation, the inverse of a triangle.
//!
//! Both factorisations halve the matrix again and again, so nearly all of their time is spent in products. Everything
//! runs on the calling thread, in an order that depends on the shapes alone.

use honelm_tensor::Matrix;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};

pub(crate) use honelm_cpu::multiply;

/// The number of rows up to which a factorisation goes column by column.
const SMALL: usize = 32;

/// Returns a view of a row-major matrix. // [rows, cols]
pub(crate) fn view<T>(data: &[T], rows: usize, cols: usize) -> ArrayView2<'_, T> {
    match ArrayView2::from_shape((rows, cols), data) {
        Ok(view) => view,
        Err(_) => panic!("{} values for a matrix of {rows} x {cols}", data.len()),
    }
}

/// Returns a mutable view of a row-major matrix. // [rows, cols]
pub(crate) fn view_mut<T>(data: &mut [T], rows: usize, cols: usize) -> ArrayViewMut2<'_, T> {
    let len = data.len();
    match ArrayViewMut2::from_shape((rows, cols), data) {
        Ok(view) => view,
        Err(_) => panic!("{len} values for a matrix of {rows} x {cols}"),
    }
}

/// Computes C = scale A B + keep C.
pub(crate) fn multiply_f64(
    scale: f64,
    a: ArrayView2<'_, f64>,
    b: ArrayView2<'_, f64>,
    keep: f64,
    c: &mut ArrayViewMut2<'_, f64>,
) {
    general_mat_mul(scale, &a, &b, keep, c);
}

/// Returns the sum of a_i b_i, in sixteen sums that vector instructions can hold.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0f32; 16];
    for (a, b) in a.zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f32>() + rest
}

/// Returns d H d^T of every row d of D. // D [M, K], H [K, K] -> `[M]`
pub(crate) fn row_quadratics(d: &Matrix, h: &Matrix) -> Vec<f64> {
    let mut product = Matrix::zeros(d.rows, d.cols);
    let (a, b) = (view(&d.data, d.rows, d.cols), view(&h.data, d.cols, d.cols));
    multiply(1.0, a, b, 0.0, &mut view_mut(&mut product.data, d.rows, d.cols));
    let dot = |(p, d): (&[f32], &[f32])| p.iter().zip(d).map(|(&p, &d)| f64::from(p) * f64::from(d)).sum();
    product.iter_rows().zip(d.iter_rows()).map(dot).collect()
}

/// Returns W C (L L^T)^-1. // W [M, K] in rows, C [K, K], inverse = L^-1 [K, K] -> [M, K]
pub(crate) fn times_inverse(rows: &[f32], c: ArrayView2<'_, f64>, inverse: &Array2<f64>) -> Vec<f64> {
    let k = c.nrows();
    let w: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
    let w = view(&w, rows.len() / k.max(1), k);
    let (out, _) = w.dot(&c).dot(&inverse.t()).dot(inverse).into_raw_vec_and_offset();
    out
}

/// Replaces the lower triangle of A by L, A = L L^T. Returns `false` where A is not positive definite. The upper triangle
/// is not read, and is undefined afterwards. // A [K, K]
#[must_use]
pub(crate) fn cholesky(a: ArrayViewMut2<'_, f64>) -> bool {
    if a.nrows() <= SMALL {
        return small_cholesky(a);
    }
    let [mut a11, _, mut a21, mut a22] = quarters(a);
    if !cholesky(a11.view_mut()) {
        return false;
    }
    solve_transposed(a11.view(), a21.view_mut());
    subtract_square(a21.view(), a22.view_mut());
    cholesky(a22)
}

fn small_cholesky(mut a: ArrayViewMut2<'_, f64>) -> bool {
    for j in 0..a.nrows() {
        let pivot = a[(j, j)] - (0..j).map(|p| a[(j, p)] * a[(j, p)]).sum::<f64>();
        // Also false for NaN.
        if !(pivot > 0.0 && pivot.is_finite()) {
            return false;
        }
        let pivot = pivot.sqrt();
        a[(j, j)] = pivot;
        for i in j + 1..a.nrows() {
            let dot: f64 = (0..j).map(|p| a[(i, p)] * a[(j, p)]).sum();
            a[(i, j)] = (a[(i, j)] - dot) / pivot;
        }
    }
    true
}

/// Replaces b by the solution x of L L^T x = b. // L [n, n], b `[n]`
pub(crate) fn solve_lower(l: ArrayView2<'_, f64>, b: &mut [f64]) {
    let n = l.nrows();
    for i in 0..n {
        let dot: f64 = (0..i).map(|p| l[(i, p)] * b[p]).sum();
        b[i] = (b[i] - dot) / l[(i, i)];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|p| l[(p, i)] * b[p]).sum();
        b[i] = (b[i] - dot) / l[(i, i)];
    }
}

/// Computes X = X L^-T. // L [n, n], X [m, n]
fn solve_transposed(l: ArrayView2<'_, f64>, mut x: ArrayViewMut2<'_, f64>) {
    let n = l.nrows();
    if n <= SMALL {
        for mut row in x.rows_mut() {
            for j in 0..n {
                let dot: f64 = (0..j).map(|p| row[p] * l[(j, p)]).sum();
                row[j] = (row[j] - dot) / l[(j, j)];
            }
        }
        return;
    }
    let (top, bottom) = l.split_at(Axis(0), n / 2);
    let (l11, _) = top.split_at(Axis(1), n / 2);
    let (l21, l22) = bottom.split_at(Axis(1), n / 2);
    let (mut left, mut right) = x.split_at(Axis(1), n / 2);
    solve_transposed(l11, left.view_mut());
    multiply_f64(-1.0, left.view(), l21.t(), 1.0, &mut right);
    solve_transposed(l22, right);
}

/// Subtracts X X^T from the lower triangle of C. // X [m, n], C [m, m]
fn subtract_square(x: ArrayView2<'_, f64>, mut c: ArrayViewMut2<'_, f64>) {
    let m = x.nrows();
    if m <= 4 * SMALL {
        return multiply_f64(-1.0, x, x.t(), 1.0, &mut c);
    }
    let (upper, lower) = x.split_at(Axis(0), m / 2);
    let [c11, _, mut c21, c22] = quarters(c);
    multiply_f64(-1.0, lower, upper.t(), 1.0, &mut c21);
    subtract_square(upper, c11);
    subtract_square(lower, c22);
}

/// Replaces a lower triangle by its inverse. Nothing above the diagonal is read or written. // L [K, K]
pub(crate) fn invert_lower(mut l: ArrayViewMut2<'_, f64>) {
    let n = l.nrows();
    if n <= SMALL {
        for j in 0..n {
            l[(j, j)] = 1.0 / l[(j, j)];
            for i in j + 1..n {
                let dot: f64 = (j..i).map(|p| l[(i, p)] * l[(p, j)]).sum();
                l[(i, j)] = -dot / l[(i, i)];
            }
        }
        return;
    }
    let [mut l11, _, mut l21, mut l22] = quarters(l);
    invert_lower(l11.view_mut());
    invert_lower(l22.view_mut());
    // The triangles are read as whole matrices.
    let mut product = Array2::zeros(l21.raw_dim());
    multiply_f64(1.0, l21.view(), lower_of(l11.view()).view(), 0.0, &mut product.view_mut());
    multiply_f64(-1.0, lower_of(l22.view()).view(), product.view(), 0.0, &mut l21);
}

/// Returns a copy with zeros above the diagonal.
pub(crate) fn lower_of(l: ArrayView2<'_, f64>) -> Array2<f64> {
    Array2::from_shape_fn(l.raw_dim(), |(i, j)| if i < j { 0.0 } else { l[(i, j)] })
}

/// Replaces everything above the diagonal by zeros.
pub(crate) fn clear_upper(l: &mut Array2<f64>) {
    for (i, mut row) in l.outer_iter_mut().enumerate() {
        row.iter_mut().skip(i + 1).for_each(|x| *x = 0.0);
    }
}

/// Returns the quarters 11, 12, 21 and 22 of a square matrix.
fn quarters(a: ArrayViewMut2<'_, f64>) -> [ArrayViewMut2<'_, f64>; 4] {
    let half = a.nrows() / 2;
    let (top, bottom) = a.split_at(Axis(0), half);
    let ((a11, a12), (a21, a22)) = (top.split_at(Axis(1), half), bottom.split_at(Axis(1), half));
    [a11, a12, a21, a22]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// X X^T + 1 of a fixed X: positive definite. // [k, k]
    fn matrix(k: usize) -> Array2<f64> {
        let x = Array2::from_shape_fn((k, k), |(i, j)| ((i * 7919 + j * 104_729) % 1009) as f64 / 500.0 - 1.0);
        x.dot(&x.t()) + Array2::<f64>::eye(k)
    }

    #[test]
    fn factors_multiply_to_the_matrix_and_inverses_to_one() {
        for k in [1, 2, 31, 32, 33, 65, 200, 301] {
            let a = matrix(k);
            let mut l = a.clone();
            assert!(cholesky(l.view_mut()));
            let l = lower_of(l.view());
            let largest = a.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let error = (l.dot(&l.t()) - &a).iter().fold(0.0f64, |m, v| m.max(v.abs()));
            assert!(error <= 1e-13 * largest, "{k}: {error}");
            let mut inverse = l.clone();
            invert_lower(inverse.view_mut());
            let mut x: Vec<f64> = (0..k).map(|i| (i % 7) as f64 - 3.0).collect();
            let b = x.clone();
            solve_lower(l.view(), &mut x);
            let found = a.dot(&ndarray::ArrayView1::from(&x));
            assert!(found.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-8), "{k}");
            let error = (inverse.dot(&l) - Array2::<f64>::eye(k)).iter().fold(0.0f64, |m, v| m.max(v.abs()));
            assert!(error <= 1e-10, "{k}: {error}");
        }
    }

    #[test]
    fn matrices_that_are_not_positive_definite_are_refused() {
        for (at, value) in [(0, -1.0), (150, f64::NAN), (299, 0.0), (299, f64::INFINITY)] {
            let mut a = matrix(300);
            a[(at, at)] = value;
            assert!(!cholesky(a.view_mut()), "{value} at {at}");
        }
    }
}
