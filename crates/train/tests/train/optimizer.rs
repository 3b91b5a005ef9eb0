//! The optimiser and its schedule.

use honelm_train::{AdamW, Fall, Moments, Schedule, clip, norm};

#[test]
fn the_first_steps_are_those_of_the_algorithm() {
    let adam = AdamW { rate: 0.1, betas: [0.9, 0.99], epsilon: 0.5, decay: 0.2 };
    let (mut values, mut moments) = (vec![1.0f32], Moments::zeros(1));
    adam.step(1, 1.0, &mut values, &[2.0], &mut moments);
    // Both corrected means of one gradient are the gradient and its square.
    let first = 1.0 * (1.0 - 0.1 * 0.2) - 0.1 * 2.0 / (2.0 + 0.5);
    assert!((values[0] - first).abs() < 1e-6, "{values:?}");
    adam.step(2, 0.5, &mut values, &[-1.0], &mut moments);
    let (mean, square) = (0.9f32 * 0.2 - 0.1, 0.99f32 * 0.04 + 0.01);
    let direction = mean / (1.0 - 0.81) / ((square / (1.0 - 0.9801)).sqrt() + 0.5);
    let second = first * (1.0 - 0.05 * 0.2) - 0.05 * direction;
    assert!((values[0] - second).abs() < 1e-6, "{values:?} {second}");
}

#[test]
fn the_rate_rises_then_falls_to_its_floor() {
    let schedule = Schedule { fall: Fall::Cosine, warmup: 4, steps: 20, floor: 0.1 };
    let factors: Vec<f32> = (1..=20).map(|step| schedule.factor(step)).collect();
    assert_eq!(&factors[..4], [0.25, 0.5, 0.75, 1.0]);
    assert!(factors[3..].is_sorted_by(|a, b| a > b), "{factors:?}");
    assert!((factors[11] - 0.55).abs() < 1e-6 && (factors[19] - 0.1).abs() < 1e-6, "{factors:?}");
    assert!((schedule.factor(99) - 0.1).abs() < 1e-6);
}

#[test]
fn gradients_are_clipped_together() {
    let mut gradients = [vec![3.0f32], vec![0.0, 4.0]];
    let found = norm(gradients.iter().map(Vec::as_slice));
    assert_eq!(found, 5.0);
    clip(gradients.iter_mut().map(Vec::as_mut_slice), found, 10.0);
    assert_eq!(gradients[0], [3.0]);
    clip(gradients.iter_mut().map(Vec::as_mut_slice), found, 1.0);
    assert!((norm(gradients.iter().map(Vec::as_slice)) - 1.0).abs() < 1e-5);
    assert!((gradients[1][1] / gradients[0][0] - 4.0 / 3.0).abs() < 1e-6);
}
