//! Gemma 3, text (Kamath et al. 2025; transformers' `modeling_gemma3.py`).
//!
//! Differences from Gemma 2: an RMS norm on each head of q and of k instead of capped scores, five layers with a sliding
//! window for each one without, and two rotary embeddings: the layers with a window have their own base and no scaling.
//!
//! The multimodal `gemma3` is read as its language model: the tensors of the image tower are not used, and it is written
//! as a `gemma3_text`.

use std::rc::Rc;

use honelm_backend::{Attention, Backend, BackendError};
use serde_json::{Map, Value as Json, json};

use super::gemma2::{self, Gemma};
use super::{Family, HARMLESS};
use crate::architecture::CacheShape;
use crate::decoder::{Defaults, Sizes};
use crate::fields::Fields;
use crate::gguf_keys::{DECODER, Form, Key, WINDOW, layer_types, number, tensor};
use crate::rope::{RopeConfig, RopeScaling, THETA};
use crate::weights::LayerWeights;
use crate::windows::Windows;
use crate::{Architecture, Definition, ModelError, Module, Tree, Weights, limits};

/// `Gemma3TextConfig`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    sizes: Sizes,
    /// The rotary embedding of layers without a window.
    rope: RopeConfig,
    /// The rotary embedding of layers with a window.
    local_rope: RopeConfig,
    windows: Windows,
    attention_bias: bool,
    query_scalar: f64,
    logit_cap: Option<f64>,
}

const DEFAULTS: Defaults = Defaults {
    vocabulary: Some(262_208),
    heads: Some(8),
    kv_heads: Some(4),
    head_width: Some(256),
    context: Some(131_072),
    tied: true,
};
const GLOBAL_THETA: f64 = 1_000_000.0;
const PATTERN: usize = 6;

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        gemma2::only_gelu(&mut f)?;
        f.only("attn_logit_softcapping", &Json::Null)?;
        let sizes = Sizes::parse_with(&mut f, &DEFAULTS)?;
        let (rope, local_rope) = ropes(&mut f, &sizes)?;
        let width = f.optional_count("sliding_window", limits::CONTEXT)?.unwrap_or(4096);
        // The name depends on the version of transformers.
        let every = f.optional_count("sliding_window_pattern", limits::LAYERS)?;
        let every = f.optional_count("_sliding_window_pattern", limits::LAYERS)?.or(every).unwrap_or(PATTERN);
        let windows = Windows::parse(&mut f, Some(width), sizes.layers, |i| !(i + 1).is_multiple_of(every))?;
        let (attention_bias, query_scalar) = (f.flag("attention_bias")?, gemma2::query_scalar(&mut f)?);
        let logit_cap = f.optional_number("final_logit_softcapping")?;
        f.finish(HARMLESS)?;
        Ok(Self { sizes, rope, local_rope, windows, attention_bias, query_scalar, logit_cap })
    }

    /// Parses the language model of a multimodal configuration.
    fn parse_multimodal(mut f: Fields<'_>) -> Result<Self, ModelError> {
        let text = f.object("text_config")?.ok_or_else(|| f.missing("text_config", "an object"))?;
        f.only("tie_word_embeddings", &json!(true))?;
        let image = [
            "vision_config",
            "mm_tokens_per_image",
            "boi_token_index",
            "eoi_token_index",
            "image_token_index",
            "text_config",
        ];
        f.finish(&[HARMLESS, &image].concat())?;
        Self::parse(text)
    }
}

/// Reads the rotary embeddings of layers without and with a window.
fn ropes(f: &mut Fields<'_>, sizes: &Sizes) -> Result<(RopeConfig, RopeConfig), ModelError> {
    let (global, local) = (sizes.rope(GLOBAL_THETA), sizes.rope(THETA));
    let (scaling, local_scaling) = match f.object("rope_parameters")? {
        None => (f.object("rope_scaling")?, None),
        Some(mut both) => {
            let parts = (both.object("full_attention")?, both.object("sliding_attention")?);
            both.finish(&[])?;
            parts
        }
    };
    let rope = RopeConfig::parse_with(f, "rope_theta", scaling, &global)?;
    let local = RopeConfig::parse_with(f, "rope_local_base_freq", local_scaling, &local)?;
    if local.scaling != RopeScaling::Unscaled {
        let found = json!(local.scaling.name());
        return Err(f.wrong("rope_parameters.sliding_attention.rope_type", &found, "default"));
    }
    Ok((rope, local))
}

/// The registry's entry, as which GGUF files of Gemma 3 are read.
pub(super) const FAMILY: Family = Family {
    model_type: "gemma3_text",
    gguf: "gemma3",
    keys: &[
        DECODER,
        &[
            WINDOW,
            layer_types(PATTERN),
            number("rope_local_base_freq", "rope.freq_base_swa"),
            number("final_logit_softcapping", "final_logit_softcapping"),
            // The 27B model has 62 layers.
            Key { field: "query_pre_attn_scalar", gguf: "attention.scale", form: Form::QueryScalar { wide: 62 } },
            tensor("attention_bias", "blk.0.attn_q.bias"),
        ],
    ],
    rope: true,
    define: |fields| Ok(Rc::new(Config::parse(fields)?)),
};

/// The registry's entry of the multimodal model.
pub(super) const MULTIMODAL: Family =
    Family { model_type: "gemma3", define: |fields| Ok(Rc::new(Config::parse_multimodal(fields)?)), ..FAMILY };

impl Definition for Config {
    fn tree(&self) -> Tree {
        let norm = |name, hf, gguf| Module::norm(name, hf, gguf, self.sizes.head_width);
        let norms =
            vec![norm("q_norm", "self_attn.q_norm", "attn_q_norm"), norm("k_norm", "self_attn.k_norm", "attn_k_norm")];
        let tree = gemma2::tree(&self.sizes, self.attention_bias, norms);
        // The names in multimodal checkpoints, which depend on the version of transformers.
        Tree { hf_aliases: &[("model.", "language_model.model."), ("model.", "model.language_model.")], ..tree }
    }

    fn context(&self) -> usize {
        self.rope.limit(self.sizes.context)
    }

    fn cache(&self, layer: usize) -> CacheShape {
        self.sizes.cache(self.windows.kind(layer))
    }

    fn config(&self) -> Map<String, Json> {
        let mut config = self.sizes.config("gemma3_text", "Gemma3ForCausalLM");
        let mut set = |name: &str, value: Json| config.insert(name.to_owned(), value);
        set("hidden_activation", json!("gelu_pytorch_tanh"));
        set("attention_bias", json!(self.attention_bias));
        set("final_logit_softcapping", json!(self.logit_cap));
        if let Some(width) = self.windows.width {
            set("sliding_window", json!(width));
        }
        set("layer_types", Windows::types(&self.windows.sliding));
        gemma2::write_query_scalar(self.query_scalar, &mut config);
        self.rope.write(&self.sizes.rope(GLOBAL_THETA), &mut config);
        self.local_rope.write_with("rope_local_base_freq", &self.sizes.rope(THETA), &mut config);
        config
    }

    fn bind(&self, w: &Weights, context: usize, b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let sizes = &self.sizes;
        let global = self.rope.bind(sizes.head_width, context, b)?;
        let local = self.local_rope.bind(sizes.head_width, context, b)?;
        let how = Attention { scale: self.query_scalar.powf(-0.5) as f32, ..sizes.how() };
        let attention = |i: usize, w: &LayerWeights<'_>| {
            let rope = if self.windows.sliding[i] { &local } else { &global };
            let mut attention = sizes.attention(w, Some(rope.clone()), how);
            attention.head_norms = Some([w.take("q_norm"), w.take("k_norm")]);
            attention
        };
        Ok(Box::new(Gemma::bind(w, sizes, self.logit_cap, attention)))
    }
}

#[cfg(test)]
mod tests {
    use honelm_backend::CacheKind;

    use super::*;

    fn parse(json: &Json) -> Result<Config, ModelError> {
        Config::parse(Fields::new("config.json", json)?)
    }

    fn small() -> Json {
        json!({"vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 7, "head_dim": 6,
            "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 5})
    }

    #[test]
    fn every_sixth_layer_has_no_window_and_its_own_rotary_embedding() {
        let config = parse(&small()).expect("valid");
        let full: Vec<usize> = (0..7).filter(|&i| config.cache(i).kind == CacheKind::Full).collect();
        assert_eq!((full, config.cache(0).kind), (vec![5], CacheKind::Window(5)));
        assert_eq!((config.rope.theta, config.local_rope.theta), (1e6, 1e4));
        assert_eq!(parse(&Json::Object(config.config())).expect("own form"), config);
        let mut new = small();
        new["rope_parameters"] = json!({"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}});
        let mut old = small();
        old["rope_scaling"] = json!({"rope_type": "linear", "factor": 8.0});
        assert_eq!(parse(&new).expect("new"), parse(&old).expect("old"));
        new["rope_parameters"]["sliding_attention"]["rope_type"] = json!("yarn");
        new["rope_parameters"]["sliding_attention"]["factor"] = json!(2.0);
        assert!(parse(&new).expect_err("local scaling").to_string().contains("sliding_attention.rope_type"));
    }

    #[test]
    fn a_multimodal_model_is_read_as_its_language_model() {
        let json = json!({"model_type": "gemma3", "text_config": small(), "vision_config": {"hidden_size": 8},
            "image_token_index": 9});
        let config = Config::parse_multimodal(Fields::new("config.json", &json).expect("an object")).expect("valid");
        assert_eq!(config, parse(&small()).expect("valid"));
        assert_eq!(config.config()["model_type"], "gemma3_text");
    }
}
