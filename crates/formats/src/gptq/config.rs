use serde_json::{Map, Value, json};

use honelm_blocks::{GroupMatrix, Zeros};

use crate::FormatError;

/// How zero points are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointFormat {
    /// `"gptq"`: z - 1, so that z = 0 cannot be stored safely.
    V1,
    /// `"gptq_v2"`: z.
    V2,
}

impl CheckpointFormat {
    /// The name in `checkpoint_format`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "gptq",
            Self::V2 => "gptq_v2",
        }
    }

    /// The most widely read format that can hold all `matrices`: v1 unless a zero point is 0.
    pub fn for_matrices<'a>(matrices: impl IntoIterator<Item = &'a GroupMatrix>) -> Self {
        let has_zero = |matrix: &GroupMatrix| match &matrix.zeros {
            Zeros::Constant(z) => *z == 0,
            Zeros::Integer(zeros) => zeros.contains(&0),
            Zeros::Bias(_) => false,
        };
        if matrices.into_iter().any(has_zero) { Self::V2 } else { Self::V1 }
    }
}

/// The settings of a GPTQ checkpoint: `quantize_config.json`, or `quantization_config` of
/// `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizeConfig {
    /// Bits a code: 4 or 8.
    pub bits: u8,
    /// Columns a group; `None` (-1 in the file) for one group a row.
    pub group_size: Option<usize>,
    /// Whether columns were quantised in the order of their activations.
    pub desc_act: bool,
    /// Whether every zero point is the middle code.
    pub sym: bool,
    /// Whether the output layer is quantised too.
    pub lm_head: bool,
    /// How zero points are stored.
    pub checkpoint_format: CheckpointFormat,
    /// What does not bear on decoding (`damp_percent`, `meta`, ...), written as it is.
    pub extra: Map<String, Value>,
}

/// Keys that [`QuantizeConfig::parse`] understands, and that `extra` therefore does not hold.
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
    /// The settings of a model folder: `quantize_config.json` where there is one, else
    /// `quantization_config` of `config.json`; `None` where the model is not quantised. The names of
    /// the two files are for messages.
    ///
    /// # Errors
    /// As [`QuantizeConfig::parse`].
    pub fn find(
        config_json: Option<(&str, &Value)>,
        quantize_config_json: Option<(&str, &Value)>,
    ) -> Result<Option<Self>, FormatError> {
        if let Some((file, value)) = quantize_config_json {
            return Self::parse(file, value).map(Some);
        }
        match config_json.map(|(file, config)| (file, config.get("quantization_config"))) {
            Some((file, Some(value))) if !value.is_null() => Self::parse(file, value).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads the settings object; `file` names it in messages.
    ///
    /// # Errors
    /// [`FormatError::InvalidQuantization`] for a missing or malformed field,
    /// [`FormatError::UnsupportedQuantization`] for another method, format, width or packing.
    pub fn parse(file: &str, value: &Value) -> Result<Self, FormatError> {
        let fields = Fields { file, value };
        let Some(object) = value.as_object() else {
            return Err(fields.invalid("quantization_config", value, "an object"));
        };
        for field in ["quant_method", "method"] {
            if let Some(method) = fields.text(field)?
                && method != "gptq"
            {
                return Err(fields.unsupported(field, method, "gptq"));
            }
        }
        let format = match fields.text("checkpoint_format")? {
            Some(name) => Some(("checkpoint_format", name)),
            None => fields.text("format")?.map(|name| ("format", name)),
        };
        let checkpoint_format = match format {
            None | Some((_, "gptq")) => CheckpointFormat::V1,
            Some((_, "gptq_v2")) => CheckpointFormat::V2,
            Some((field, other)) => return Err(fields.unsupported(field, other, "gptq, gptq_v2")),
        };
        if fields.flag("is_marlin_format")? {
            return Err(fields.unsupported("is_marlin_format", "true", "gptq, gptq_v2"));
        }
        match fields.text("pack_dtype")? {
            None | Some("int32") => {}
            Some(other) => return Err(fields.unsupported("pack_dtype", other, "int32")),
        }
        fields.check_dynamic()?;
        let bits = match object.get("bits").and_then(Value::as_u64) {
            Some(bits @ (4 | 8)) => bits as u8,
            Some(other) => return Err(fields.unsupported("bits", &other.to_string(), "4, 8")),
            None => return Err(fields.invalid("bits", object.get("bits").unwrap_or(&Value::Null), "4 or 8")),
        };
        let group = object.get("group_size").unwrap_or(&Value::Null);
        let group_size = match group.as_i64() {
            Some(-1) => None,
            Some(size @ 1..) => Some(
                usize::try_from(size).map_err(|_| fields.invalid("group_size", group, "-1 or a number of columns"))?,
            ),
            _ => return Err(fields.invalid("group_size", group, "-1 or a number of columns")),
        };
        let sym = if object.contains_key("sym") { fields.flag("sym")? } else { true };
        let extra = object.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str()));
        Ok(Self {
            bits,
            group_size,
            desc_act: fields.flag("desc_act")?,
            sym,
            lm_head: fields.flag("lm_head")?,
            checkpoint_format,
            extra: extra.map(|(key, value)| (key.clone(), value.clone())).collect(),
        })
    }

    /// The settings as both `quantize_config.json` and `quantization_config` of `config.json` hold
    /// them, method and format under their older and newer names.
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
            object.extend(self.extra.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        object
    }

    /// Groups of a row of `cols` columns.
    #[must_use]
    pub fn groups(&self, cols: usize) -> usize {
        self.group_size.map_or(1, |size| cols.div_ceil(size))
    }
}

/// Access to an object's fields with errors that name them.
struct Fields<'a> {
    file: &'a str,
    value: &'a Value,
}

impl<'a> Fields<'a> {
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.value.get(field).filter(|value| !value.is_null())
    }

    fn text(&self, field: &'static str) -> Result<Option<&'a str>, FormatError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.invalid(field, value, "a string"))
    }

    fn flag(&self, field: &'static str) -> Result<bool, FormatError> {
        let Some(value) = self.get(field) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.invalid(field, value, "true or false"))
    }

    /// `dynamic` maps expressions to other settings; only exclusions (`"-:..."`) leave the layers
    /// that are quantised with the settings of the whole.
    fn check_dynamic(&self) -> Result<(), FormatError> {
        let Some(value) = self.get("dynamic") else { return Ok(()) };
        if value == &Value::Bool(false) {
            return Ok(());
        }
        let Some(rules) = value.as_object() else { return Err(self.invalid("dynamic", value, "an object")) };
        match rules.keys().find(|rule| !rule.starts_with("-:")) {
            Some(rule) => Err(self.unsupported("dynamic", rule, "exclusions (\"-:...\")")),
            None => Ok(()),
        }
    }

    fn invalid(&self, field: &'static str, found: &Value, expected: &'static str) -> FormatError {
        let found = if found.is_null() { "missing".to_owned() } else { crate::error::shown(&found.to_string()) };
        FormatError::InvalidQuantization { file: self.file.to_owned(), field, found, expected }
    }

    fn unsupported(&self, field: &'static str, found: &str, supported: &'static str) -> FormatError {
        let found = crate::error::shown(found);
        FormatError::UnsupportedQuantization { file: self.file.to_owned(), field, found, supported }
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
    fn reads_both_forms_and_both_generations_of_names() {
        let old = json!({"bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": true, "sym": false,
            "true_sequential": true, "model_name_or_path": null});
        let config = parse(old.clone()).expect("old form");
        assert_eq!((config.bits, config.group_size), (4, Some(128)));
        assert!(config.desc_act && !config.sym && !config.lm_head);
        assert_eq!(config.checkpoint_format, CheckpointFormat::V1);
        let new = json!({"method": "gptq", "format": "gptq_v2", "bits": 8, "group_size": -1, "lm_head": true,
            "dynamic": {"-:.*mlp.*": {}}});
        let inside = json!({"model_type": "llama", "quantization_config": new});
        let config = QuantizeConfig::find(Some(("config.json", &inside)), None).expect("new form").expect("quantised");
        assert_eq!((config.bits, config.group_size, config.groups(300)), (8, None, 1));
        assert_eq!(config.checkpoint_format, CheckpointFormat::V2);
        assert!(config.lm_head && config.sym);
        let found = QuantizeConfig::find(Some(("config.json", &inside)), Some(("quantize_config.json", &old)));
        assert_eq!(found.expect("both").expect("quantised").bits, 4);
        let plain = json!({"model_type": "llama"});
        assert_eq!(QuantizeConfig::find(Some(("config.json", &plain)), None).expect("plain"), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut config =
            parse(json!({"bits": 4, "group_size": 32, "sym": false, "damp_percent": 0.05})).expect("valid");
        assert_eq!(parse(config.to_json()).expect("own form"), config);
        config.group_size = None;
        config.checkpoint_format = CheckpointFormat::V2;
        assert_eq!(parse(config.to_json()).expect("own form"), config);
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
            ("format", json!("gptq_p")),
            ("is_marlin_format", json!(true)),
            ("pack_dtype", json!("int8")),
            ("dynamic", json!({"+:.*down.*": {"bits": 8}})),
            ("bits", json!(3)),
        ] {
            assert_eq!(code(with(field, value)), "unsupported-quantization", "{field}");
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
        ] {
            assert_eq!(code(with(field, value)), "invalid-quantization-config", "{field}");
        }
        assert_eq!(code(json!({"bits": 4})), "invalid-quantization-config");
        assert_eq!(code(json!([])), "invalid-quantization-config");
    }
}
