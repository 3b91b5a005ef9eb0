//! Element-wise operations and row norms.

use honelm_backend::Activation;

use crate::TILE;
use crate::isa::multiversion;
use crate::math::{erf, exp, fused, tanh};

#[inline(always)]
fn relu(x: f32) -> f32 {
    // NaN is kept.
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    /// sqrt(2 / pi)
    const ROOT: f32 = 0.797_884_6;
    0.5 * x * (1.0 + tanh(ROOT * fused(0.044_715 * x * x, x, x)))
}

multiversion! {
    /// gate = f(gate) * up.
    pub(crate) fn gate(gate: &mut [f32], up: &[f32], f: Activation) = gate_body;
}

#[inline(always)]
fn gate_body(gate: &mut [f32], up: &[f32], f: Activation) {
    // Loops instead of closures: see `attention::segment`.
    let pairs = gate.iter_mut().zip(up);
    match f {
        Activation::Relu => {
            for (g, u) in pairs {
                *g = relu(*g) * u;
            }
        }
        Activation::Silu => {
            for (g, u) in pairs {
                *g = silu(*g) * u;
            }
        }
        Activation::Gelu => {
            for (g, u) in pairs {
                *g = gelu(*g) * u;
            }
        }
        Activation::GeluTanh => {
            for (g, u) in pairs {
                *g = gelu_tanh(*g) * u;
            }
        }
    }
}

multiversion! {
    /// x = f(x).
    pub(crate) fn activate(x: &mut [f32], f: Activation) = activate_body;
}

#[inline(always)]
fn activate_body(x: &mut [f32], f: Activation) {
    match f {
        Activation::Relu => {
            for x in x {
                *x = relu(*x);
            }
        }
        Activation::Silu => {
            for x in x {
                *x = silu(*x);
            }
        }
        Activation::Gelu => {
            for x in x {
                *x = gelu(*x);
            }
        }
        Activation::GeluTanh => {
            for x in x {
                *x = gelu_tanh(*x);
            }
        }
    }
}

multiversion! {
    /// x *= factor.
    pub(crate) fn scale(x: &mut [f32], factor: f32) = scale_body;
}

#[inline(always)]
fn scale_body(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
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

multiversion! {
    /// (x - mean) / sqrt(variance + eps) * gain + bias over each run of `gain.len()` values. An empty `bias` means none.
    pub(crate) fn layer_norm(x: &[f32], gain: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) = layer_norm_body;
}

#[inline(always)]
fn layer_norm_body(x: &[f32], gain: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let n = gain.len() as f32;
    for (x, out) in x.chunks_exact(gain.len()).zip(out.chunks_exact_mut(gain.len())) {
        let mean = sum(x) / n;
        for (out, x) in out.iter_mut().zip(x) {
            *out = *x - mean;
        }
        let scale = 1.0 / (sum_of_squares(out) / n + eps).sqrt();
        for (out, gain) in out.iter_mut().zip(gain) {
            *out = *out * scale * gain;
        }
        for (out, bias) in out.iter_mut().zip(bias) {
            *out += bias;
        }
    }
}

/// Returns the sum of `x`. Value i is added to partial sum i mod 16; [`reduce`] adds these.
#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut sums = [0.0; TILE];
    let (whole, rest) = x.as_chunks::<TILE>();
    for x in whole {
        for i in 0..TILE {
            sums[i] += x[i];
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x;
    }
    reduce(sums)
}

/// Returns the sum of squares, in the order of [`sum`].
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

/// Returns the sum of sixteen values in a fixed order: each half is added to the other.
#[inline(always)]
pub(crate) fn reduce(mut x: [f32; TILE]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            x[i] += x[i + half];
        }
    }
    x[0]
}
