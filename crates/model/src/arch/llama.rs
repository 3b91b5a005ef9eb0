//! Llama 1 to 3 (Touvron et al. 2023, Grattafiori et al. 2024; transformers' `modeling_llama.py`).
//!
//! A pre-norm decoder: x += attention(norm(x)), x += mlp(norm(x)), with RMS norms, rotary embedding of whole heads,
//! grouped key-value heads and a SiLU-gated feed-forward layer. Every other architecture is described by how it
//! differs from this one.

use std::rc::Rc;

use honelm_backend::{Activation, Attention, Backend, BackendError, Cache, CacheKind, Tensor, Weight};
use serde_json::{Map, Value as Json, json};

use super::{HARMLESS, limits};
use crate::architecture::BlockCache;
use crate::fields::Fields;
use crate::layers::{GatedMlp, SelfAttention};
use crate::rope::{RopeConfig, RopeScaling};
use crate::weights::bound;
use crate::{Architecture, Definition, ModelError, Module, Tree, Weights};

/// `LlamaConfig`, with `sliding_window` as `MistralConfig` has it.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    vocabulary: usize,
    width: usize,
    ffn: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_width: usize,
    context: usize,
    eps: f64,
    rope: RopeConfig,
    attention_bias: bool,
    mlp_bias: bool,
    tied: bool,
    /// A row sees this many positions, its own included.
    window: Option<usize>,
}

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        f.only("hidden_act", &json!("silu"))?;
        f.only("pretraining_tp", &json!(1))?;
        f.only("rope_interleaved", &json!(false))?;
        let (width, heads) = (f.count("hidden_size", limits::WIDTH)?, f.count("num_attention_heads", limits::HEADS)?);
        let kv_heads = f.optional_count("num_key_value_heads", heads)?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(f.wrong("num_key_value_heads", &json!(kv_heads), format!("a divisor of {heads} heads")));
        }
        let head_width = match f.optional_count("head_dim", limits::WIDTH / heads)? {
            Some(given) => given,
            None if width.is_multiple_of(heads) => width / heads,
            None => return Err(f.wrong("hidden_size", &json!(width), format!("a multiple of {heads} heads"))),
        };
        if !head_width.is_multiple_of(2) {
            return Err(f.wrong("head_dim", &json!(head_width), "an even number"));
        }
        let rope = RopeConfig::parse(&mut f)?;
        if let RopeScaling::Divisors(divisors) = &rope.scaling
            && divisors.len() != head_width / 2
        {
            let expected = format!("{} divisors", head_width / 2);
            return Err(f.wrong("rope_scaling.divisors", &json!(divisors.len()), expected));
        }
        let config = Self {
            vocabulary: f.count("vocab_size", limits::VOCABULARY)?,
            width,
            ffn: f.count("intermediate_size", limits::WIDTH)?,
            layers: f.count("num_hidden_layers", limits::LAYERS)?,
            heads,
            kv_heads,
            head_width,
            context: f.count("max_position_embeddings", limits::CONTEXT)?,
            eps: f.optional_number("rms_norm_eps")?.unwrap_or(1e-6),
            rope,
            attention_bias: f.flag("attention_bias")?,
            mlp_bias: f.flag("mlp_bias")?,
            tied: f.flag("tie_word_embeddings")?,
            window: f.optional_count("sliding_window", limits::CONTEXT)?,
        };
        f.finish(HARMLESS)?;
        Ok(config)
    }
}

/// The constructor of the registry.
pub(super) fn define(fields: Fields<'_>) -> Result<Rc<dyn Definition>, ModelError> {
    Ok(Rc::new(Config::parse(fields)?))
}

impl Definition for Config {
    fn tree(&self) -> Tree {
        let (d, f, v) = (self.width, self.ffn, self.vocabulary);
        let (q, kv) = (self.heads * self.head_width, self.kv_heads * self.head_width);
        let (a, m) = (self.attention_bias, self.mlp_bias);
        // With grouped heads several query heads read one value head: its channels cannot take over their scales.
        let o_by = (q == kv).then_some("v");
        let block = vec![
            Module::norm("attn_norm", "input_layernorm", "attn_norm", d),
            Module::linear("q", "self_attn.q_proj", "attn_q", [q, d], a).scaled_by("attn_norm").interleaved(self.heads),
            Module::linear("k", "self_attn.k_proj", "attn_k", [kv, d], a)
                .scaled_by("attn_norm")
                .interleaved(self.kv_heads),
            Module::linear("v", "self_attn.v_proj", "attn_v", [kv, d], a).scaled_by("attn_norm"),
            Module::linear("o", "self_attn.o_proj", "attn_output", [d, q], a).stage(1).scaled_by(o_by),
            Module::norm("mlp_norm", "post_attention_layernorm", "ffn_norm", d),
            Module::linear("gate", "mlp.gate_proj", "ffn_gate", [f, d], m).stage(2).scaled_by("mlp_norm"),
            Module::linear("up", "mlp.up_proj", "ffn_up", [f, d], m).stage(2).scaled_by("mlp_norm"),
            Module::linear("down", "mlp.down_proj", "ffn_down", [d, f], m).stage(3).scaled_by("up"),
        ];
        Tree {
            embedding: Module::embedding("embed", "model.embed_tokens", "token_embd", [v, d]),
            blocks: vec![block; self.layers],
            norm: Module::norm("norm", "model.norm", "output_norm", d),
            output: (!self.tied).then(|| Module::linear("output", "lm_head", "output", [v, d], false)),
            hf_blocks: "model.layers",
        }
    }

    fn context(&self) -> usize {
        self.context
    }

    fn cache(&self, _block: usize) -> BlockCache {
        let kind = self.window.map_or(CacheKind::Full, CacheKind::Window);
        BlockCache { kind, kv_heads: self.kv_heads, head_width: self.head_width }
    }

    fn rope(&self) -> &RopeConfig {
        &self.rope
    }

    fn config(&self) -> Map<String, Json> {
        let mut config = Map::new();
        let mut set = |name: &str, value: Json| config.insert(name.to_owned(), value);
        set("architectures", json!(["LlamaForCausalLM"]));
        set("model_type", json!("llama"));
        set("vocab_size", json!(self.vocabulary));
        set("hidden_size", json!(self.width));
        set("intermediate_size", json!(self.ffn));
        set("num_hidden_layers", json!(self.layers));
        set("num_attention_heads", json!(self.heads));
        set("num_key_value_heads", json!(self.kv_heads));
        set("head_dim", json!(self.head_width));
        set("hidden_act", json!("silu"));
        set("max_position_embeddings", json!(self.context));
        set("rms_norm_eps", json!(self.eps));
        set("attention_bias", json!(self.attention_bias));
        set("mlp_bias", json!(self.mlp_bias));
        set("tie_word_embeddings", json!(self.tied));
        if let Some(window) = self.window {
            set("sliding_window", json!(window));
        }
        self.rope.write(&mut config);
        config
    }

    fn bind(&self, w: &Weights, _context: usize, b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let rope = self.rope.bind(self.head_width, b)?;
        let scale = 1.0 / (self.head_width as f32).sqrt();
        let eps = self.eps as f32;
        let block = |i: usize| {
            let w = w.block(i)?;
            let attention = SelfAttention {
                norm: w.take("attn_norm"),
                q: w.take("q"),
                k: w.take("k"),
                v: w.take("v"),
                o: w.take("o"),
                eps,
                rope: rope.clone(),
                how: Attention { heads: self.heads, scale, softcap: None },
                layer: w.cache_layer(),
            };
            let (gate, up, down) = (w.take("gate"), w.take("up"), w.take("down"));
            let mlp = GatedMlp { norm: w.take("mlp_norm"), gate, up, down, eps, f: Activation::Silu };
            Some(Block { attention, mlp })
        };
        Ok(Box::new(Llama {
            eps,
            embed: w.outer("embed"),
            blocks: (0..self.layers).map(block).collect(),
            norm: w.outer("norm"),
            output: w.outer(if self.tied { "embed" } else { "output" }),
        }))
    }
}

struct Block {
    attention: SelfAttention,
    mlp: GatedMlp,
}

struct Llama {
    eps: f32,
    embed: Option<Weight>,
    blocks: Vec<Option<Block>>,
    norm: Option<Weight>,
    output: Option<Weight>,
}

impl Architecture for Llama {
    fn embed(&self, b: &mut dyn Backend) -> Tensor {
        b.embed(bound(&self.embed))
    }

    fn block(&self, i: usize, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let block = bound(&self.blocks[i]);
        let x = block.attention.forward(x, b, cache);
        block.mlp.forward(x, b)
    }

    fn finish(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        b.rms_norm(x, bound(&self.norm), self.eps)
    }

    fn logits(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        b.linear(x, bound(&self.output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_follows_the_configuration() {
        let json = json!({"vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 32,
            "attention_bias": true, "sliding_window": 4});
        let config = Config::parse(Fields::new("config.json", &json).expect("an object")).expect("valid");
        let tree = config.tree();
        let shape = |name: &str| tree.blocks[1].iter().find(|m| m.name == name).map(|m| m.shape);
        assert_eq!((shape("q"), shape("k"), shape("o")), (Some([24, 8]), Some([12, 8]), Some([8, 24])));
        assert!(tree.output.is_some() && tree.blocks[0].iter().any(|m| m.name == "v" && m.has_bias()));
        let stages: Vec<Vec<&str>> = tree.stages(0).iter().map(|s| s.iter().map(|m| m.name).collect()).collect();
        assert_eq!(stages, [vec!["q", "k", "v"], vec!["o"], vec!["gate", "up"], vec!["down"]]);
        // The configuration it writes means the same, every default spelt out.
        let own = Json::Object(config.config());
        assert_eq!(Config::parse(Fields::new("config.json", &own).expect("an object")).expect("own form"), config);
    }
}
