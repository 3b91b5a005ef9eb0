//! The Walsh-Hadamard transform, with which back ends rotate what a cache of few bits holds.

/// Returns the length of the runs of a head of `width` values that [`hadamard`] transforms: the largest power of two that
/// divides it.
#[must_use]
pub fn hadamard_len(width: usize) -> usize {
    1 << width.trailing_zeros()
}

/// Rotates the vector of a head: every run of [`hadamard_len`] values x becomes H x / sqrt(n), with
/// H\[i\]\[j\] = (-1)^popcount(i & j).
///
/// The transform is orthogonal and its own inverse. It spreads a large value evenly over its run, so that the blocks of a
/// cache have smaller scales (QuaRot, Ashkboos et al. 2024, section 4). Each step is one addition or subtraction, in the order
/// of rising distances, then one product, so every back end has the same bits.
#[inline(always)]
pub fn hadamard(x: &mut [f32]) {
    let n = hadamard_len(x.len());
    let norm = 1.0 / (n as f32).sqrt();
    for run in x.chunks_exact_mut(n) {
        let mut distance = 1;
        while distance < n {
            for pairs in run.chunks_exact_mut(2 * distance) {
                let (a, b) = pairs.split_at_mut(distance);
                for (a, b) in a.iter_mut().zip(b) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            distance *= 2;
        }
        run.iter_mut().for_each(|x| *x *= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_matrix_and_is_its_own_inverse() {
        for width in [1, 2, 32, 64, 96, 160, 256] {
            let x: Vec<f32> = (0..width).map(|i| ((i * 37 + 11) % 101) as f32 - 50.0).collect();
            let (n, mut y) = (hadamard_len(width), x.clone());
            hadamard(&mut y);
            for (i, found) in y.iter().enumerate() {
                let run = &x[i / n * n..][..n];
                let sign = |j: usize| if ((i % n) & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                let exact: f64 = run.iter().enumerate().map(|(j, x)| sign(j) * f64::from(*x)).sum();
                let exact = exact / (n as f64).sqrt();
                assert!((f64::from(*found) - exact).abs() < 1e-4, "{width}, value {i}: {found}, expected {exact}");
            }
            hadamard(&mut y);
            assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-4), "{width}");
        }
    }
}
