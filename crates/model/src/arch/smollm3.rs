//! SmolLM3 (Bakouch et al. 2025; transformers' `modeling_smollm3.py`).
//!
//! Differences from Llama: some layers, by default every fourth, have no rotary embedding (`no_rope_layers`), and with
//! `use_sliding_window` these layers have a sliding window. No published model sets that or another pattern, and
//! llama.cpp supports neither.

use std::rc::Rc;

use honelm_backend::{Activation, Backend, BackendError};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS, qwen2};
use crate::architecture::CacheShape;
use crate::decoder::{Biases, PreNorm, Sizes};
use crate::fields::Fields;
use crate::gguf_keys::{DECODER, Form, Key, tensor};
use crate::rope::RopeConfig;
use crate::windows::Windows;
use crate::{Architecture, Definition, ModelError, Tree, Weights, limits};

/// The default of `rope_theta`.
const THETA: f64 = 2_000_000.0;
/// The default of `no_rope_layer_interval`.
const INTERVAL: usize = 4;

/// `SmolLM3Config`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    sizes: Sizes,
    rope: RopeConfig,
    /// `true` for each layer with rotary embedding.
    rotating: Vec<bool>,
    attention_bias: bool,
    mlp_bias: bool,
    windows: Windows,
}

/// Fields that transformers' model does not read.
const UNUSED: &[&str] = &["max_window_layers", "pretraining_tp"];

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        f.only("hidden_act", &json!("silu"))?;
        let sizes = Sizes::parse(&mut f, true)?;
        let rope = RopeConfig::parse(&mut f, &sizes.rope(THETA))?;
        let rotating = rotating(&mut f, sizes.layers)?;
        let used = f.flag("use_sliding_window")?;
        let width = f.optional_count("sliding_window", limits::CONTEXT)?.filter(|_| used);
        let windows = Windows::parse(&mut f, width, sizes.layers, |i| !rotating[i])?;
        let (attention_bias, mlp_bias) = (f.flag("attention_bias")?, f.flag("mlp_bias")?);
        f.finish(&[HARMLESS, UNUSED].concat())?;
        Ok(Self { sizes, rope, rotating, attention_bias, mlp_bias, windows })
    }
}

/// Reads the layers with rotary embedding: those with a 1 in `no_rope_layers`, by default all but every
/// `no_rope_layer_interval`-th.
fn rotating(f: &mut Fields<'_>, layers: usize) -> Result<Vec<bool>, ModelError> {
    let interval = f.optional_count("no_rope_layer_interval", limits::LAYERS)?.unwrap_or(INTERVAL);
    let Some(value) = f.value("no_rope_layers") else {
        return Ok((1..=layers).map(|i| !i.is_multiple_of(interval)).collect());
    };
    let flag = |n: &Json| n.as_u64().filter(|n| *n <= 1).map(|n| n == 1);
    let list = value.as_array().and_then(|list| list.iter().map(flag).collect::<Option<Vec<bool>>>());
    let list = list.filter(|list| list.len() == layers);
    list.ok_or_else(|| f.wrong("no_rope_layers", value, format!("0 or 1 for each of {layers} layers")))
}

/// The registry's entry.
pub(super) const FAMILY: Family = Family {
    model_type: "smollm3",
    gguf: "smollm3",
    keys: &[
        DECODER,
        &[Key { field: "no_rope_layers", gguf: "attention.rope_pattern", form: Form::RopeLayers { every: INTERVAL } }],
        qwen2::WINDOWS,
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

    fn cache(&self, layer: usize) -> CacheShape {
        self.sizes.cache(self.windows.kind(layer))
    }

    fn config(&self) -> Map<String, Json> {
        let mut config = self.sizes.config("smollm3", "SmolLM3ForCausalLM");
        let mut set = |name: &str, value: Json| config.insert(name.to_owned(), value);
        set("hidden_act", json!("silu"));
        set("attention_bias", json!(self.attention_bias));
        set("mlp_bias", json!(self.mlp_bias));
        set("no_rope_layers", self.rotating.iter().map(|&rotates| u8::from(rotates)).collect());
        qwen2::write_windows(&self.windows, &mut config);
        self.rope.write(&self.sizes.rope(THETA), &mut config);
        config
    }

    fn bind(&self, w: &Weights, context: usize, b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let (sizes, rope) = (&self.sizes, self.rope.bind(self.sizes.head_width, context, b)?);
        Ok(PreNorm::bind(w, sizes, |i, w| {
            let rope = self.rotating[i].then(|| rope.clone());
            (sizes.attention(w, rope, sizes.how()), sizes.mlp(w, Activation::Silu))
        }))
    }
}

#[cfg(test)]
mod tests {
    use honelm_backend::CacheKind;

    use super::*;

    #[test]
    fn layers_without_positions_follow_the_configuration() {
        let mut json = json!({"vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 5,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32, "pretraining_tp": 2});
        let parse = |json: &Json| Config::parse(Fields::new("config.json", json).expect("an object"));
        let config = parse(&json).expect("valid");
        assert_eq!(config.rotating, [true, true, true, false, true]);
        assert!(config.sizes.tied && config.rope.theta == THETA);
        json["no_rope_layers"] = json!([0, 1, 1, 1, 1]);
        json["sliding_window"] = json!(3);
        assert_eq!(parse(&json).expect("valid").cache(0).kind, CacheKind::Full);
        json["use_sliding_window"] = json!(true);
        let config = parse(&json).expect("valid");
        assert_eq!((config.cache(0).kind, config.cache(1).kind), (CacheKind::Window(3), CacheKind::Full));
        assert_eq!(parse(&Json::Object(config.config())).expect("own form"), config);
        json["no_rope_layers"] = json!([0, 1]);
        assert_eq!(parse(&json).expect_err("too short").code(), "invalid-field");
    }
}
