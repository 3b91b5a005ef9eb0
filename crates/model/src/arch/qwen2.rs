//! Qwen 2 and 2.5 (Yang et al. 2024; transformers' `modeling_qwen2.py`).
//!
//! Differences from Llama: q, k and v have biases, and with `use_sliding_window` the layers from `max_window_layers` on, or
//! those in `layer_types`, have a sliding window. No published model sets that, and llama.cpp does not support it.

use std::rc::Rc;

use honelm_backend::{Activation, Backend, BackendError};
use serde_json::{Map, Value as Json, json};

use super::{Family, HARMLESS};
use crate::architecture::CacheShape;
use crate::decoder::{Biases, PreNorm, Sizes};
use crate::fields::Fields;
use crate::gguf_keys::{DECODER, Form, Key, WINDOW, layer_types};
use crate::rope::{RopeConfig, THETA};
use crate::windows::Windows;
use crate::{Architecture, Definition, ModelError, Tree, Weights, limits};

/// `Qwen2Config`.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    sizes: Sizes,
    rope: RopeConfig,
    windows: Windows,
}

impl Config {
    fn parse(mut f: Fields<'_>) -> Result<Self, ModelError> {
        f.only("hidden_act", &json!("silu"))?;
        f.only("use_mrope", &json!(false))?;
        let sizes = Sizes::parse(&mut f, false)?;
        let rope = RopeConfig::parse(&mut f, &sizes.rope(THETA))?;
        let windows = windows(&mut f, sizes.layers)?;
        f.finish(HARMLESS)?;
        Ok(Self { sizes, rope, windows })
    }
}

/// Reads the windows from Qwen's fields.
pub(super) fn windows(f: &mut Fields<'_>, layers: usize) -> Result<Windows, ModelError> {
    let width = f.optional_count("sliding_window", limits::CONTEXT)?.unwrap_or(4096);
    let used = f.flag("use_sliding_window")?;
    // 28 is the default of transformers' class. Without windows the field may have any value.
    let first = f.value("max_window_layers").map_or(Some(28), Json::as_u64).filter(|_| used);
    Windows::parse(f, used.then_some(width), layers, |i| first.is_some_and(|first| i as u64 >= first))
}

/// Writes the fields that [`windows`] reads.
pub(super) fn write_windows(windows: &Windows, config: &mut Map<String, Json>) {
    config.insert("use_sliding_window".to_owned(), json!(windows.width.is_some()));
    if let Some(width) = windows.width {
        config.insert("sliding_window".to_owned(), json!(width));
        config.insert("layer_types".to_owned(), Windows::types(&windows.sliding));
    }
}

/// The keys in GGUF of the fields that [`windows`] reads.
pub(super) const WINDOWS: &[Key] =
    &[WINDOW, Key { field: "use_sliding_window", gguf: WINDOW.gguf, form: Form::Present }, layer_types(0)];

/// The registry's entry.
pub(super) const FAMILY: Family = Family {
    model_type: "qwen2",
    gguf: "qwen2",
    keys: &[DECODER, WINDOWS],
    rope: true,
    define: |fields| Ok(Rc::new(Config::parse(fields)?)),
};

impl Definition for Config {
    fn tree(&self) -> Tree {
        self.sizes.tree(self.sizes.layer(Biases { qkv: true, ..Biases::default() }))
    }

    fn context(&self) -> usize {
        self.rope.limit(self.sizes.context)
    }

    fn cache(&self, layer: usize) -> CacheShape {
        self.sizes.cache(self.windows.kind(layer))
    }

    fn config(&self) -> Map<String, Json> {
        let mut config = self.sizes.config("qwen2", "Qwen2ForCausalLM");
        config.insert("hidden_act".to_owned(), json!("silu"));
        write_windows(&self.windows, &mut config);
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
    use honelm_backend::CacheKind;

    use super::*;

    fn parse(extra: &Json) -> Result<Config, ModelError> {
        let mut json = json!({"vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32});
        json.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        Config::parse(Fields::new("config.json", &json)?)
    }

    #[test]
    fn biases_are_those_of_q_k_and_v() {
        let tree = parse(&json!({})).expect("valid").tree();
        let biased: Vec<&str> = tree.layers[2].iter().filter(|m| m.bias).map(|m| m.name).collect();
        assert_eq!(biased, ["q", "k", "v"]);
    }

    #[test]
    fn windows_are_used_if_they_are_enabled() {
        let published = json!({"use_sliding_window": false, "sliding_window": 32768, "max_window_layers": 1});
        assert_eq!(parse(&published).expect("valid").windows.width, None);
        let used = parse(&json!({"use_sliding_window": true, "sliding_window": 5, "max_window_layers": 1}));
        let used = used.expect("valid");
        assert_eq!(
            (0..3).map(|i| used.cache(i).kind).collect::<Vec<_>>(),
            [CacheKind::Full, CacheKind::Window(5), CacheKind::Window(5)]
        );
        let own = Json::Object(used.config());
        assert_eq!(Config::parse(Fields::new("config.json", &own).expect("an object")).expect("own form"), used);
        let error = parse(&json!({"layer_types": ["full_attention", "sliding_attention", "full_attention"]}));
        assert_eq!(error.expect_err("no window").code(), "missing-field");
        let error = parse(&json!({"layer_types": ["full_attention", "linear_attention", "full_attention"]}));
        assert!(error.expect_err("unknown").to_string().contains("layer_types"));
    }
}
