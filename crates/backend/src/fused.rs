//! The fused operations in terms of the plain ones: their definitions, and the implementation in a back end that
//! does not override them.

use crate::{Activation, Attention, Backend, Cache, Rope, Tensor, Weight};

/// Defines [`Backend::norm_linears`].
pub fn norm_linears<B: Backend + ?Sized>(
    b: &mut B,
    x: &Tensor,
    gain: &Weight,
    eps: f32,
    ws: &[&Weight],
) -> Vec<Tensor> {
    let h = b.rms_norm(x, gain, eps);
    ws.iter().map(|w| b.linear(&h, w)).collect()
}

/// Defines [`Backend::linear_add`].
pub fn linear_add<B: Backend + ?Sized>(b: &mut B, x: &Tensor, w: &Weight, residual: Tensor) -> Tensor {
    let y = b.linear(x, w);
    b.add(residual, &y)
}

/// Defines [`Backend::norm_gated`].
pub fn norm_gated<B: Backend + ?Sized>(
    b: &mut B,
    x: &Tensor,
    gain: &Weight,
    eps: f32,
    gate: &Weight,
    up: &Weight,
    f: Activation,
) -> Tensor {
    let h = b.rms_norm(x, gain, eps);
    let g = b.linear(&h, gate);
    let u = b.linear(&h, up);
    b.gate(g, &u, f)
}

/// Defines [`Backend::rope_attention`].
#[allow(clippy::too_many_arguments, reason = "the operands of one fused operation")]
pub fn rope_attention<B: Backend + ?Sized>(
    b: &mut B,
    q: Tensor,
    k: Tensor,
    v: &Tensor,
    rope: &Rope,
    cache: &Cache,
    layer: usize,
    how: &Attention,
) -> Tensor {
    let q = b.rope(q, rope);
    let k = b.rope(k, rope);
    b.attention(&q, &k, v, cache, layer, how)
}
