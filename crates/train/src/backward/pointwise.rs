//! The gradients of operations on single values, and of the rotation of pairs.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use honelm_backend::{Activation, Rope};
use honelm_cpu::Pool;
use honelm_tensor::Matrix;

/// The number of values, or of rows, that one task computes.
const VALUES: usize = 1 << 14;
const ROWS: usize = 16;

/// Returns f(x) and its derivative.
fn value_and_slope(f: Activation, x: f32) -> (f32, f32) {
    match f {
        Activation::Relu => (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }),
        Activation::Silu => {
            let s = 1.0 / (1.0 + (-x).exp());
            (x * s, s * (1.0 + x * (1.0 - s)))
        }
        Activation::Gelu => {
            let below = 0.5 * (1.0 + libm::erff(x * FRAC_1_SQRT_2));
            (x * below, below + x * (-0.5 * x * x).exp() / (2.0 * PI).sqrt())
        }
        Activation::GeluTanh => {
            let c = (2.0 / PI).sqrt();
            let t = (c * (x + 0.044_715 * x * x * x)).tanh();
            let inner = c * (1.0 + 3.0 * 0.044_715 * x * x);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
        }
    }
}

/// Multiplies each value of `dy` by `factor` of the value of `x` at its place.
fn times(pool: &Pool, x: &Matrix, mut dy: Matrix, factor: impl Fn(f32) -> f32 + Sync) -> Matrix {
    pool.run_parts(&mut dy.data, VALUES, |i, part| {
        part.iter_mut().zip(&x.data[i * VALUES..]).for_each(|(dy, x)| *dy *= factor(*x));
    });
    dy
}

/// y = f(x)
pub(super) fn activate(pool: &Pool, x: &Matrix, f: Activation, dy: Matrix) -> Matrix {
    times(pool, x, dy, |x| value_and_slope(f, x).1)
}

/// y = f(gate) up. Returns the gradients of gate and of up.
pub(super) fn gate(pool: &Pool, [gate, up]: [&Matrix; 2], f: Activation, dy: Matrix) -> [Matrix; 2] {
    let mut dgate = times(pool, up, dy.clone(), |up| up);
    dgate = activate(pool, gate, f, dgate);
    [dgate, times(pool, gate, dy, |gate| value_and_slope(f, gate).0)]
}

/// y = cap tanh(x / cap)
pub(super) fn softcap(pool: &Pool, x: &Matrix, cap: f32, dy: Matrix) -> Matrix {
    times(pool, x, dy, |x| 1.0 - (x / cap).tanh().powi(2))
}

/// y = factor x
pub(super) fn scale(mut dy: Matrix, factor: f32) -> Matrix {
    dy.data.iter_mut().for_each(|dy| *dy *= factor);
    dy
}

/// Each pair (a, b) becomes m (a cos - b sin, b cos + a sin), so its gradient is turned back.
pub(super) fn rope(pool: &Pool, mut dy: Matrix, positions: &[u32], frequencies: &[f32], rope: &Rope) -> Matrix {
    let (cols, pairs) = (dy.cols, frequencies.len());
    let (magnitude, head_width) = (rope.magnitude, rope.head_width);
    pool.run_parts(&mut dy.data, ROWS * cols, |i, part| {
        let mut turns = vec![(0.0, 0.0); pairs];
        for (row, position) in part.chunks_exact_mut(cols).zip(&positions[i * ROWS..]) {
            for ((cos, sin), frequency) in turns.iter_mut().zip(frequencies) {
                let angle = *position as f32 * frequency;
                (*cos, *sin) = (angle.cos() * magnitude, angle.sin() * magnitude);
            }
            for head in row.chunks_exact_mut(head_width) {
                let (first, second) = head[..2 * pairs].split_at_mut(pairs);
                for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(&turns) {
                    (*a, *b) = (*a * cos + *b * sin, *b * cos - *a * sin);
                }
            }
        }
    });
    dy
}
