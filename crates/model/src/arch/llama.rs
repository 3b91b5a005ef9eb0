//! Llama 1 to 3 (Touvron et al. 2023, Grattafiori et al. 2024; transformers' `modeling_llama.py`).
//!
//! A pre-norm decoder: x += attention(norm(x)), x += mlp(norm(x)), with RMS norms, rotary embedding of whole heads,
//! grouped key-value heads and a SiLU-gated feed-forward network. The other architectures are described by their
//! differences from this one.

use std::rc::Rc;

use honelm_backend::{Activation, Backend, BackendError};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS, mistral};
use crate::architecture::CacheShape;
use crate::decoder::{Biases, PreNorm, Sizes};
use crate::fields::Fields;
use crate::gguf_keys::{DECODER, WINDOW, layer_types, tensor};
use crate::rope::{RopeConfig, THETA};
use crate::windows::Windows;
use crate::{Architecture, Definition, ModelError, Tree, Weights, limits};

/// `LlamaConfig`, with `sliding_window` and `layer_types` as `MinistralConfig` has them.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    sizes: Sizes,
    rope: RopeConfig,
    attention_bias: bool,
    mlp_bias: bool,
    windows: Windows,
}

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        f.only("hidden_act", &json!("silu"))?;
        f.only("pretraining_tp", &json!(1))?;
        f.only("rope_interleaved", &json!(false))?;
        let sizes = Sizes::parse(&mut f, false)?;
        let rope = RopeConfig::parse(&mut f, &sizes.rope(THETA))?;
        let width = f.optional_count("sliding_window", limits::CONTEXT)?;
        let windows = Windows::parse(&mut f, width, sizes.layers, |_| true)?;
        let (attention_bias, mlp_bias) = (f.flag("attention_bias")?, f.flag("mlp_bias")?);
        f.finish(HARMLESS)?;
        Ok(Self { sizes, rope, attention_bias, mlp_bias, windows })
    }

    fn has_uneven_heads(&self) -> bool {
        !self.sizes.width.is_multiple_of(self.sizes.heads)
    }
}

/// The registry's entry. In GGUF, this is also the name of other models with the same forward pass.
pub(super) const FAMILY: Family = Family {
    model_type: "llama",
    gguf: "llama",
    keys: &[
        DECODER,
        &[WINDOW, layer_types(0)],
        &[tensor("attention_bias", "blk.0.attn_q.bias"), tensor("mlp_bias", "blk.0.ffn_gate.bias")],
    ],
    rope: true,
    define: |fields| Ok(Rc::new(Config::parse(fields)?)),
};

impl Definition for Config {
    fn tree(&self) -> Tree {
        let biases = Biases { qkv: self.attention_bias, o: self.attention_bias, mlp: self.mlp_bias };
        let tree = self.sizes.tree(self.sizes.interleaved_layer(biases));
        Tree { heads_divide_width: self.attention_bias || self.mlp_bias, ..tree }
    }

    fn context(&self) -> usize {
        self.rope.limit(self.sizes.context)
    }

    fn cache(&self, layer: usize) -> CacheShape {
        self.sizes.cache(self.windows.kind(layer))
    }

    fn config(&self) -> Map<String, Json> {
        // LlamaConfig has no windows, so readers would ignore them, and transformers' own refuses heads that do not divide the width.
        let is_llama = self.windows.width.is_none() && !self.has_uneven_heads();
        if !is_llama && !self.attention_bias && !self.mlp_bias {
            return mistral::config_of_llama(&self.sizes, &self.rope, &self.windows);
        }
        let mut config = self.sizes.config("llama", "LlamaForCausalLM");
        let mut set = |name: &str, value: Json| config.insert(name.to_owned(), value);
        set("hidden_act", json!("silu"));
        set("attention_bias", json!(self.attention_bias));
        set("mlp_bias", json!(self.mlp_bias));
        if let Some(width) = self.windows.width {
            set("sliding_window", json!(width));
            set("layer_types", Windows::types(&self.windows.sliding));
        }
        self.rope.write(&self.sizes.rope(THETA), &mut config);
        config
    }

    fn bind(&self, w: &Weights, context: usize, b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let (sizes, rope) = (&self.sizes, self.rope.bind(self.sizes.head_width, context, b)?);
        Ok(PreNorm::bind(w, sizes, |_, w| {
            (sizes.attention(w, Some(rope.clone()), sizes.how()), sizes.mlp(w, Activation::Silu))
        }))
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
        let shape = |name: &str| tree.layers[1].iter().find(|m| m.name == name).map(|m| m.shape);
        assert_eq!((shape("q"), shape("k"), shape("o")), (Some([24, 8]), Some([12, 8]), Some([8, 24])));
        assert!(tree.output.is_some() && tree.layers[0].iter().any(|m| m.name == "v" && m.bias));
        let stages: Vec<Vec<&str>> = tree.stages(0).iter().map(|s| s.iter().map(|m| m.name).collect()).collect();
        assert_eq!(stages, [vec!["q", "k", "v"], vec!["o"], vec!["gate", "up"], vec!["down"]]);
        // The configuration that it writes, with all defaults, is parsed to the same settings.
        let own = Json::Object(config.config());
        assert_eq!(Config::parse(Fields::new("config.json", &own).expect("an object")).expect("own form"), config);
    }
}
