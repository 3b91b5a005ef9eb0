//! Granite 3 and 4, dense (Granite Team 2024; transformers' `modeling_granite.py`).
//!
//! Differences from Llama: factors on the embeddings, on the attention scores (instead of 1 / sqrt(E)) and on the outputs
//! of attention and feed-forward network, and a divisor of the logits.

use std::rc::Rc;

use honelm_backend::{Activation, Attention, Backend, BackendError, Cache, CacheKind, Tensor, Weight};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS};
use crate::architecture::CacheShape;
use crate::decoder::{Biases, Ends, Sizes};
use crate::fields::Fields;
use crate::gguf_keys::{DECODER, number, tensor};
use crate::layers::{GatedMlp, SelfAttention};
use crate::rope::{RopeConfig, THETA};
use crate::weights::bound;
use crate::{Architecture, Definition, ModelError, Tree, Weights};

/// `GraniteConfig`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    sizes: Sizes,
    rope: RopeConfig,
    attention_bias: bool,
    mlp_bias: bool,
    /// `embedding_multiplier`, the factor on embeddings.
    embedding: f64,
    /// `attention_multiplier`, the factor on attention scores.
    attention: f64,
    /// `residual_multiplier`, the factor on what is added to the residual.
    residual: f64,
    /// `logits_scaling`, the divisor of logits.
    logits: f64,
}

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        f.only("hidden_act", &json!("silu"))?;
        let sizes = Sizes::parse(&mut f, false)?;
        let rope = RopeConfig::parse(&mut f, &sizes.rope(THETA))?;
        let config = Self {
            sizes,
            rope,
            attention_bias: f.flag("attention_bias")?,
            mlp_bias: f.flag("mlp_bias")?,
            embedding: f.optional_number("embedding_multiplier")?.unwrap_or(1.0),
            // Required because its default is 1 in config.json and 1 / sqrt(E) in GGUF.
            attention: f.number("attention_multiplier")?,
            residual: f.optional_number("residual_multiplier")?.unwrap_or(1.0),
            logits: f.optional_number("logits_scaling")?.unwrap_or(1.0),
        };
        f.finish(HARMLESS)?;
        Ok(config)
    }
}

/// The registry's entry.
pub(super) const FAMILY: Family = Family {
    model_type: "granite",
    gguf: "granite",
    keys: &[
        DECODER,
        &[
            number("embedding_multiplier", "embedding_scale"),
            number("attention_multiplier", "attention.scale"),
            number("residual_multiplier", "residual_scale"),
            number("logits_scaling", "logit_scale"),
        ],
        &[tensor("attention_bias", "blk.0.attn_q.bias"), tensor("mlp_bias", "blk.0.ffn_gate.bias")],
    ],
    rope: true,
    define: |fields| Ok(Rc::new(Config::parse(fields)?)),
};

impl Definition for Config {
    fn tree(&self) -> Tree {
        let biases = Biases { qkv: self.attention_bias, o: self.attention_bias, mlp: self.mlp_bias };
        self.sizes.tree(self.sizes.interleaved_layer(biases))
    }

    fn context(&self) -> usize {
        self.rope.limit(self.sizes.context)
    }

    fn cache(&self, _layer: usize) -> CacheShape {
        self.sizes.cache(CacheKind::Full)
    }

    fn config(&self) -> Map<String, Json> {
        let mut config = self.sizes.config("granite", "GraniteForCausalLM");
        let mut set = |name: &str, value: Json| config.insert(name.to_owned(), value);
        set("hidden_act", json!("silu"));
        set("attention_bias", json!(self.attention_bias));
        set("mlp_bias", json!(self.mlp_bias));
        set("embedding_multiplier", json!(self.embedding));
        set("attention_multiplier", json!(self.attention));
        set("residual_multiplier", json!(self.residual));
        set("logits_scaling", json!(self.logits));
        self.rope.write(&self.sizes.rope(THETA), &mut config);
        config
    }

    fn bind(&self, w: &Weights, context: usize, b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let (sizes, rope) = (&self.sizes, self.rope.bind(self.sizes.head_width, context, b)?);
        let how = Attention { scale: self.attention as f32, ..sizes.how() };
        let layer = |i: usize| {
            let w = w.layer(i)?;
            Some((sizes.attention(&w, Some(rope.clone()), how), sizes.mlp(&w, Activation::Silu)))
        };
        Ok(Box::new(Granite {
            embedding: self.embedding as f32,
            residual: self.residual as f32,
            logits: (1.0 / self.logits) as f32,
            ends: Ends::bind(w, sizes),
            layers: (0..sizes.layers).map(layer).collect(),
        }))
    }
}

struct Granite {
    embedding: f32,
    residual: f32,
    logits: f32,
    ends: Ends,
    layers: Vec<Option<(SelfAttention, GatedMlp)>>,
}

impl Granite {
    /// Computes x + residual * linear(h, w). // [N, K], [N, D] -> [N, D]
    fn add(&self, h: &Tensor, w: &Weight, x: Tensor, b: &mut dyn Backend) -> Tensor {
        let y = b.linear(h, w);
        let y = b.scale(y, self.residual);
        b.add(x, &y)
    }
}

impl Architecture for Granite {
    fn embed(&self, b: &mut dyn Backend) -> Tensor {
        let x = self.ends.embed(b);
        b.scale(x, self.embedding)
    }

    fn layer(&self, i: usize, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let (attention, mlp) = bound(&self.layers[i]);
        let a = attention.attend(&x, b, cache);
        let x = self.add(&a, &attention.o, x, b);
        let h = mlp.hidden(&x, b);
        self.add(&h, &mlp.down, x, b)
    }

    fn finish(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        self.ends.finish(x, b)
    }

    fn logits(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        let y = self.ends.logits(x, b);
        b.scale(y, self.logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_read_and_written() {
        let mut json = json!({"vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32,
            "embedding_multiplier": 12, "residual_multiplier": 0.22, "logits_scaling": 8.0});
        let parse = |json: &Json| Config::parse(Fields::new("config.json", json).expect("an object"));
        assert_eq!(parse(&json).expect_err("no attention_multiplier").code(), "missing-field");
        json["attention_multiplier"] = json!(0.0625);
        let config = parse(&json).expect("valid");
        assert_eq!((config.embedding, config.attention, config.residual, config.logits), (12.0, 0.0625, 0.22, 8.0));
        assert_eq!(parse(&Json::Object(config.config())).expect("own form"), config);
    }
}
