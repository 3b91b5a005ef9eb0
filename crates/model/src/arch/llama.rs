//! Llama 1 to 3 (Touvron et al. 2023, Grattafiori et al. 2024; transformers' `modeling_llama.py`).
//!
//! A pre-norm decoder: x += attention(norm(x)), x += mlp(norm(x)), with RMS norms, rotary embedding of whole heads,
//! grouped key-value heads and a SiLU-gated feed-forward layer. Every other architecture is described by how it
//! differs from this one.

use std::rc::Rc;

use honelm_backend::{Activation, Backend, BackendError, CacheKind};
use serde_json::{Map, Value as Json, json};

use super::{HARMLESS, limits};
use crate::architecture::BlockCache;
use crate::decoder::{Biases, PreNorm, Sizes};
use crate::fields::Fields;
use crate::rope::RopeConfig;
use crate::{Architecture, Definition, ModelError, Tree, Weights};

/// `rope_theta` where a configuration has none.
const THETA: f64 = 10_000.0;

/// `LlamaConfig`, with `sliding_window` as `MistralConfig` has it.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    sizes: Sizes,
    rope: RopeConfig,
    attention_bias: bool,
    mlp_bias: bool,
    /// A row sees this many positions, its own included.
    window: Option<usize>,
}

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        f.only("hidden_act", &json!("silu"))?;
        f.only("pretraining_tp", &json!(1))?;
        f.only("rope_interleaved", &json!(false))?;
        let sizes = Sizes::parse(&mut f, false)?;
        let rope = RopeConfig::parse(&mut f, &sizes.rope(THETA))?;
        let config = Self {
            sizes,
            rope,
            attention_bias: f.flag("attention_bias")?,
            mlp_bias: f.flag("mlp_bias")?,
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
        let biases = Biases { qkv: self.attention_bias, o: self.attention_bias, mlp: self.mlp_bias };
        self.sizes.tree(self.sizes.interleaved_block(biases))
    }

    fn context(&self) -> usize {
        self.sizes.context
    }

    fn cache(&self, _block: usize) -> BlockCache {
        self.sizes.cache(self.window.map_or(CacheKind::Full, CacheKind::Window))
    }

    fn rope(&self) -> Option<&RopeConfig> {
        Some(&self.rope)
    }

    fn config(&self) -> Map<String, Json> {
        let mut config = self.sizes.config("llama", "LlamaForCausalLM");
        let mut set = |name: &str, value: Json| config.insert(name.to_owned(), value);
        set("hidden_act", json!("silu"));
        set("attention_bias", json!(self.attention_bias));
        set("mlp_bias", json!(self.mlp_bias));
        if let Some(window) = self.window {
            set("sliding_window", json!(window));
        }
        self.rope.write(&self.sizes.rope(THETA), &mut config);
        config
    }

    fn bind(&self, w: &Weights, context: usize, b: &mut dyn Backend) -> Result<Box<dyn Architecture>, BackendError> {
        let (sizes, rope) = (&self.sizes, self.rope.bind(self.sizes.head_width, context, b)?);
        PreNorm::bind(w, sizes, |_, w| {
            (sizes.attention(w, Some(rope.clone()), sizes.how()), sizes.mlp(w, Activation::Silu))
        })
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
        assert!(tree.output.is_some() && tree.blocks[0].iter().any(|m| m.name == "v" && m.bias));
        let stages: Vec<Vec<&str>> = tree.stages(0).iter().map(|s| s.iter().map(|m| m.name).collect()).collect();
        assert_eq!(stages, [vec!["q", "k", "v"], vec!["o"], vec!["gate", "up"], vec!["down"]]);
        // The configuration it writes means the same, every default spelt out.
        let own = Json::Object(config.config());
        assert_eq!(Config::parse(Fields::new("config.json", &own).expect("an object")).expect("own form"), config);
    }
}
