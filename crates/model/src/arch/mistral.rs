//! Mistral 7B, Nemo, Small and Ministral (Jiang et al. 2023; transformers' `modeling_mistral.py`, `modeling_ministral.py`).
//!
//! Differences from Llama: a sliding window in every layer (`mistral`) or in those in `layer_types` (`ministral`). Nemo and
//! later models have no window, and a head width of their own. In GGUF the architecture is `llama`, and llama.cpp ignores
//! the window.

use std::rc::Rc;

use honelm_backend::{Activation, Backend, BackendError};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS};
use crate::architecture::CacheShape;
use crate::decoder::{Biases, Defaults, PreNorm, Sizes};
use crate::fields::Fields;
use crate::gguf_keys::{DECODER, WINDOW, layer_types};
use crate::rope::{RopeConfig, THETA};
use crate::windows::Windows;
use crate::{Architecture, Definition, ModelError, Tree, Weights, limits};

/// `MistralConfig`, `MinistralConfig`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    model_type: &'static str,
    sizes: Sizes,
    rope: RopeConfig,
    windows: Windows,
}

const MISTRAL_TYPE: &str = "mistral";
const MINISTRAL_TYPE: &str = "ministral";

impl Config {
    fn parse(model_type: &'static str, mut f: Fields<'_>) -> Result<Self, ModelError> {
        f.only("hidden_act", &json!("silu"))?;
        let sizes = Sizes::parse_with(&mut f, &Defaults { kv_heads: Some(8), ..Defaults::default() })?;
        let rope = RopeConfig::parse(&mut f, &sizes.rope(THETA))?;
        // Null means no window; without the field, the default of transformers' class applies.
        let width = match f.given("sliding_window") {
            true => f.optional_count("sliding_window", limits::CONTEXT)?,
            false => Some(4096),
        };
        let windows = Windows::parse(&mut f, width, sizes.layers, |_| true)?;
        if let (MISTRAL_TYPE, Some(types)) = (model_type, f.value("layer_types"))
            && windows.width.is_some()
            && windows.sliding.contains(&false)
        {
            return Err(f.wrong(
                "layer_types",
                types,
                "windows in all layers or in none (the model_type ministral allows both kinds)",
            ));
        }
        f.finish(HARMLESS)?;
        Ok(Self { model_type, sizes, rope, windows })
    }
}

/// Returns the configuration of a decoder with windows.
fn config(model_type: &str, sizes: &Sizes, rope: &RopeConfig, windows: &Windows) -> Map<String, Json> {
    let class = if model_type == MISTRAL_TYPE { "MistralForCausalLM" } else { "MinistralForCausalLM" };
    let mut config = sizes.config(model_type, class);
    config.insert("hidden_act".to_owned(), json!("silu"));
    config.insert("sliding_window".to_owned(), json!(windows.width));
    if model_type == MINISTRAL_TYPE {
        config.insert("layer_types".to_owned(), Windows::types(&windows.sliding));
    }
    rope.write(&sizes.rope(THETA), &mut config);
    config
}

/// Returns the configuration of a Llama without biases that Hugging Face gives another `model_type`: one with windows, or with
/// heads that do not divide the width.
pub(super) fn config_of_llama(sizes: &Sizes, rope: &RopeConfig, windows: &Windows) -> Map<String, Json> {
    let has_both = windows.width.is_some() && windows.sliding.contains(&false);
    let model_type = if has_both { MINISTRAL_TYPE } else { MISTRAL_TYPE };
    config(model_type, sizes, rope, windows)
}

/// The registry's entry.
pub(super) const FAMILY: Family = Family {
    model_type: MISTRAL_TYPE,
    gguf: "llama",
    keys: &[DECODER, &[WINDOW, layer_types(0)]],
    rope: true,
    define: |fields| Ok(Rc::new(Config::parse(MISTRAL_TYPE, fields)?)),
};

/// The registry's entry of the variant with both kinds of layers.
pub(super) const MINISTRAL: Family = Family {
    model_type: MINISTRAL_TYPE,
    define: |fields| Ok(Rc::new(Config::parse(MINISTRAL_TYPE, fields)?)),
    ..FAMILY
};

impl Definition for Config {
    fn tree(&self) -> Tree {
        self.sizes.tree(self.sizes.interleaved_layer(Biases::default()))
    }

    fn context(&self) -> usize {
        self.rope.limit(self.sizes.context)
    }

    fn cache(&self, layer: usize) -> CacheShape {
        self.sizes.cache(self.windows.kind(layer))
    }

    fn config(&self) -> Map<String, Json> {
        config(self.model_type, &self.sizes, &self.rope, &self.windows)
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
    use honelm_backend::CacheKind;

    use super::*;

    fn parse(model_type: &'static str, extra: &Json) -> Result<Config, ModelError> {
        let mut json = json!({"vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32, "head_dim": 6});
        json.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        Config::parse(model_type, Fields::new("config.json", &json)?)
    }

    #[test]
    fn windows_are_in_all_layers_or_in_those_of_layer_types() {
        let kinds = |config: &Config| [config.cache(0).kind, config.cache(1).kind];
        let mistral = parse(MISTRAL_TYPE, &json!({"sliding_window": 5})).expect("valid");
        assert_eq!(kinds(&mistral), [CacheKind::Window(5); 2]);
        let nemo = parse(MISTRAL_TYPE, &json!({"sliding_window": null})).expect("valid");
        assert_eq!(kinds(&nemo), [CacheKind::Full; 2]);
        assert_eq!(kinds(&parse(MISTRAL_TYPE, &json!({})).expect("valid")), [CacheKind::Window(4096); 2]);
        let mixed = json!({"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]});
        let ministral = parse(MINISTRAL_TYPE, &mixed).expect("valid");
        assert_eq!(kinds(&ministral), [CacheKind::Window(5), CacheKind::Full]);
        assert_eq!(parse(MISTRAL_TYPE, &mixed).expect_err("mixed").code(), "invalid-field");
        for config in [mistral, nemo, ministral] {
            assert_eq!(parse(config.model_type, &Json::Object(config.config())).expect("own form"), config);
        }
    }
}
