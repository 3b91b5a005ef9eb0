//! The settings of a GPTQ checkpoint.

use serde_json::{Map, Value, json};

use honelm_blocks::{GroupMatrix, Zeros};

use super::dynamic::{BITS, BITS_NAMES, Dynamic, HARMLESS, ModuleSettings};
use crate::FormatError;
use crate::quantized::fields::Fields;
use crate::quantized::words::Packing;

/// The variants of the format, which differ in how codes and zero points are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointFormat {
    /// `"gptq"`: zero points are stored as z - 1, so z = 0 cannot be stored safely.
    V1,
    /// `"gptq_v2"`: zero points are stored as z.
    V2,
    /// `"gptq_p"`: zero points are stored as z, and codes of 3 bits in planes.
    Planar,
}

impl CheckpointFormat {
    const ALL: [Self; 3] = [Self::V1, Self::V2, Self::Planar];

    /// Returns the value of `checkpoint_format`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "gptq",
            Self::V2 => "gptq_v2",
            Self::Planar => "gptq_p",
        }
    }

    /// Returns the most widely read variant that can hold all `matrices`: v1, or v2 if a zero point is 0.
    pub fn for_matrices<'a>(matrices: impl IntoIterator<Item = &'a GroupMatrix>) -> Self {
        let has_zero = |matrix: &GroupMatrix| match &matrix.zeros {
            Zeros::Constant(z) => *z == 0,
            Zeros::Integer(zeros) => zeros.contains(&0),
            Zeros::Bias(_) => false,
        };
        if matrices.into_iter().any(has_zero) { Self::V2 } else { Self::V1 }
    }

    /// Returns how codes of `bits` bits fill words.
    pub(super) fn packing(self, bits: u8) -> Packing {
        match bits {
            5..=7 => Packing::Planes,
            3 if self == Self::Planar => Packing::Planes,
            _ => Packing::Stream,
        }
    }
}

/// The settings of a GPTQ checkpoint: `quantize_config.json`, or `quantization_config` of
/// `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizeConfig {
    /// The bits per code, 2 to 8.
    pub bits: u8,
    /// The columns per group; `None` (-1 in the file) for one group per row.
    pub group_size: Option<usize>,
    /// `true` if columns were quantised in the order of their activations.
    pub desc_act: bool,
    /// `true` if every zero point is the middle code.
    pub sym: bool,
    /// `true` if the output layer is quantised too.
    pub lm_head: bool,
    /// The variant of the format.
    pub checkpoint_format: CheckpointFormat,
    /// The modules with settings of their own.
    pub dynamic: Dynamic,
    /// The fields that do not affect decoding (`damp_percent`, `meta`, ...), which are written unchanged.
    pub extra: Map<String, Value>,
}

/// The fields that [`QuantizeConfig::parse`] reads. All others are kept in `extra`.
const KNOWN: [&str; 12] = [
    "bits",
    "group_size",
    "desc_act",
    "sym",
    "lm_head",
    "checkpoint_format",
    "format",
    "quant_method",
    "method",
    "pack_dtype",
    "dynamic",
    "is_marlin_format",
];

impl QuantizeConfig {
    /// Reads the settings object; `file` names it in messages.
    ///
    /// # Errors
    /// [`FormatError::InvalidQuantization`] for a missing or malformed field,
    /// [`FormatError::UnsupportedQuantization`] for another method, format, width or packing,
    /// [`FormatError::UnknownQuantization`] for unknown fields, which might change the weights.
    pub fn parse(file: &str, value: &Value) -> Result<Self, FormatError> {
        const FORMATS: &str = "gptq, gptq_v2, gptq_p";
        let fields = Fields::new(file, value)?;
        fields.require("quant_method", &["gptq"], "gptq")?;
        fields.require("method", &["gptq"], "gptq")?;
        fields.require("pack_dtype", &["int32"], "int32")?;
        if fields.flag("is_marlin_format")? == Some(true) {
            return Err(fields.unsupported("is_marlin_format", "true", FORMATS));
        }
        let named = match fields.text("checkpoint_format")? {
            Some(name) => Some(("checkpoint_format", name)),
            None => fields.text("format")?.map(|name| ("format", name)),
        };
        let checkpoint_format = match named {
            None => CheckpointFormat::V1,
            Some((field, name)) => CheckpointFormat::ALL
                .into_iter()
                .find(|format| format.name() == name)
                .ok_or_else(|| fields.unsupported(field, name, FORMATS))?,
        };
        fields.only(&KNOWN, HARMLESS)?;
        let bits = fields.bits("bits", &BITS, BITS_NAMES)?;
        let extra = fields.iter().filter(|(key, _)| !KNOWN.contains(key));
        Ok(Self {
            bits: bits.ok_or_else(|| fields.invalid("bits", "a number of bits"))?,
            group_size: fields
                .group_size("group_size")?
                .ok_or_else(|| fields.invalid("group_size", "-1 or a number of columns"))?,
            desc_act: fields.flag("desc_act")?.unwrap_or(false),
            sym: fields.flag("sym")?.unwrap_or(true),
            lm_head: fields.flag("lm_head")?.unwrap_or(false),
            checkpoint_format,
            dynamic: Dynamic::parse(&fields)?,
            extra: extra.map(|(key, value)| (key.to_owned(), value.clone())).collect(),
        })
    }

    /// Returns the settings of `module`, or `None` if `dynamic` excludes it.
    ///
    /// # Errors
    /// [`FormatError::NotRepresentable`] if an expression of `dynamic` takes too long to match.
    pub fn of(&self, module: &str) -> Result<Option<ModuleSettings>, FormatError> {
        let base = ModuleSettings { bits: self.bits, group_size: self.group_size, sym: self.sym };
        self.dynamic.of(module, base)
    }

    /// Returns the settings object of `quantize_config.json` and of `quantization_config` in `config.json`, with the
    /// older and the newer names of method and format.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let group_size = self.group_size.map_or_else(|| json!(-1), |size| json!(size));
        let format = self.checkpoint_format.name();
        let mut object = json!({
            "quant_method": "gptq",
            "bits": self.bits,
            "group_size": group_size,
            "desc_act": self.desc_act,
            "sym": self.sym,
            "lm_head": self.lm_head,
            "checkpoint_format": format,
            "method": "gptq",
            "format": format,
            "pack_dtype": "int32",
        });
        if let Some(object) = object.as_object_mut() {
            if !self.dynamic.is_empty() {
                object.insert("dynamic".to_owned(), self.dynamic.to_json());
            }
            object.extend(self.extra.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: Value) -> Result<QuantizeConfig, FormatError> {
        QuantizeConfig::parse("quantize_config.json", &value)
    }

    fn code(value: Value) -> &'static str {
        parse(value).expect_err("must be refused").code()
    }

    #[test]
    fn reads_both_generations_of_names() {
        let old = json!({"bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": true, "sym": false,
            "true_sequential": true, "model_name_or_path": null});
        let config = parse(old).expect("old form");
        assert_eq!((config.bits, config.group_size), (4, Some(128)));
        assert!(config.desc_act && !config.sym && !config.lm_head);
        assert_eq!(config.checkpoint_format, CheckpointFormat::V1);
        let new = json!({"method": "gptq", "format": "gptq_v2", "bits": 8, "group_size": -1, "lm_head": true,
            "adapter": null, "rotation": null});
        let config = parse(new).expect("new form");
        assert_eq!((config.bits, config.group_size), (8, None));
        assert_eq!(config.checkpoint_format, CheckpointFormat::V2);
        assert!(config.lm_head && config.sym);
    }

    #[test]
    fn the_first_dynamic_rule_that_matches_decides() {
        let config = parse(json!({"bits": 4, "group_size": 128, "format": "gptq_p", "dynamic": {
            "-:.*\\.0\\..*gate": {},
            "+:.*gate": {"bits": 8, "group_size": 32},
            ".*down_proj$": {"sym": false, "damp_percent": 0.1},
            "model\\.layers\\.1\\..*": {"bits": 3, "group_size": -1},
            "proj": {"bits": 2},
        }}))
        .expect("valid");
        let of = |module: &str| config.of(module).expect("known").map(|s| (s.bits, s.group_size, s.sym));
        assert_eq!(of("model.layers.0.mlp.gate_proj"), None);
        assert_eq!(of("model.layers.1.mlp.gate_proj"), Some((8, Some(32), true)));
        assert_eq!(of("model.layers.1.mlp.down_proj"), Some((4, Some(128), false)));
        assert_eq!(of("model.layers.1.mlp.up_proj"), Some((3, None, true)));
        assert_eq!(of("model.layers.2.mlp.up_proj"), Some((4, Some(128), true)));
        assert_eq!(parse(config.to_json()).expect("own form"), config);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut config =
            parse(json!({"bits": 4, "group_size": 32, "sym": false, "damp_percent": 0.05})).expect("valid");
        assert_eq!(parse(config.to_json()).expect("own form"), config);
        config.group_size = None;
        for format in CheckpointFormat::ALL {
            config.checkpoint_format = format;
            assert_eq!(parse(config.to_json()).expect("own form"), config);
        }
        assert_eq!(config.to_json()["group_size"], json!(-1));
    }

    #[test]
    fn refuses_by_name_what_it_cannot_decode() {
        let with = |field: &str, value: Value| {
            let mut config = json!({"bits": 4, "group_size": 128});
            config[field] = value;
            config
        };
        for (field, value) in [
            ("quant_method", json!("awq")),
            ("method", json!("gguf")),
            ("checkpoint_format", json!("marlin")),
            ("format", json!("bitblas")),
            ("is_marlin_format", json!(true)),
            ("pack_dtype", json!("int8")),
            ("dynamic", json!({".*down.*": {"bits": 16}})),
            ("bits", json!(1)),
            ("bits", json!(9)),
            ("bits", json!(1u64 << 40)),
        ] {
            assert_eq!(code(with(field, value)), "unsupported-quantization", "{field}");
        }
        for (field, value) in [
            ("rotation", json!("hadamard")),
            ("adapter", json!({"rank": 8})),
            ("activation", json!({"mode": "w4afp8"})),
            ("something_new", json!(7)),
            ("dynamic", json!({".*down.*": {"adapter": {"rank": 8}}})),
        ] {
            assert_eq!(code(with(field, value)), "unknown-quantization-setting", "{field}");
        }
        for (field, value) in [
            ("bits", json!("four")),
            ("bits", json!(-4)),
            ("group_size", json!(0)),
            ("group_size", json!(-2)),
            ("group_size", json!(1.5)),
            ("desc_act", json!("yes")),
            ("quant_method", json!(7)),
            ("dynamic", json!([])),
            ("dynamic", json!({"(": {}})),
            ("dynamic", json!({".*": 4})),
        ] {
            assert_eq!(code(with(field, value)), "invalid-quantization-config", "{field}");
        }
        assert_eq!(code(json!({"bits": 4})), "invalid-quantization-config");
        assert_eq!(code(json!([])), "invalid-quantization-config");
    }
}
