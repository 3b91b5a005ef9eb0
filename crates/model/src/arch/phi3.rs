//! Phi-3, Phi-3.5 and Phi-4 mini (Abdin et al. 2024; transformers' `modeling_phi3.py`).
//!
//! Differences from Llama: q, k and v are one projection and gate and up another, every layer has a sliding window if one
//! is set, and Phi-4 mini has a rotary embedding of a part of each head. llama.cpp ignores the window.

use std::rc::Rc;

use honelm_backend::{Activation, Attention, Backend, BackendError, Cache, CacheKind, Rope, Tensor, Weight};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS};
use crate::architecture::CacheShape;
use crate::decoder::{Ends, Sizes};
use crate::fields::Fields;
use crate::gguf_keys::{DECODER, Form, Key, WINDOW};
use crate::layers::split;
use crate::rope::{RopeConfig, RopeShape, THETA};
use crate::weights::bound;
use crate::{Architecture, Definition, ModelError, Module, Tree, Weights, limits};

/// `Phi3Config`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    sizes: Sizes,
    rope: RopeConfig,
    /// The number of positions that a row attends to, including its own.
    window: Option<usize>,
}

/// Dropout, and the path of the model's Python code in published folders.
const UNUSED: &[&str] = &["auto_map", "embd_pdrop", "resid_pdrop"];

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        f.only("hidden_act", &json!("silu"))?;
        for field in ["attention_bias", "mlp_bias", "lm_head_bias"] {
            f.only(field, &json!(false))?;
        }
        f.only("full_attn_mod", &json!(1))?;
        f.only("interpolate_factor", &json!(1))?;
        let mut sizes = Sizes::parse(&mut f, false)?;
        if !f.given("rms_norm_eps") {
            sizes.eps = 1e-5;
        }
        let rope = RopeConfig::parse(&mut f, &shape(&sizes))?;
        let window = f.optional_count("sliding_window", limits::CONTEXT)?;
        f.finish(&[HARMLESS, UNUSED].concat())?;
        Ok(Self { sizes, rope, window })
    }
}

fn shape(sizes: &Sizes) -> RopeShape {
    RopeShape { partial: true, ..sizes.rope(THETA) }
}

/// The registry's entry.
pub(super) const FAMILY: Family = Family {
    model_type: "phi3",
    gguf: "phi3",
    keys: &[DECODER, &[Key { form: Form::CountOrZero, ..WINDOW }]],
    rope: true,
    define: |fields| Ok(Rc::new(Config::parse(fields)?)),
};

impl Definition for Config {
    fn tree(&self) -> Tree {
        let (d, f, [q, kv]) = (self.sizes.width, self.sizes.ffn, self.sizes.projections());
        let linear = |name, hf, gguf, shape| Module::linear(name, hf, gguf, shape, false);
        let readers = self.sizes.heads / self.sizes.kv_heads;
        let layer = vec![
            Module::norm("attn_norm", "input_layernorm", "attn_norm", d),
            linear("qkv", "self_attn.qkv_proj", "attn_qkv", [q + 2 * kv, d]).scaled_by("attn_norm"),
            linear("o", "self_attn.o_proj", "attn_output", [d, q])
                .stage(1)
                .scaled_by_heads("qkv", q + kv, self.sizes.head_width, readers)
                .computed_by(self.sizes.head_width, &[("qkv", 0, 1), ("qkv", q, readers), ("qkv", q + kv, readers)]),
            Module::norm("mlp_norm", "post_attention_layernorm", "ffn_norm", d),
            linear("gate_up", "mlp.gate_up_proj", "ffn_up", [2 * f, d]).stage(2).scaled_by("mlp_norm"),
            linear("down", "mlp.down_proj", "ffn_down", [d, f])
                .stage(3)
                .scaled_by_rows("gate_up", f)
                .computed_by(1, &[("gate_up", 0, 1), ("gate_up", f, 1)]),
        ];
        self.sizes.tree(layer)
    }

    fn context(&self) -> usize {
        self.rope.limit(self.sizes.context)
    }

    fn cache(&self, _layer: usize) -> CacheShape {
        self.sizes.cache(self.window.map_or(CacheKind::Full, CacheKind::Window))
    }

    fn config(&self) -> Map<String, Json> {
        let mut config = self.sizes.config("phi3", "Phi3ForCausalLM");
        config.insert("hidden_act".to_owned(), json!("silu"));
        config.insert("sliding_window".to_owned(), json!(self.window));
        self.rope.write(&shape(&self.sizes), &mut config);
        config
    }

    fn bind(&self, w: &Weights, context: usize, b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let sizes = &self.sizes;
        let layer = |i: usize| {
            let w = w.layer(i)?;
            let [attn_norm, qkv, o] = ["attn_norm", "qkv", "o"].map(|name| w.take(name));
            let [mlp_norm, gate_up, down] = ["mlp_norm", "gate_up", "down"].map(|name| w.take(name));
            Some(Layer { attn_norm, qkv, o, mlp_norm, gate_up, down, cache: w.cache_layer() })
        };
        Ok(Box::new(Phi3 {
            rope: self.rope.bind(sizes.head_width, context, b)?,
            sizes: sizes.clone(),
            how: sizes.how(),
            ends: Ends::bind(w, sizes),
            layers: (0..sizes.layers).map(layer).collect(),
        }))
    }
}

struct Layer {
    attn_norm: Weight,
    qkv: Weight,
    o: Weight,
    mlp_norm: Weight,
    gate_up: Weight,
    down: Weight,
    cache: usize,
}

struct Phi3 {
    sizes: Sizes,
    rope: Rope,
    how: Attention,
    ends: Ends,
    layers: Vec<Option<Layer>>,
}

impl Architecture for Phi3 {
    fn embed(&self, b: &mut dyn Backend) -> Tensor {
        self.ends.embed(b)
    }

    fn layer(&self, i: usize, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let (layer, eps, [wide, narrow]) = (bound(&self.layers[i]), self.sizes.eps as f32, self.sizes.projections());
        let a = {
            let h = b.rms_norm(&x, &layer.attn_norm, eps);
            let qkv = b.linear(&h, &layer.qkv);
            let [q, k, v] = split(qkv, [wide, narrow, narrow], b);
            b.rope_attention(q, k, &v, &self.rope, cache, layer.cache, &self.how)
        };
        let x = b.linear_add(&a, &layer.o, x);
        let h = b.rms_norm(&x, &layer.mlp_norm, eps);
        let gate_up = b.linear(&h, &layer.gate_up);
        let [gate, up] = split(gate_up, [self.sizes.ffn; 2], b);
        let h = b.gate(gate, &up, Activation::Silu);
        b.linear_add(&h, &layer.down, x)
    }

    fn finish(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        self.ends.finish(x, b)
    }

    fn logits(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        self.ends.logits(x, b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_are_fused() {
        let mut json = json!({"vocab_size": 10, "hidden_size": 32, "intermediate_size": 12, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32, "sliding_window": 4,
            "original_max_position_embeddings": 16, "partial_rotary_factor": 0.75, "resid_pdrop": 0.1,
            "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1, 1.2], "long_factor": [2.0, 2.1, 2.2]}});
        let parse = |json: &Json| Config::parse(Fields::new("config.json", json).expect("an object"));
        let config = parse(&json).expect("valid");
        let tree = config.tree();
        let module = |name: &str| tree.layers[1].iter().find(|m| m.name == name).expect("in the tree");
        assert_eq!((module("qkv").shape, module("gate_up").shape), ([64, 32], [24, 32]));
        let first = |name: &str| module(name).scaled_by.map(|c| (c.first, c.readers));
        assert_eq!((first("o"), first("down")), (Some((48, 2)), Some((12, 1))));
        assert_eq!((config.rope.rotated, config.sizes.eps, config.window), (6, 1e-5, Some(4)));
        assert_eq!(parse(&Json::Object(config.config())).expect("own form"), config);
        json["lm_head_bias"] = json!(true);
        assert_eq!(parse(&json).expect_err("not supported").code(), "invalid-field");
    }
}
