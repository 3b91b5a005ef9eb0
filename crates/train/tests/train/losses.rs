//! The losses against finite differences and their definitions.

use honelm_cpu::Pool;
use honelm_tensor::Matrix;

use honelm_train::{Loss, Mix, Target, Top, cross_entropy, distillation, divergence, mean_square};

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

/// Returns softmax(row / t) and its logarithms.
fn tempered(row: &[f32], t: f64) -> Vec<[f64; 2]> {
    let sum: f64 = row.iter().map(|x| (f64::from(*x) / t).exp()).sum();
    row.iter().map(|x| f64::from(*x) / t - sum.ln()).map(|log| [log.exp(), log]).collect()
}

#[test]
fn distillation_follows_its_definition() {
    let (teacher, logits) = (honelm_testing::matrix(3, 9, 4), honelm_testing::matrix(3, 9, 5));
    let (tokens, mix) = ([Some(4), None, Some(0)], Mix { soft: 0.3, hard: 0.7, temperature: 2.5 });
    let found = distillation(&Pool::new(Some(2)), Some(Target::Logits(&teacher)), &tokens, logits.clone(), mix);
    let whole = Loss { sum: 0.3 * found.soft + 0.7 * found.hard, gradient: found.gradient };
    check(&logits, &whole, 1.0, |logits| {
        let row = |r: usize| {
            let [p, q] = [&teacher, logits].map(|m| tempered(m.row(r), 2.5));
            let soft: f64 = p.iter().zip(q).map(|(p, q)| p[0] * (p[1] - q[1])).sum();
            0.3 * 2.5 * 2.5 * soft
                - tokens[r].map_or(0.0, |token| 0.7 * tempered(logits.row(r), 1.0)[token as usize][1])
        };
        (0..3).map(row).sum()
    });
}

#[test]
fn the_divergence_from_the_most_likely_tokens_is_a_lower_bound() {
    let (teacher, logits) = (honelm_testing::matrix(3, 9, 6), honelm_testing::matrix(3, 9, 7));
    let pool = Pool::new(Some(1));
    let mix = Mix { soft: 1.0, hard: 0.0, temperature: 2.0 };
    let of = |target: Target<'_>| distillation(&pool, Some(target), &[None; 3], logits.clone(), mix);
    let full = of(Target::Logits(&teacher));
    let mut last = 0.0;
    for k in [1, 3, 6, 9] {
        let rows: Vec<Top> = teacher.iter_rows().map(|row| Top::new(row, k, 2.0)).collect();
        let found = of(Target::Top(&rows));
        assert!(found.soft > last && found.soft <= full.soft + 1e-6, "{k}: {} {last} {}", found.soft, full.soft);
        last = found.soft;
        let whole = Loss { sum: found.soft, gradient: found.gradient };
        check(&logits, &whole, 1.0, |logits| {
            let row = |r: usize| {
                let [p, q] = [&teacher, logits].map(|m| tempered(m.row(r), 2.0));
                let mut order: Vec<usize> = (0..9).collect();
                order.sort_by(|a, b| p[*b][0].total_cmp(&p[*a][0]));
                let named: f64 = order[..k].iter().map(|&i| p[i][0] * (p[i][1] - q[i][1])).sum();
                let [p, q] = [&p, &q].map(|d| order[k..].iter().map(|&i| d[i][0]).sum::<f64>());
                4.0 * (named + if k < 9 { p * (p / q).ln() } else { 0.0 })
            };
            (0..3).map(row).sum()
        });
        // What is read back differs by the rounding of the logarithms alone.
        let again = Top::unpack(&Top::pack(&rows), k, 9).unwrap();
        assert!((of(Target::Top(&again)).soft / found.soft - 1.0).abs() < 2e-2, "{k}");
        assert_eq!(
            again.iter().map(|row| &row.ids).collect::<Vec<_>>(),
            rows.iter().map(|row| &row.ids).collect::<Vec<_>>()
        );
        assert_eq!(Top::unpack(&Top::pack(&rows)[1..], k, 9), None);
        assert_eq!(Top::unpack(&Top::pack(&rows), k, 2), None);
    }
    let even = Top::new(&[1.0, 2.0, 2.0, 2.0], 2, 1.0);
    assert_eq!(even.ids, [1, 2]);
}

#[test]
fn the_difference_of_hidden_states_follows_its_definition() {
    let (target, x) = (honelm_testing::matrix(3, 5, 8), honelm_testing::matrix(3, 5, 9));
    let found = mean_square(&target, &x, 0.5);
    check(&x, &found, 0.5, |x| {
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
        square(&mut x.data.iter().zip(&target.data).map(|(x, t)| x - t)) / square(&mut target.data.iter().copied())
    });
}
