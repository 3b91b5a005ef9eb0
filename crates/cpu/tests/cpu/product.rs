//! Products of matrices in memory.

use honelm_cpu::multiply;
use ndarray::{Array2, s};

/// Numbers that look random.
fn matrix(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    Array2::from_shape_fn((rows, cols), |(i, j)| honelm_backend::uniform(seed, 0, i as u64, j as u64) - 0.5)
}

#[test]
fn products_of_every_shape_and_order_equal_plain_sums() {
    let sizes = [(1, 1, 1), (3, 300, 17), (13, 0, 5), (25, 40, 33), (400, 257, 50), (12, 16, 0), (7, 513, 100)];
    for (case, (n, k, m)) in sizes.into_iter().enumerate() {
        let [a, b, c] = [(n, k), (k, m), (n, m)].map(|(rows, cols)| matrix(rows, cols, case as u64));
        let [a_t, b_t, c_t] = [&a, &b, &c].map(|x| x.t().as_standard_layout().into_owned());
        for (scale, keep) in [(1.0, 0.0), (-0.5, 1.0), (1.0, 2.0)] {
            let plain = |i: usize, j: usize| {
                let sum: f64 = (0..k).map(|p| f64::from(a[(i, p)]) * f64::from(b[(p, j)])).sum();
                f64::from(scale) * sum + f64::from(keep) * f64::from(c[(i, j)])
            };
            for order in 0..8 {
                let a = if order & 1 == 0 { a.view() } else { a_t.t() };
                let b = if order & 2 == 0 { b.view() } else { b_t.t() };
                let mut out = if order & 4 == 0 { c.clone() } else { c_t.t().to_owned() };
                multiply(scale, a, b, keep, &mut out.view_mut());
                for ((i, j), &found) in out.indexed_iter() {
                    let wanted = plain(i, j);
                    assert!((f64::from(found) - wanted).abs() < 1e-4, "{n} {k} {m} {order} {i} {j}: {found} {wanted}");
                }
            }
        }
    }
}

#[test]
fn parts_of_a_product_have_the_bits_of_the_whole() {
    let (a, b) = (matrix(70, 300, 1), matrix(300, 90, 2));
    let mut whole = Array2::from_elem((70, 90), f32::NAN);
    multiply(1.0, a.view(), b.view(), 0.0, &mut whole.view_mut());
    let mut parts = whole.clone();
    for (rows, cols) in [(0..7, 0..90), (7..70, 0..31), (7..70, 31..90)] {
        let a = a.slice(s![rows.clone(), ..]);
        let b = b.slice(s![.., cols.clone()]);
        multiply(1.0, a, b, 0.0, &mut parts.slice_mut(s![rows, cols]));
    }
    assert!(whole.iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits()));
    // Every second row and column: nothing is contiguous.
    let strided = |x: &Array2<f32>| {
        let mut wide = Array2::zeros((2 * x.nrows(), 2 * x.ncols()));
        wide.slice_mut(s![..;2, ..;2]).assign(x);
        wide
    };
    let (wide_a, wide_b, mut wide) = (strided(&a), strided(&b), strided(&Array2::zeros((70, 90))));
    multiply(1.0, wide_a.slice(s![..;2, ..;2]), wide_b.slice(s![..;2, ..;2]), 0.0, &mut wide.slice_mut(s![..;2, ..;2]));
    assert!(whole.iter().zip(wide.slice(s![..;2, ..;2])).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert!(wide.slice(s![1..;2, ..]).iter().all(|&x| x == 0.0));
}

#[test]
#[should_panic(expected = "times")]
fn shapes_that_do_not_agree_are_refused() {
    multiply(1.0, matrix(2, 3, 0).view(), matrix(4, 2, 0).view(), 0.0, &mut matrix(2, 2, 0).view_mut());
}
