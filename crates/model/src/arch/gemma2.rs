//! Gemma 2 (Riviere et al. 2024; transformers' `modeling_gemma2.py`).
//!
//! Differences from Llama: norms also follow attention and feed-forward network, gains are stored minus 1, embeddings are
//! scaled by sqrt(D) and scores by 1 / sqrt(`query_pre_attn_scalar`), scores and logits are capped, the gate is a tanh GELU,
//! every other layer has a sliding window, and the output layer is tied to the embedding.

use std::rc::Rc;

use honelm_backend::{Activation, Attention, Backend, BackendError, Cache, Tensor, Weight};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS};
use crate::architecture::CacheShape;
use crate::decoder::{Biases, Defaults, Ends, Sizes};
use crate::fields::Fields;
use crate::gguf_keys::{DECODER, Form, Key, layer_types, tensor};
use crate::layers::{GatedMlp, SelfAttention};
use crate::rope::{RopeConfig, THETA};
use crate::weights::{LayerWeights, bound};
use crate::windows::Windows;
use crate::{Architecture, Definition, ModelError, Module, Tree, Weights, limits};

/// `Gemma2Config`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    sizes: Sizes,
    rope: RopeConfig,
    windows: Windows,
    attention_bias: bool,
    query_scalar: f64,
    score_cap: Option<f64>,
    logit_cap: Option<f64>,
}

const DEFAULTS: Defaults = Defaults {
    vocabulary: Some(256_000),
    heads: Some(8),
    kv_heads: Some(4),
    head_width: Some(256),
    context: Some(8192),
    tied: true,
};
const SCORE_CAP: f64 = 50.0;
const LOGIT_CAP: f64 = 30.0;
const WINDOW: u32 = 4096;

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        only_gelu(&mut f)?;
        let sizes = Sizes::parse_with(&mut f, &DEFAULTS)?;
        let rope = RopeConfig::parse(&mut f, &sizes.rope(THETA))?;
        let width = f.optional_count("sliding_window", limits::CONTEXT)?.unwrap_or(WINDOW as usize);
        let windows = Windows::parse(&mut f, Some(width), sizes.layers, |i| i.is_multiple_of(2))?;
        // Null disables a cap.
        let mut cap = |name, default| match f.given(name) {
            true => f.optional_number(name),
            false => Ok(Some(default)),
        };
        let (score_cap, logit_cap) =
            (cap("attn_logit_softcapping", SCORE_CAP)?, cap("final_logit_softcapping", LOGIT_CAP)?);
        let (attention_bias, query_scalar) = (f.flag("attention_bias")?, query_scalar(&mut f)?);
        f.finish(HARMLESS)?;
        Ok(Self { sizes, rope, windows, attention_bias, query_scalar, score_cap, logit_cap })
    }
}

/// Refuses activations other than Gemma's, and bidirectional attention.
pub(super) fn only_gelu(f: &mut Fields<'_>) -> Result<(), ModelError> {
    f.only("hidden_act", &json!("gelu_pytorch_tanh"))?;
    f.only("hidden_activation", &json!("gelu_pytorch_tanh"))?;
    f.only("use_bidirectional_attention", &json!(false))
}

pub(super) fn query_scalar(f: &mut Fields<'_>) -> Result<f64, ModelError> {
    Ok(f.optional_number("query_pre_attn_scalar")?.unwrap_or(256.0))
}

/// Writes the field. Transformers requires a whole number, which it is in all published models.
pub(super) fn write_query_scalar(scalar: f64, config: &mut Map<String, Json>) {
    let whole = scalar.fract() == 0.0 && scalar < f64::from(u32::MAX);
    let value = if whole { json!(scalar as u32) } else { json!(scalar) };
    config.insert("query_pre_attn_scalar".to_owned(), value);
}

/// The registry's entry.
pub(super) const FAMILY: Family = Family {
    model_type: "gemma2",
    gguf: "gemma2",
    keys: &[
        DECODER,
        &[
            Key { field: "sliding_window", gguf: "attention.sliding_window", form: Form::CountOr(WINDOW) },
            layer_types(2),
            Key { field: "attn_logit_softcapping", gguf: "attn_logit_softcapping", form: Form::NumberOr(SCORE_CAP) },
            Key { field: "final_logit_softcapping", gguf: "final_logit_softcapping", form: Form::NumberOr(LOGIT_CAP) },
            // The 27B model has 46 layers.
            Key { field: "query_pre_attn_scalar", gguf: "attention.scale", form: Form::QueryScalar { wide: 46 } },
            tensor("attention_bias", "blk.0.attn_q.bias"),
        ],
    ],
    rope: true,
    define: |fields| Ok(Rc::new(Config::parse(fields)?)),
};

/// Returns the modules of Gemma 2 and 3; `more` are further norms of a layer.
pub(super) fn tree(sizes: &Sizes, attention_bias: bool, more: Vec<Module>) -> Tree {
    let mut layer = sizes.layer(Biases { qkv: attention_bias, o: attention_bias, mlp: false });
    layer.extend([
        Module::norm("attn_post_norm", "post_attention_layernorm", "post_attention_norm", sizes.width),
        Module::norm("mlp_post_norm", "post_feedforward_layernorm", "post_ffw_norm", sizes.width),
    ]);
    layer.extend(more);
    let own = |module: Module| match module.name {
        "mlp_norm" => Module { hf: "pre_feedforward_layernorm", ..module }.minus_one(),
        name if name.ends_with("norm") => module.minus_one(),
        _ => module,
    };
    let tree = sizes.tree(layer.into_iter().map(own).collect());
    let finish = tree.finish.clone().into_iter().map(own).collect();
    Tree { finish, heads_divide_width: true, ..tree }
}

impl Definition for Config {
    fn tree(&self) -> Tree {
        tree(&self.sizes, self.attention_bias, Vec::new())
    }

    fn context(&self) -> usize {
        self.rope.limit(self.sizes.context)
    }

    fn cache(&self, layer: usize) -> CacheShape {
        self.sizes.cache(self.windows.kind(layer))
    }

    fn config(&self) -> Map<String, Json> {
        let mut config = self.sizes.config("gemma2", "Gemma2ForCausalLM");
        let mut set = |name: &str, value: Json| config.insert(name.to_owned(), value);
        set("hidden_activation", json!("gelu_pytorch_tanh"));
        set("attention_bias", json!(self.attention_bias));
        set("attn_logit_softcapping", json!(self.score_cap));
        set("final_logit_softcapping", json!(self.logit_cap));
        set("sliding_window", json!(self.windows.width));
        set("layer_types", Windows::types(&self.windows.sliding));
        write_query_scalar(self.query_scalar, &mut config);
        self.rope.write(&self.sizes.rope(THETA), &mut config);
        config
    }

    fn bind(&self, w: &Weights, context: usize, b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let (sizes, rope) = (&self.sizes, self.rope.bind(self.sizes.head_width, context, b)?);
        let softcap = self.score_cap.map(|cap| cap as f32);
        let how = Attention { scale: self.query_scalar.powf(-0.5) as f32, softcap, ..sizes.how() };
        let attention = |_, w: &LayerWeights<'_>| sizes.attention(w, Some(rope.clone()), how);
        Ok(Box::new(Gemma::bind(w, sizes, self.logit_cap, attention)))
    }
}

struct Layer {
    attention: SelfAttention,
    attention_post_norm: Weight,
    mlp: GatedMlp,
    mlp_post_norm: Weight,
}

/// The forward pass of Gemma 2 and 3.
pub(super) struct Gemma {
    ends: Ends,
    embed_scale: f32,
    logit_cap: Option<f32>,
    eps: f32,
    layers: Vec<Option<Layer>>,
}

impl Gemma {
    /// Binds all uploaded layers; `attention` binds the attention of one, given its number and weights.
    pub(super) fn bind(
        w: &Weights,
        sizes: &Sizes,
        logit_cap: Option<f64>,
        attention: impl Fn(usize, &LayerWeights<'_>) -> SelfAttention,
    ) -> Self {
        let layer = |i: usize| {
            let w = w.layer(i)?;
            let (attention_post_norm, mlp_post_norm) = (w.take("attn_post_norm"), w.take("mlp_post_norm"));
            let mlp = sizes.mlp(&w, Activation::GeluTanh);
            Some(Layer { attention: attention(i, &w), attention_post_norm, mlp, mlp_post_norm })
        };
        Self {
            ends: Ends::bind(w, sizes),
            embed_scale: (sizes.width as f32).sqrt(),
            logit_cap: logit_cap.map(|cap| cap as f32),
            eps: sizes.eps as f32,
            layers: (0..sizes.layers).map(layer).collect(),
        }
    }
}

impl Architecture for Gemma {
    fn embed(&self, b: &mut dyn Backend) -> Tensor {
        let x = self.ends.embed(b);
        b.scale(x, self.embed_scale)
    }

    fn layer(&self, i: usize, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let layer = bound(&self.layers[i]);
        let a = layer.attention.attend(&x, b, cache);
        let y = b.linear(&a, &layer.attention.o);
        let y = b.rms_norm(&y, &layer.attention_post_norm, self.eps);
        let x = b.add(x, &y);
        let h = layer.mlp.hidden(&x, b);
        let y = b.linear(&h, &layer.mlp.down);
        let y = b.rms_norm(&y, &layer.mlp_post_norm, self.eps);
        b.add(x, &y)
    }

    fn finish(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        self.ends.finish(x, b)
    }

    fn logits(&self, x: &Tensor, b: &mut dyn Backend) -> Tensor {
        let y = self.ends.logits(x, b);
        match self.logit_cap {
            Some(cap) => b.softcap(y, cap),
            None => y,
        }
    }
}

#[cfg(test)]
mod tests {
    use honelm_backend::CacheKind;

    use super::*;

    #[test]
    fn every_other_layer_has_a_window_and_caps_can_be_disabled() {
        let mut json = json!({"vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "sliding_window": 5,
            "final_logit_softcapping": null});
        let parse = |json: &Json| Config::parse(Fields::new("config.json", json).expect("an object"));
        let config = parse(&json).expect("valid");
        assert_eq!([config.cache(0).kind, config.cache(1).kind], [CacheKind::Window(5), CacheKind::Full]);
        assert_eq!((config.score_cap, config.logit_cap, config.query_scalar), (Some(50.0), None, 256.0));
        assert!(config.sizes.tied && config.tree().output.is_none());
        assert_eq!(parse(&Json::Object(config.config())).expect("own form"), config);
        json["hidden_activation"] = json!("gelu");
        assert!(parse(&json).expect_err("unknown").to_string().contains("hidden_activation"));
    }
}
