//! The halves of a decoder layer that several architectures share, with their weights.

use honelm_backend::{Activation, Attention, Backend, Cache, Rope, Tensor, Weight};

/// Self-attention with the norm before it: o(attend(rope(q), rope(k), v)) where q, k, v = linear(norm(x)).
pub(crate) struct SelfAttention {
    pub norm: Weight,
    pub q: Weight,
    pub k: Weight,
    pub v: Weight,
    pub o: Weight,
    /// The RMS norms of the heads of q and of k, applied before rope.
    pub head_norms: Option<[Weight; 2]>,
    pub eps: f32,
    /// `None` in layers without positions.
    pub rope: Option<Rope>,
    pub how: Attention,
    /// The layer of the cache that stores k and v.
    pub layer: usize,
}

impl SelfAttention {
    /// Computes everything but o and the residual. // [N, D] -> [N, H * E]
    pub(crate) fn attend(&self, x: &Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let qkv = b.norm_linears(x, &self.norm, self.eps, &[&self.q, &self.k, &self.v]);
        let [mut q, mut k, v] = <[Tensor; 3]>::try_from(qkv).expect("a tensor for each weight");
        if let Some([q_norm, k_norm]) = &self.head_norms {
            q = b.rms_norm(&q, q_norm, self.eps);
            k = b.rms_norm(&k, k_norm, self.eps);
        }
        match &self.rope {
            Some(rope) => b.rope_attention(q, k, &v, rope, cache, self.layer, &self.how),
            None => b.attention(&q, &k, &v, cache, self.layer, &self.how),
        }
    }

    /// Computes x + attention. // [N, D] -> [N, D]
    pub(crate) fn forward(&self, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let a = self.attend(&x, b, cache);
        b.linear_add(&a, &self.o, x)
    }
}

/// The gated feed-forward network with the norm before it: down(f(gate(h)) * up(h)) where h = norm(x).
pub(crate) struct GatedMlp {
    pub norm: Weight,
    pub gate: Weight,
    pub up: Weight,
    pub down: Weight,
    pub eps: f32,
    pub f: Activation,
}

impl GatedMlp {
    /// Computes everything but down and the residual. // [N, D] -> [N, F]
    pub(crate) fn hidden(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        b.norm_gated(x, &self.norm, self.eps, &self.gate, &self.up, self.f)
    }

    /// Computes x + mlp. // [N, D] -> [N, D]
    pub(crate) fn forward(&self, x: Tensor, b: &mut dyn Backend) -> Tensor {
        let h = self.hidden(&x, b);
        b.linear_add(&h, &self.down, x)
    }
}

/// Splits the columns of a fused projection's output. // [N, sum of widths] -> each [N, width]
pub(crate) fn split<const P: usize>(x: Tensor, widths: [usize; P], b: &mut dyn Backend) -> [Tensor; P] {
    let mut start = 0;
    widths.map(|width| {
        start += width;
        b.columns(&x, start - width, width)
    })
}
