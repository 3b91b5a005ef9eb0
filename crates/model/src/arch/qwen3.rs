//! Qwen 3, dense (Yang et al. 2025; transformers' `modeling_qwen3.py`).
//!
//! Differences from Llama: an RMS norm on each head of q and of k before the rotary embedding, a head width of 128
//! regardless of the model's width, and the windows of Qwen 2.

use std::rc::Rc;

use honelm_backend::{Activation, Backend, BackendError};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS, qwen2};
use crate::architecture::CacheShape;
use crate::decoder::{Biases, Defaults, PreNorm, Sizes};
use crate::fields::Fields;
use crate::gguf_keys::{DECODER, tensor};
use crate::rope::{RopeConfig, THETA};
use crate::windows::Windows;
use crate::{Architecture, Definition, ModelError, Module, Tree, Weights};

/// `Qwen3Config`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    sizes: Sizes,
    rope: RopeConfig,
    attention_bias: bool,
    windows: Windows,
}

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        f.only("hidden_act", &json!("silu"))?;
        let sizes = Sizes::parse_with(&mut f, &Defaults { head_width: Some(128), ..Defaults::default() })?;
        let rope = RopeConfig::parse(&mut f, &sizes.rope(THETA))?;
        let attention_bias = f.flag("attention_bias")?;
        let windows = qwen2::windows(&mut f, sizes.layers)?;
        f.finish(HARMLESS)?;
        Ok(Self { sizes, rope, attention_bias, windows })
    }
}

/// The registry's entry.
pub(super) const FAMILY: Family = Family {
    model_type: "qwen3",
    gguf: "qwen3",
    keys: &[DECODER, qwen2::WINDOWS, &[tensor("attention_bias", "blk.0.attn_q.bias")]],
    rope: true,
    define: |fields| Ok(Rc::new(Config::parse(fields)?)),
};

impl Definition for Config {
    fn tree(&self) -> Tree {
        let bias = self.attention_bias;
        let mut layer = self.sizes.layer(Biases { qkv: bias, o: bias, mlp: false });
        layer.push(Module::norm("q_norm", "self_attn.q_norm", "attn_q_norm", self.sizes.head_width));
        layer.push(Module::norm("k_norm", "self_attn.k_norm", "attn_k_norm", self.sizes.head_width));
        self.sizes.tree(layer)
    }

    fn context(&self) -> usize {
        self.rope.limit(self.sizes.context)
    }

    fn cache(&self, layer: usize) -> CacheShape {
        self.sizes.cache(self.windows.kind(layer))
    }

    fn config(&self) -> Map<String, Json> {
        let mut config = self.sizes.config("qwen3", "Qwen3ForCausalLM");
        config.insert("hidden_act".to_owned(), json!("silu"));
        config.insert("attention_bias".to_owned(), json!(self.attention_bias));
        qwen2::write_windows(&self.windows, &mut config);
        self.rope.write(&self.sizes.rope(THETA), &mut config);
        config
    }

    fn bind(&self, w: &Weights, context: usize, b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let (sizes, rope) = (&self.sizes, self.rope.bind(self.sizes.head_width, context, b)?);
        Ok(PreNorm::bind(w, sizes, |_, w| {
            let mut attention = sizes.attention(w, Some(rope.clone()), sizes.how());
            attention.head_norms = Some([w.take("q_norm"), w.take("k_norm")]);
            (attention, sizes.mlp(w, Activation::Silu))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_norms_and_their_own_width() {
        let mut json = json!({"vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32});
        let parse = |json: &Json| Config::parse(Fields::new("config.json", json).expect("an object")).expect("valid");
        assert_eq!(parse(&json).sizes.head_width, 128);
        json["head_dim"] = json!(6);
        let config = parse(&json);
        let tree = config.tree();
        let shape = |name: &str| tree.layers[0].iter().find(|m| m.name == name).map(|m| m.shape);
        assert_eq!((shape("q"), shape("q_norm"), shape("k_norm")), (Some([24, 8]), Some([1, 6]), Some([1, 6])));
        assert_eq!(parse(&Json::Object(config.config())), config);
    }
}
