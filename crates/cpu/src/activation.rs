//! Operations value by value, and sums of a row.

use honelm_backend::Activation;

use crate::TILE;
use crate::isa::multiversion;
use crate::math::{erf, exp, fused, tanh};

multiversion! {
    /// gate = f(gate) * up.
    pub(crate) fn gate(gate: &mut [f32], up: &[f32], f: Activation) = gate_body;
}

#[inline(always)]
fn gate_body(gate: &mut [f32], up: &[f32], f: Activation) {
    /// sqrt(2 / pi)
    const ROOT: f32 = 0.797_884_6;
    // Loops, not closures: see `attention::block`.
    let pairs = gate.iter_mut().zip(up);
    match f {
        Activation::Silu => {
            for (g, u) in pairs {
                *g = *g / (1.0 + exp(-*g)) * u;
            }
        }
        Activation::Gelu => {
            for (g, u) in pairs {
                *g = 0.5 * *g * (1.0 + erf(*g * std::f32::consts::FRAC_1_SQRT_2)) * u;
            }
        }
        Activation::GeluTanh => {
            for (g, u) in pairs {
                *g = 0.5 * *g * (1.0 + tanh(ROOT * fused(0.044_715 * *g * *g, *g, *g))) * u;
            }
        }
    }
}

multiversion! {
    /// x += y.
    pub(crate) fn add(x: &mut [f32], y: &[f32]) = add_body;
}

#[inline(always)]
fn add_body(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

multiversion! {
    /// x = cap * tanh(x / cap).
    pub(crate) fn softcap(x: &mut [f32], cap: f32) = softcap_body;
}

#[inline(always)]
pub(crate) fn softcap_body(x: &mut [f32], cap: f32) {
    for x in x.iter_mut() {
        *x = cap * tanh(*x / cap);
    }
}

multiversion! {
    /// x / sqrt(mean(x^2) + eps) * gain over each run of `gain.len()` values.
    pub(crate) fn rms_norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) = rms_norm_body;
}

#[inline(always)]
fn rms_norm_body(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    for (x, out) in x.chunks_exact(gain.len()).zip(out.chunks_exact_mut(gain.len())) {
        let scale = 1.0 / (sum_of_squares(x) / gain.len() as f32 + eps).sqrt();
        for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
            *out = x * scale * gain;
        }
    }
}

/// Sixteen partial sums, value i in sum i mod 16, then [`reduce`]d.
#[inline(always)]
fn sum_of_squares(x: &[f32]) -> f32 {
    let mut sums = [0.0; TILE];
    let (whole, rest) = x.as_chunks::<TILE>();
    for x in whole {
        for i in 0..TILE {
            sums[i] = fused(x[i], x[i], sums[i]);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum = fused(*x, *x, *sum);
    }
    reduce(sums)
}

/// The sum of sixteen values, always in the same order: halves onto each other.
#[inline(always)]
pub(crate) fn reduce(mut x: [f32; TILE]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            x[i] += x[i + half];
        }
    }
    x[0]
}
