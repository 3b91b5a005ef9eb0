//! The losses against finite differences and their definitions.

use honelm_cpu::Pool;
use honelm_tensor::Matrix;

use honelm_train::{Loss, cross_entropy, divergence};

fn softmax(row: &[f32]) -> Vec<f64> {
    let exps: Vec<f64> = row.iter().map(|x| f64::from(*x).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|e| e / sum).collect()
}

/// Compares the sum with the definition and the gradient with finite differences of it.
fn check(logits: &Matrix, found: &Loss, weight: f64, definition: impl Fn(&Matrix) -> f64) {
    assert!((found.sum - definition(logits)).abs() < 1e-5, "{} against {}", found.sum, definition(logits));
    let mut moved = logits.clone();
    for i in 0..logits.data.len() {
        let mut at = |by: f32| {
            moved.data[i] = logits.data[i] + by;
            definition(&moved)
        };
        let exact = (at(0.0078125) - at(-0.0078125)) / 0.015625 * weight;
        moved.data[i] = logits.data[i];
        assert!((f64::from(found.gradient.data[i]) - exact).abs() < 2e-5, "{i}: {} {exact}", found.gradient.data[i]);
    }
}

#[test]
fn divergence_follows_its_definition() {
    let (teacher, logits) = (honelm_testing::matrix(3, 9, 1), honelm_testing::matrix(3, 9, 2));
    let found = divergence(&Pool::new(Some(2)), &teacher, logits.clone(), 0.5);
    check(&logits, &found, 0.5, |logits| {
        let row = |r| {
            let (p, q) = (softmax(teacher.row(r)), softmax(logits.row(r)));
            p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
        };
        (0..3).map(row).sum()
    });
    let same = divergence(&Pool::new(Some(1)), &teacher, teacher.clone(), 1.0);
    assert!(same.sum.abs() < 1e-6 && same.gradient.data.iter().all(|g| g.abs() < 1e-7), "{}", same.sum);
}

#[test]
fn cross_entropy_follows_its_definition_and_skips_rows_without_a_target() {
    let logits = honelm_testing::matrix(3, 9, 3);
    let found = cross_entropy(&Pool::new(Some(2)), &[Some(4), None, Some(0)], logits.clone(), 0.5);
    check(&logits, &found, 0.5, |logits| -softmax(logits.row(0))[4].ln() - softmax(logits.row(2))[0].ln());
    assert!(found.gradient.row(1).iter().all(|g| *g == 0.0));
}

#[test]
fn extreme_logits_give_finite_gradients() {
    let teacher = Matrix::new(1, 3, vec![3e38, -3e38, 0.0]);
    let loss = divergence(&Pool::new(Some(1)), &teacher, Matrix::new(1, 3, vec![1e4, 0.0, -1e4]), 1.0);
    assert!(loss.sum.is_finite() && loss.gradient.data.iter().all(|g| g.is_finite()), "{loss:?}");
    let nan = divergence(&Pool::new(Some(1)), &Matrix::zeros(1, 2), Matrix::new(1, 2, vec![f32::NAN, 0.0]), 1.0);
    assert!(nan.sum.is_nan());
}
