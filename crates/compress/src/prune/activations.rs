//! Importance by activations.

use honelm_tensor::Matrix;

use super::choice::Choice;
use crate::Hessian;

/// Returns tr(W_u H_uu W_u^T) of every unit u: the mean square of what its columns add to the outputs. // W [M, K]
pub(super) fn scores(w: &Matrix, hessian: &Hessian, choice: &Choice) -> Vec<f64> {
    let score = |unit: usize| {
        let columns = choice.columns(unit);
        let mut sum = 0.0;
        for i in columns.clone() {
            for j in columns.clone() {
                let products: f64 = w.iter_rows().map(|row| f64::from(row[i]) * f64::from(row[j])).sum();
                sum += hessian.get(i, j) * products;
            }
        }
        sum
    };
    (0..choice.units).map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_the_mean_squares_of_the_parts() {
        let value = |i: usize| ((i * 31) % 17) as f32 / 8.0 - 1.0;
        let (x, w) =
            (Matrix::new(20, 4, (0..80).map(value).collect()), Matrix::new(3, 4, (0..12).map(value).collect()));
        let mut hessian = Hessian::new(4, 1);
        hessian.add(&x);
        let choice = Choice { width: 2, units: 2, classes: 1, remove: 1 };
        let found = scores(&w, &hessian, &choice);
        for (unit, found) in found.into_iter().enumerate() {
            let part =
                |x: &[f32], w: &[f32]| choice.columns(unit).map(|i| f64::from(x[i]) * f64::from(w[i])).sum::<f64>();
            let squares: f64 =
                x.iter_rows().flat_map(|x| w.iter_rows().map(move |w| (x, w))).map(|(x, w)| part(x, w).powi(2)).sum();
            assert!((found - squares / 20.0).abs() < 1e-5, "{found} {squares}");
        }
    }
}
