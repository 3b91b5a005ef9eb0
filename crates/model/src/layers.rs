//! Layers that architectures share, each with its weights.

use honelm_backend::{Activation, Attention, Backend, Cache, Rope, Tensor, Weight};

/// Rotary self-attention behind its norm, with the residual:
/// x + o(attend(rope(q), rope(k), v)) where q, k, v = linear(norm(x)).
pub(crate) struct SelfAttention {
    pub norm: Weight,
    pub q: Weight,
    pub k: Weight,
    pub v: Weight,
    pub o: Weight,
    pub eps: f32,
    pub rope: Rope,
    pub how: Attention,
    /// The layer of the cache that keeps k and v.
    pub layer: usize,
}

impl SelfAttention {
    /// // [N, D] -> [N, D]
    pub(crate) fn forward(&self, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let qkv = b.norm_linears(&x, &self.norm, self.eps, &[&self.q, &self.k, &self.v]);
        let [q, k, v] = <[Tensor; 3]>::try_from(qkv).expect("a tensor for each weight");
        let a = b.rope_attention(q, k, &v, &self.rope, cache, self.layer, &self.how);
        b.linear_add(&a, &self.o, x)
    }
}

/// The gated feed-forward layer behind its norm, with the residual:
/// x + down(f(gate(h)) * up(h)) where h = norm(x).
pub(crate) struct GatedMlp {
    pub norm: Weight,
    pub gate: Weight,
    pub up: Weight,
    pub down: Weight,
    pub eps: f32,
    pub f: Activation,
}

impl GatedMlp {
    /// // [N, D] -> [N, D]
    pub(crate) fn forward(&self, x: Tensor, b: &mut dyn Backend) -> Tensor {
        let h = b.norm_gated(&x, &self.norm, self.eps, &self.gate, &self.up, self.f);
        b.linear_add(&h, &self.down, x)
    }
}
