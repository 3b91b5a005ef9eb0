//! The gradients of the norms.

use honelm_cpu::Pool;
use honelm_tensor::Matrix;

/// The gradients of a norm's operands. // x [N, D], gain and bias `[n]`
pub(super) struct NormGradient {
    pub x: Matrix,
    pub gain: Vec<f32>,
    pub bias: Vec<f32>,
}

/// The number of runs that one task computes.
const RUNS: usize = 64;

/// y = r x gain with r = 1 / sqrt(mean(x^2) + eps), so dx = r (gain dy) - r^3 x mean(x gain dy).
pub(super) fn rms_norm(pool: &Pool, x: &Matrix, gain: &[f32], eps: f32, dy: &Matrix) -> NormGradient {
    norm(pool, x, gain, dy, &|run| {
        let squares: f64 = run.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
        (0.0, 1.0 / (squares / run.len() as f64 + f64::from(eps)).sqrt())
    })
}

/// y = r (x - mean) gain + bias with r = 1 / sqrt(variance + eps), so with n = r (x - mean) and g = gain dy,
/// dx = r (g - mean(g) - n mean(g n)).
pub(super) fn layer_norm(pool: &Pool, x: &Matrix, gain: &[f32], eps: f32, dy: &Matrix) -> NormGradient {
    let mut gradient = norm(pool, x, gain, dy, &|run| {
        let mean = run.iter().map(|v| f64::from(*v)).sum::<f64>() / run.len() as f64;
        let variance = run.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / run.len() as f64;
        (mean, 1.0 / (variance + f64::from(eps)).sqrt())
    });
    // The mean of each run's gradient is taken out: a shift of x does not change y.
    pool.run_parts(&mut gradient.x.data, RUNS * gain.len(), |_, part| {
        for run in part.chunks_exact_mut(gain.len()) {
            let mean = (run.iter().map(|v| f64::from(*v)).sum::<f64>() / run.len() as f64) as f32;
            run.iter_mut().for_each(|v| *v -= mean);
        }
    });
    gradient
}

/// Computes the gradients for the normed values n = (x - shift) r, where `of_run` gives shift and r, up to what the shift adds.
fn norm(
    pool: &Pool,
    x: &Matrix,
    gain: &[f32],
    dy: &Matrix,
    of_run: &(dyn Fn(&[f32]) -> (f64, f64) + Sync),
) -> NormGradient {
    let width = gain.len();
    let mut dx = Matrix::zeros(x.rows, x.cols);
    let mut factors = vec![(0.0, 0.0); x.data.len() / width];
    pool.run_parts(&mut factors, RUNS, |i, part| {
        for (factor, run) in part.iter_mut().zip(x.data[i * RUNS * width..].chunks_exact(width)) {
            *factor = of_run(run);
        }
    });
    let factors = &factors;
    pool.run_parts(&mut dx.data, RUNS * width, |i, part| {
        let first = i * RUNS * width;
        let runs = x.data[first..].chunks_exact(width).zip(dy.data[first..].chunks_exact(width));
        for ((dx, (x, dy)), &(shift, r)) in part.chunks_exact_mut(width).zip(runs).zip(&factors[i * RUNS..]) {
            let values = || x.iter().zip(dy).zip(gain);
            let with: f64 = values().map(|((x, dy), g)| (f64::from(*x) - shift) * f64::from(g * dy)).sum();
            let share = r * r * with / width as f64;
            for (dx, ((x, dy), g)) in dx.iter_mut().zip(values()) {
                *dx = (r * (f64::from(g * dy) - share * (f64::from(*x) - shift))) as f32;
            }
        }
    });
    let (mut gains, mut biases) = (vec![0.0f64; width], vec![0.0f64; width]);
    let runs = x.data.chunks_exact(width).zip(dy.data.chunks_exact(width));
    for ((x, dy), &(shift, r)) in runs.zip(factors) {
        for (((gain, bias), x), dy) in gains.iter_mut().zip(&mut biases).zip(x).zip(dy) {
            *gain += (f64::from(*x) - shift) * r * f64::from(*dy);
            *bias += f64::from(*dy);
        }
    }
    let narrow = |sums: Vec<f64>| sums.into_iter().map(|sum| sum as f32).collect();
    NormGradient { x: dx, gain: narrow(gains), bias: narrow(biases) }
}
