//! GPT-2 (Radford et al. 2019; transformers' `modeling_gpt2.py`).
//!
//! Differences from Llama: learned positions are added to the embedding, norms are layer norms with biases, all linear
//! modules have biases, q, k and v are one projection, and the feed-forward network has a tanh GELU and no gate. Hugging
//! Face stores matrices as `[in, out]`; names in the first checkpoints lack the prefix `transformer.`.

use std::rc::Rc;

use honelm_backend::{Activation, Attention, Backend, BackendError, Cache, CacheKind, Tensor, Weight};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS};
use crate::architecture::CacheShape;
use crate::fields::Fields;
use crate::gguf_keys::{count, number};
use crate::layers::split;
use crate::weights::bound;
use crate::{Architecture, Definition, ModelError, Module, Tree, Weights, limits};

/// `GPT2Config`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    vocabulary: usize,
    width: usize,
    ffn: usize,
    layers: usize,
    heads: usize,
    context: usize,
    eps: f64,
    tied: bool,
}

/// Fields that affect only training, heads for other tasks, or the order of rounding.
const UNUSED: &[&str] = &[
    "attn_pdrop",
    "embd_pdrop",
    "gradient_checkpointing",
    "n_ctx",
    "reorder_and_upcast_attn",
    "resid_pdrop",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
];

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        match f.text("activation_function")?.unwrap_or("gelu_new") {
            "gelu_new" | "gelu_pytorch_tanh" => {}
            other => return Err(f.wrong("activation_function", &json!(other), "gelu_new or gelu_pytorch_tanh")),
        }
        f.only("scale_attn_weights", &json!(true))?;
        f.only("scale_attn_by_inverse_layer_idx", &json!(false))?;
        f.only("add_cross_attention", &json!(false))?;
        let (width, heads) = (f.count("n_embd", limits::WIDTH)?, f.count("n_head", limits::HEADS)?);
        if !width.is_multiple_of(heads) {
            return Err(f.wrong("n_embd", &json!(width), format!("a multiple of {heads} heads")));
        }
        let config = Self {
            vocabulary: f.count("vocab_size", limits::VOCABULARY)?,
            width,
            ffn: f.optional_count("n_inner", limits::WIDTH)?.unwrap_or(4 * width),
            layers: f.count("n_layer", limits::LAYERS)?,
            heads,
            context: f.count("n_positions", limits::CONTEXT)?,
            eps: f.optional_number("layer_norm_epsilon")?.unwrap_or(1e-5),
            tied: f.optional_flag("tie_word_embeddings")?.unwrap_or(true),
        };
        f.finish(&[HARMLESS, UNUSED].concat())?;
        Ok(config)
    }
}

/// The registry's entry.
pub(super) const FAMILY: Family = Family {
    model_type: "gpt2",
    gguf: "gpt2",
    keys: &[&[
        count("n_positions", "context_length"),
        count("n_embd", "embedding_length"),
        count("n_layer", "block_count"),
        count("n_inner", "feed_forward_length"),
        count("n_head", "attention.head_count"),
        number("layer_norm_epsilon", "attention.layer_norm_epsilon"),
    ]],
    rope: false,
    define: |fields| Ok(Rc::new(Config::parse(fields)?)),
};

impl Definition for Config {
    fn tree(&self) -> Tree {
        let (d, f, v) = (self.width, self.ffn, self.vocabulary);
        let heads = [("qkv", 0, 1), ("qkv", d, 1), ("qkv", 2 * d, 1)];
        let norm = |name, hf, gguf| Module::norm(name, hf, gguf, d).with_bias();
        let linear = |name, hf, gguf, shape| Module::linear(name, hf, gguf, shape, true).transposed();
        let layer = vec![
            norm("attn_norm", "ln_1", "attn_norm"),
            linear("qkv", "attn.c_attn", "attn_qkv", [3 * d, d]).scaled_by("attn_norm"),
            linear("o", "attn.c_proj", "attn_output", [d, d])
                .stage(1)
                .scaled_by_rows("qkv", 2 * d)
                .computed_by(d / self.heads, &heads),
            norm("mlp_norm", "ln_2", "ffn_norm"),
            linear("up", "mlp.c_fc", "ffn_up", [f, d]).stage(2).scaled_by("mlp_norm"),
            linear("down", "mlp.c_proj", "ffn_down", [d, f]).stage(3).computed_by(1, &[("up", 0, 1)]),
        ];
        Tree {
            embed: vec![
                Module::embedding("embed", "transformer.wte", "token_embd", [v, d]),
                Module::positions("positions", "transformer.wpe", "position_embd", [self.context, d]),
            ],
            finish: vec![norm("norm", "transformer.ln_f", "output_norm")],
            hf_layers: "transformer.h",
            hf_aliases: &[("transformer.", "")],
            hf_buffers: &[".attn.bias", ".attn.masked_bias"],
            ..Tree::decoder([v, d], vec![layer; self.layers], self.tied)
        }
    }

    fn context(&self) -> usize {
        self.context
    }

    fn cache(&self, _layer: usize) -> CacheShape {
        CacheShape { kind: CacheKind::Full, kv_heads: self.heads, head_width: self.width / self.heads }
    }

    fn config(&self) -> Map<String, Json> {
        let fields = [
            ("architectures", json!(["GPT2LMHeadModel"])),
            ("model_type", json!("gpt2")),
            ("vocab_size", json!(self.vocabulary)),
            ("n_positions", json!(self.context)),
            ("n_ctx", json!(self.context)),
            ("n_embd", json!(self.width)),
            ("n_layer", json!(self.layers)),
            ("n_head", json!(self.heads)),
            ("n_inner", json!(self.ffn)),
            ("activation_function", json!("gelu_new")),
            ("layer_norm_epsilon", json!(self.eps)),
            ("tie_word_embeddings", json!(self.tied)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn bind(&self, w: &Weights, _context: usize, _b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let scale = 1.0 / ((self.width / self.heads) as f32).sqrt();
        let layer = |i: usize| {
            let w = w.layer(i)?;
            let [attn_norm, qkv, o] = ["attn_norm", "qkv", "o"].map(|name| w.take(name));
            let [mlp_norm, up, down] = ["mlp_norm", "up", "down"].map(|name| w.take(name));
            Some(Layer { attn_norm, qkv, o, mlp_norm, up, down, cache: w.cache_layer() })
        };
        Ok(Box::new(Gpt2 {
            width: self.width,
            eps: self.eps as f32,
            how: Attention { heads: self.heads, scale, softcap: None },
            embed: w.outer("embed"),
            positions: w.outer("positions"),
            layers: (0..self.layers).map(layer).collect(),
            norm: w.outer("norm"),
            output: w.outer(if self.tied { "embed" } else { "output" }),
        }))
    }
}

struct Layer {
    attn_norm: Weight,
    qkv: Weight,
    o: Weight,
    mlp_norm: Weight,
    up: Weight,
    down: Weight,
    cache: usize,
}

struct Gpt2 {
    width: usize,
    eps: f32,
    how: Attention,
    embed: Option<Weight>,
    positions: Option<Weight>,
    layers: Vec<Option<Layer>>,
    norm: Option<Weight>,
    output: Option<Weight>,
}

impl Architecture for Gpt2 {
    fn embed(&self, b: &mut dyn Backend) -> Tensor {
        let x = b.embed(bound(&self.embed));
        let p = b.positions(bound(&self.positions), 0);
        b.add(x, &p)
    }

    fn layer(&self, i: usize, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let layer = bound(&self.layers[i]);
        let a = {
            let h = b.layer_norm(&x, &layer.attn_norm, self.eps);
            let qkv = b.linear(&h, &layer.qkv);
            let [q, k, v] = split(qkv, [self.width; 3], b);
            b.attention(&q, &k, &v, cache, layer.cache, &self.how)
        };
        let x = b.linear_add(&a, &layer.o, x);
        let h = b.layer_norm(&x, &layer.mlp_norm, self.eps);
        let h = b.linear(&h, &layer.up);
        let h = b.activate(h, Activation::GeluTanh);
        b.linear_add(&h, &layer.down, x)
    }

    fn finish(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        b.layer_norm(x, bound(&self.norm), self.eps)
    }

    fn logits(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        b.linear(x, bound(&self.output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_fused_transposed_and_biased() {
        let json = json!({"vocab_size": 10, "n_embd": 8, "n_layer": 2, "n_head": 4, "n_positions": 32, "n_ctx": 32});
        let parse = |json: &Json| Config::parse(Fields::new("config.json", json).expect("an object"));
        let config = parse(&json).expect("valid");
        let tree = config.tree();
        let module = |name: &str| tree.layers[1].iter().find(|m| m.name == name).expect("in the tree");
        assert_eq!((module("qkv").shape, module("up").shape, tree.output.is_none()), ([24, 8], [32, 8], true));
        assert_eq!(module("up").hf_form().shape(module("up")), [8, 32]);
        assert!(tree.layers[1].iter().chain(&tree.finish).all(|m| m.bias));
        assert_eq!((tree.embed[1].shape, tree.width()), ([32, 8], 8));
        assert_eq!(parse(&Json::Object(config.config())).expect("own form"), config);
        let mut other = json;
        other["scale_attn_by_inverse_layer_idx"] = json!(true);
        assert_eq!(parse(&other).expect_err("not supported").code(), "invalid-field");
    }
}
