//! Each operation as it is defined, one value at a time with sums in f64. The fast paths are tested against these.

mod attention;

pub use attention::{Seen, attention};

use honelm_backend::Activation;
use honelm_tensor::Matrix;

/// x W^T + bias. // [N, K], [M, K] -> [N, M]
#[must_use]
pub fn linear(x: &Matrix, w: &Matrix, bias: Option<&[f32]>) -> Matrix {
    let mut out = Matrix::zeros(x.rows, w.rows);
    for n in 0..x.rows {
        for m in 0..w.rows {
            let sum: f64 = x.row(n).iter().zip(w.row(m)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            out.row_mut(n)[m] = (sum + bias.map_or(0.0, |b| f64::from(b[m]))) as f32;
        }
    }
    out
}

/// x / sqrt(mean(x^2) + eps) * gain over each run of `gain.len()` values.
#[must_use]
pub fn rms_norm(x: &Matrix, gain: &[f32], eps: f32) -> Matrix {
    let mut out = x.clone();
    for run in out.data.chunks_exact_mut(gain.len()) {
        let squares: f64 = run.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
        let root = (squares / gain.len() as f64 + f64::from(eps)).sqrt();
        for (v, g) in run.iter_mut().zip(gain) {
            *v = (f64::from(*v) / root * f64::from(*g)) as f32;
        }
    }
    out
}

/// (x - mean) / sqrt(variance + eps) * gain + bias over each run of `gain.len()` values.
#[must_use]
pub fn layer_norm(x: &Matrix, gain: &[f32], bias: Option<&[f32]>, eps: f32) -> Matrix {
    let (mut out, n) = (x.clone(), gain.len() as f64);
    for run in out.data.chunks_exact_mut(gain.len()) {
        let mean = run.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = run.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        let root = (variance + f64::from(eps)).sqrt();
        for (i, v) in run.iter_mut().enumerate() {
            let normed = (f64::from(*v) - mean) / root * f64::from(gain[i]);
            *v = (normed + bias.map_or(0.0, |bias| f64::from(bias[i]))) as f32;
        }
    }
    out
}

/// Rotates each head of `width` values of each row to its position. The angle is rounded to f32, as in transformers.
#[must_use]
pub fn rope(x: &Matrix, positions: &[u32], inverse_frequencies: &[f32], width: usize, magnitude: f32) -> Matrix {
    let mut out = x.clone();
    let pairs = inverse_frequencies.len();
    for (r, position) in positions.iter().enumerate() {
        for head in out.row_mut(r).chunks_exact_mut(width) {
            for (i, frequency) in inverse_frequencies.iter().enumerate() {
                let angle = f64::from(*position as f32 * frequency);
                let (sin, cos) = (angle.sin() * f64::from(magnitude), angle.cos() * f64::from(magnitude));
                let (a, b) = (f64::from(head[i]), f64::from(head[i + pairs]));
                head[i] = (a * cos - b * sin) as f32;
                head[i + pairs] = (b * cos + a * sin) as f32;
            }
        }
    }
    out
}

/// f(x) for each value.
#[must_use]
pub fn activate(x: &Matrix, f: Activation) -> Matrix {
    Matrix::new(x.rows, x.cols, x.data.iter().map(|v| apply(f, f64::from(*v)) as f32).collect())
}

/// f(gate) * up for each value.
#[must_use]
pub fn gate(gate: &Matrix, up: &Matrix, f: Activation) -> Matrix {
    let values = gate.data.iter().zip(&up.data);
    Matrix::new(gate.rows, gate.cols, values.map(|(g, u)| (apply(f, f64::from(*g)) * f64::from(*u)) as f32).collect())
}

fn apply(f: Activation, x: f64) -> f64 {
    match f {
        Activation::Relu => x.clamp(0.0, f64::INFINITY),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
        }
    }
}

/// Returns the error function: its Maclaurin series, and 1 beyond 5.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 5.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..150 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

/// cap * tanh(x / cap) for each value.
#[must_use]
pub fn softcap(x: &Matrix, cap: f32) -> Matrix {
    let cap = f64::from(cap);
    Matrix::new(x.rows, x.cols, x.data.iter().map(|v| (cap * (f64::from(*v) / cap).tanh()) as f32).collect())
}
