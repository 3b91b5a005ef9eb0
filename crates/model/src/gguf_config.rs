//! GGUF metadata to a configuration in Hugging Face's form, and back: one table for both directions.

use honelm_formats::gguf::{Gguf, Value};
use honelm_formats::{FormatError, TensorSource};
use serde_json::{Map, Value as Json, json};

use crate::arch::{self, FAMILIES, Family};
use crate::rope::{RopeConfig, RopeScaling};
use crate::{Blueprint, ModelError};

/// Hugging Face's field and GGUF's key behind `ARCH.`, for whole numbers.
const COUNTS: &[(&str, &str)] = &[
    ("max_position_embeddings", "context_length"),
    ("hidden_size", "embedding_length"),
    ("num_hidden_layers", "block_count"),
    ("intermediate_size", "feed_forward_length"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("sliding_window", "attention.sliding_window"),
    ("vocab_size", "vocab_size"),
];
/// Keys that repeat the head width.
const HEAD_WIDTHS: &[&str] = &["attention.value_length", "rope.dimension_count"];
const EPS: &str = "attention.layer_norm_rms_epsilon";
const THETA: &str = "rope.freq_base";
const SCALING_TYPE: &str = "rope.scaling.type";
const SCALING_FACTOR: &str = "rope.scaling.factor";
/// What files of 2023 have instead of type and factor.
const OLD_SCALING: &str = "rope.scale_linear";
const ROPE_FREQS: &str = "rope_freqs.weight";
/// Keys that do not change the result, or repeat what others say.
const HARMLESS: &[&str] = &["tensor_data_layout", "rope.scaling.original_context_length", "rope.scaling.finetuned"];
/// Keys that change the result unless they have this value.
const NEUTRAL: &[(&str, i128)] = &[("expert_count", 0), ("expert_used_count", 0), ("leading_dense_block_count", 0)];
/// A field that is true where the file has a tensor.
const PROBES: &[(&str, &str)] = &[("attention_bias", "blk.0.attn_q.bias"), ("mlp_bias", "blk.0.ffn_gate.bias")];
/// Token ids, the same in both worlds.
const TOKENS: &[(&str, &str)] = &[
    ("bos_token_id", "tokenizer.ggml.bos_token_id"),
    ("eos_token_id", "tokenizer.ggml.eos_token_id"),
    ("pad_token_id", "tokenizer.ggml.padding_token_id"),
];

/// The configuration that the metadata and tensors of a file describe.
pub(crate) fn read(gguf: &Gguf) -> Result<Json, ModelError> {
    let found: &str = gguf.require("general.architecture")?;
    let family = FAMILIES.iter().find(|family| family.gguf == found);
    let family = family.ok_or_else(|| arch::unknown(gguf.file(), found))?;
    let reader = Reader { gguf, family };
    reader.refuse_unknown()?;
    let mut config = Map::new();
    config.insert("model_type".to_owned(), json!(family.model_type));
    for (field, key) in COUNTS {
        if let Some(count) = gguf.get_u64(&reader.key(key))? {
            config.insert((*field).to_owned(), json!(count));
        }
    }
    let rows = gguf.info("token_embd.weight").and_then(|info| info.shape.first().copied());
    let missing =
        || FormatError::MissingTensor { file: gguf.file().to_owned(), tensor: "token_embd.weight".to_owned() };
    config.insert("vocab_size".to_owned(), json!(rows.ok_or_else(missing)?));
    if let Some(eps) = gguf.get_f32(&reader.key(EPS))? {
        config.insert("rms_norm_eps".to_owned(), json!(shortest(eps)));
    }
    config.insert("tie_word_embeddings".to_owned(), json!(!gguf.contains("output.weight")));
    for (field, tensor) in PROBES {
        if gguf.contains(tensor) {
            config.insert((*field).to_owned(), json!(true));
        }
    }
    for (field, key) in TOKENS {
        if let Some(id) = gguf.get_u32(key)? {
            config.insert((*field).to_owned(), json!(id));
        }
    }
    reader.rope()?.write(&mut config);
    reader.check_head_width(&config)?;
    Ok(Json::Object(config))
}

/// `general.*` and `ARCH.*` metadata of a model, but for the file's own (`general.file_type` and so on).
pub(crate) fn write(blueprint: &Blueprint) -> Result<Vec<(String, Value)>, ModelError> {
    let model_type = blueprint.facts.architecture;
    let family = FAMILIES.iter().find(|family| family.model_type == model_type);
    let arch = family.map_or(model_type, |family| family.gguf);
    let config = blueprint.definition.config();
    let key = |name: &str| format!("{arch}.{name}");
    let mut out = vec![
        ("general.architecture".to_owned(), arch.into()),
        ("general.type".to_owned(), "model".into()),
        ("general.name".to_owned(), blueprint.facts.name.as_str().into()),
    ];
    let count = |field: &str| config.get(field).and_then(Json::as_u64).and_then(|n| u32::try_from(n).ok());
    for (field, name) in COUNTS {
        if let Some(n) = count(field) {
            out.push((key(name), n.into()));
        }
    }
    if let Some(n) = count("head_dim") {
        out.extend(HEAD_WIDTHS.iter().map(|name| (key(name), n.into())));
    }
    if let Some(eps) = config.get("rms_norm_eps").and_then(Json::as_f64) {
        out.push((key(EPS), (eps as f32).into()));
    }
    if let Some(rope) = blueprint.definition.rope() {
        out.push((key(THETA), (rope.theta as f32).into()));
        if let RopeScaling::Linear { factor } = rope.scaling {
            out.push((key(SCALING_TYPE), "linear".into()));
            out.push((key(SCALING_FACTOR), (factor as f32).into()));
        }
    }
    Ok(out)
}

/// The divisors of the rotary frequencies as a GGUF file stores them, with the tensor's name. // [E / 2]
pub(crate) fn rope_freqs(blueprint: &Blueprint) -> Option<(&'static str, Vec<f32>)> {
    let width = blueprint.definition.cache(0).head_width;
    Some((ROPE_FREQS, blueprint.definition.rope()?.divisors(width)?))
}

/// Whether a tensor that no module names belongs to the configuration.
pub(crate) fn is_configuration(tensor: &str) -> bool {
    // Some converters of 2023 wrote each layer's plain frequencies.
    tensor == ROPE_FREQS || tensor.ends_with(".attn_rot_embd.weight")
}

struct Reader<'a> {
    gguf: &'a Gguf,
    family: &'a Family,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family.gguf)
    }

    fn invalid(&self, name: &str, found: &Value, expected: impl Into<String>) -> ModelError {
        let (file, field) = (self.gguf.file().to_owned(), self.key(name));
        ModelError::InvalidField { file, field, found: found.describe(), expected: expected.into() }
    }

    fn refuse_unknown(&self) -> Result<(), ModelError> {
        let counts = COUNTS.iter().map(|(_, key)| key);
        let known: Vec<&str> = counts
            .chain(HEAD_WIDTHS)
            .chain(&[EPS, THETA, SCALING_TYPE, SCALING_FACTOR, OLD_SCALING])
            .chain(HARMLESS)
            .copied()
            .collect();
        for (key, value) in self.gguf.metadata.iter() {
            let Some(name) = key.strip_prefix(self.family.gguf).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            let neutral = NEUTRAL.iter().any(|&(key, neutral)| key == name && value.integer() == Some(neutral));
            if !neutral && !known.contains(&name) {
                let (file, field) = (self.gguf.file().to_owned(), key.escape_debug().to_string());
                return Err(ModelError::UnknownField { file, field, found: value.describe() });
            }
        }
        Ok(())
    }

    /// Keys, values and rotated parts have one width here.
    fn check_head_width(&self, config: &Map<String, Json>) -> Result<(), ModelError> {
        let count = |field: &str| config.get(field).and_then(Json::as_u64);
        let by_width = || count("hidden_size")?.checked_div(count("num_attention_heads")?);
        let Some(width) = count("head_dim").or_else(by_width) else { return Ok(()) };
        for name in HEAD_WIDTHS {
            if let Some(value) = self.gguf.metadata.value(&self.key(name))
                && value.integer() != Some(width.into())
            {
                return Err(self.invalid(name, value, format!("{width}, the head width")));
            }
        }
        Ok(())
    }

    fn rope(&self) -> Result<RopeConfig, ModelError> {
        let gguf = self.gguf;
        let theta = gguf.get_f32(&self.key(THETA))?.map_or(10_000.0, shortest);
        let factor = |name: &str| Ok::<_, ModelError>(gguf.get_f32(&self.key(name))?.map(shortest));
        let linear = match gguf.get_str(&self.key(SCALING_TYPE))? {
            None => factor(OLD_SCALING)?.or(factor(SCALING_FACTOR)?).filter(|&f| f != 1.0 && f != 0.0),
            Some("none") => None,
            Some("linear") => Some(factor(SCALING_FACTOR)?.unwrap_or(1.0)),
            Some(other) => return Err(self.invalid(SCALING_TYPE, &other.into(), "none or linear")),
        };
        let divisors = gguf.contains(ROPE_FREQS).then(|| gguf.matrix(ROPE_FREQS)).transpose()?;
        match (linear, divisors) {
            (Some(factor), None) => Ok(RopeConfig { theta, scaling: RopeScaling::Linear { factor } }),
            (None, None) => Ok(RopeConfig { theta, scaling: RopeScaling::Unscaled }),
            (None, Some(matrix)) => {
                let mut divisors = vec![0.0; matrix.cols];
                if matrix.rows != 1 {
                    let (file, found) = (gguf.file().to_owned(), vec![matrix.rows, matrix.cols]);
                    let expected = vec![matrix.cols];
                    return Err(ModelError::WrongShape { file, tensor: ROPE_FREQS.to_owned(), found, expected });
                }
                matrix.dequantize_row(0, &mut divisors);
                Ok(RopeConfig::from_divisors(theta, divisors))
            }
            (Some(_), Some(_)) => {
                Err(self.invalid(SCALING_TYPE, &"linear".into(), "none, since there are rope_freqs.weight too"))
            }
        }
    }
}

/// The shortest decimal number that is this f32: what the configuration said before it was converted.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
