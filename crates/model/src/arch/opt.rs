//! OPT (Zhang et al. 2022; transformers' `modeling_opt.py`).
//!
//! Differences from Llama: learned positions, from row 2 of their table on, are added to the embedding, norms are layer
//! norms with biases, linear modules have biases, and the feed-forward network is a ReLU between two linear modules. The
//! 350M model has norms after the residual sums, no last norm, and an embedding narrower than its hidden states, with a
//! projection at each end. llama.cpp does not support OPT; GGUF files of it have HoneLM's own keys and names.

use std::rc::Rc;

use honelm_backend::{Activation, Attention, Backend, BackendError, Cache, CacheKind, Tensor, Weight};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS};
use crate::architecture::CacheShape;
use crate::fields::Fields;
use crate::gguf_keys::{count, flag};
use crate::weights::bound;
use crate::{Architecture, Definition, ModelError, Module, Tree, Weights, limits};

/// The row of position 0 in the position table.
const OFFSET: usize = 2;
/// The default of torch's `LayerNorm`.
const EPS: f32 = 1e-5;

/// `OPTConfig`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    vocabulary: usize,
    width: usize,
    /// The number of columns of the embedding.
    embed_width: usize,
    ffn: usize,
    layers: usize,
    heads: usize,
    context: usize,
    bias: bool,
    /// `true` if norms precede attention and feed-forward network, instead of following the sums.
    pre_norm: bool,
    last_norm: bool,
    tied: bool,
}

/// Fields that affect only training.
const UNUSED: &[&str] = &["activation_dropout", "dropout", "gradient_checkpointing", "init_std", "layerdrop"];

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        f.only("activation_function", &json!("relu"))?;
        f.only("layer_norm_elementwise_affine", &json!(true))?;
        let (width, heads) = (f.count("hidden_size", limits::WIDTH)?, f.count("num_attention_heads", limits::HEADS)?);
        if !width.is_multiple_of(heads) {
            return Err(f.wrong("hidden_size", &json!(width), format!("a multiple of {heads} heads")));
        }
        let pre_norm = f.optional_flag("do_layer_norm_before")?.unwrap_or(true);
        let config = Self {
            vocabulary: f.count("vocab_size", limits::VOCABULARY)?,
            width,
            embed_width: f.optional_count("word_embed_proj_dim", limits::WIDTH)?.unwrap_or(width),
            ffn: f.count("ffn_dim", limits::WIDTH)?,
            layers: f.count("num_hidden_layers", limits::LAYERS)?,
            heads,
            context: f.count("max_position_embeddings", limits::CONTEXT)?,
            bias: f.optional_flag("enable_bias")?.unwrap_or(true),
            pre_norm,
            last_norm: !f.flag("_remove_final_layer_norm")? && pre_norm,
            tied: f.optional_flag("tie_word_embeddings")?.unwrap_or(true),
        };
        f.finish(&[HARMLESS, UNUSED].concat())?;
        Ok(config)
    }

    fn projected(&self) -> bool {
        self.embed_width != self.width
    }
}

/// The registry's entry.
pub(super) const FAMILY: Family = Family {
    model_type: "opt",
    gguf: "opt",
    keys: &[&[
        count("max_position_embeddings", "context_length"),
        count("hidden_size", "embedding_length"),
        count("num_hidden_layers", "block_count"),
        count("ffn_dim", "feed_forward_length"),
        count("num_attention_heads", "attention.head_count"),
        count("word_embed_proj_dim", "word_embedding_length"),
        flag("do_layer_norm_before", "norm_before"),
        flag("_remove_final_layer_norm", "final_norm_removed"),
        flag("enable_bias", "bias"),
    ]],
    rope: false,
    define: |fields| Ok(Rc::new(Config::parse(fields)?)),
};

impl Definition for Config {
    fn tree(&self) -> Tree {
        let (d, e, f, v) = (self.width, self.embed_width, self.ffn, self.vocabulary);
        let norm = |name, hf, gguf| Module::norm(name, hf, gguf, d).with_bias();
        let heads = [("q", 0, 1), ("k", 0, 1), ("v", 0, 1)];
        let linear = |name, hf, gguf, shape| Module::linear(name, hf, gguf, shape, self.bias);
        // The output of a norm after a sum is also the residual, so such a norm cannot absorb scales.
        let (attn_by, mlp_by) = (self.pre_norm.then_some("attn_norm"), self.pre_norm.then_some("mlp_norm"));
        let layer = vec![
            norm("attn_norm", "self_attn_layer_norm", "attn_norm"),
            linear("q", "self_attn.q_proj", "attn_q", [d, d]).scaled_by(attn_by),
            linear("k", "self_attn.k_proj", "attn_k", [d, d]).scaled_by(attn_by),
            linear("v", "self_attn.v_proj", "attn_v", [d, d]).scaled_by(attn_by),
            linear("o", "self_attn.out_proj", "attn_output", [d, d])
                .stage(1)
                .scaled_by("v")
                .computed_by(d / self.heads, &heads),
            norm("mlp_norm", "final_layer_norm", "ffn_norm"),
            linear("up", "fc1", "ffn_up", [f, d]).stage(2).scaled_by(mlp_by),
            linear("down", "fc2", "ffn_down", [d, f]).stage(3).scaled_by("up").computed_by(1, &[("up", 0, 1)]),
        ];
        let projection = |name, hf, shape| self.projected().then(|| Module::linear(name, hf, name, shape, false));
        let rows = self.context + OFFSET;
        let mut embed = vec![
            Module::embedding("embed", "model.decoder.embed_tokens", "token_embd", [v, e]),
            Module::positions("positions", "model.decoder.embed_positions", "position_embd", [rows, d]),
        ];
        embed.extend(projection("project_in", "model.decoder.project_in", [d, e]));
        let last = self.last_norm.then(|| norm("norm", "model.decoder.final_layer_norm", "output_norm"));
        Tree {
            embed,
            finish: last.into_iter().chain(projection("project_out", "model.decoder.project_out", [e, d])).collect(),
            hf_layers: "model.decoder.layers",
            hf_aliases: &[("model.", "")],
            ..Tree::decoder([v, e], vec![layer; self.layers], self.tied)
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
            ("architectures", json!(["OPTForCausalLM"])),
            ("model_type", json!("opt")),
            ("vocab_size", json!(self.vocabulary)),
            ("hidden_size", json!(self.width)),
            ("word_embed_proj_dim", json!(self.embed_width)),
            ("ffn_dim", json!(self.ffn)),
            ("num_hidden_layers", json!(self.layers)),
            ("num_attention_heads", json!(self.heads)),
            ("max_position_embeddings", json!(self.context)),
            ("activation_function", json!("relu")),
            ("enable_bias", json!(self.bias)),
            ("do_layer_norm_before", json!(self.pre_norm)),
            ("_remove_final_layer_norm", json!(!self.last_norm)),
            ("tie_word_embeddings", json!(self.tied)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn bind(&self, w: &Weights, _context: usize, _b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let scale = 1.0 / ((self.width / self.heads) as f32).sqrt();
        let layer = |i: usize| {
            let w = w.layer(i)?;
            let [attn_norm, q, k, v, o] = ["attn_norm", "q", "k", "v", "o"].map(|name| w.take(name));
            let [mlp_norm, up, down] = ["mlp_norm", "up", "down"].map(|name| w.take(name));
            Some(Layer { attn_norm, q, k, v, o, mlp_norm, up, down, cache: w.cache_layer() })
        };
        Ok(Box::new(Opt {
            config: self.clone(),
            how: Attention { heads: self.heads, scale, softcap: None },
            outer: ["embed", "positions", "project_in", "norm", "project_out"].map(|name| w.outer(name)),
            layers: (0..self.layers).map(layer).collect(),
            output: w.outer(if self.tied { "embed" } else { "output" }),
        }))
    }
}

struct Layer {
    attn_norm: Weight,
    q: Weight,
    k: Weight,
    v: Weight,
    o: Weight,
    mlp_norm: Weight,
    up: Weight,
    down: Weight,
    cache: usize,
}

struct Opt {
    config: Config,
    how: Attention,
    /// embed, positions, project_in, norm, project_out
    outer: [Option<Weight>; 5],
    layers: Vec<Option<Layer>>,
    output: Option<Weight>,
}

impl Architecture for Opt {
    fn embed(&self, b: &mut dyn Backend) -> Tensor {
        let [embed, positions, project_in, ..] = &self.outer;
        let x = b.embed(bound(embed));
        let x = if self.config.projected() { b.linear(&x, bound(project_in)) } else { x };
        let p = b.positions(bound(positions), OFFSET);
        b.add(x, &p)
    }

    fn layer(&self, i: usize, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let (layer, pre) = (bound(&self.layers[i]), self.config.pre_norm);
        let a = {
            let h = if pre { b.layer_norm(&x, &layer.attn_norm, EPS) } else { x.clone() };
            let [q, k, v] = [&layer.q, &layer.k, &layer.v].map(|w| b.linear(&h, w));
            b.attention(&q, &k, &v, cache, layer.cache, &self.how)
        };
        let x = b.linear_add(&a, &layer.o, x);
        let x = if pre { x } else { b.layer_norm(&x, &layer.attn_norm, EPS) };
        let h = if pre { b.layer_norm(&x, &layer.mlp_norm, EPS) } else { x.clone() };
        let h = b.linear(&h, &layer.up);
        let h = b.activate(h, Activation::Relu);
        let x = b.linear_add(&h, &layer.down, x);
        if pre { x } else { b.layer_norm(&x, &layer.mlp_norm, EPS) }
    }

    fn finish(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        if self.config.last_norm { b.layer_norm(x, bound(&self.outer[3]), EPS) } else { x.clone() }
    }

    fn logits(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        let x = if self.config.projected() { b.linear(x, bound(&self.outer[4])) } else { x.clone() };
        b.linear(&x, bound(&self.output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_and_norms_follow_the_configuration() {
        let mut json = json!({"vocab_size": 10, "hidden_size": 8, "ffn_dim": 12, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 32});
        let parse = |json: &Json| Config::parse(Fields::new("config.json", json).expect("an object")).expect("valid");
        let shapes = |c: &Config| c.tree().outer().map(|m| (m.name, m.shape)).collect::<Vec<_>>();
        let plain = parse(&json);
        assert_eq!(shapes(&plain), [("embed", [10, 8]), ("positions", [34, 8]), ("norm", [1, 8])]);
        (json["word_embed_proj_dim"], json["do_layer_norm_before"]) = (json!(4), json!(false));
        let post = parse(&json);
        assert_eq!((post.tree().width(), shapes(&post)[0]), (8, ("embed", [10, 4])));
        assert_eq!(shapes(&post)[2..], [("project_in", [8, 4]), ("project_out", [4, 8])]);
        assert_eq!([&plain, &post].map(|c| parse(&Json::Object(c.config()))), [plain.clone(), post.clone()]);
    }
}
