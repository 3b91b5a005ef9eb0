//! Settings for single modules: GPTQModel's `dynamic`.

use serde_json::{Map, Value};

use crate::FormatError;
use crate::quantized::fields::Fields;
use crate::quantized::pattern::{Pattern, Patterns};

/// The fields that describe how a checkpoint was made, which of its modules are packed, or how to run it.
pub(super) const HARMLESS: &[&str] = &[
    "act_group_aware",
    "auto_forward_data_parallel",
    "backend",
    "batch_size",
    "block_name_to_quantize",
    "cache_block_outputs",
    "calibration_data_device",
    "compute_device_filter",
    "damp_auto_increment",
    "damp_percent",
    "dataset",
    "dense_vram_strategy",
    "dense_vram_strategy_devices",
    "device",
    "disable_exllama",
    "exllama_config",
    "fallback",
    "failsafe",
    "foem",
    "gc_mode",
    "gptaq",
    "hessian",
    "hyb_act",
    "max_input_length",
    "meta",
    "model_file_base_name",
    "model_name_or_path",
    "model_seqlen",
    "module_name_preceding_first_block",
    "modules_in_block_to_quantize",
    "modules_to_not_convert",
    "moe",
    "moe_vram_strategy",
    "moe_vram_strategy_devices",
    "mse",
    "offload_to_disk",
    "offload_to_disk_path",
    "pack_impl",
    "pad_token_id",
    "parallel_packing",
    "static_groups",
    "telemetry",
    "tokenizer",
    "true_sequential",
    "use_cuda_fp16",
    "use_exllama",
    "v2",
    "vram_strategy",
    "wait_for_submodule_finalizers",
];

/// The bits per code, and their description.
pub(super) const BITS: [u8; 7] = [2, 3, 4, 5, 6, 7, 8];
pub(super) const BITS_NAMES: &str = "2 to 8";

/// The settings of one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleSettings {
    /// The bits per code.
    pub bits: u8,
    /// The columns per group; `None` for one group per row.
    pub group_size: Option<usize>,
    /// `true` if every zero point is the middle code.
    pub sym: bool,
}

/// GPTQModel's `dynamic`: rules that match module names by regular expressions, anchored at the start. The first
/// rule that matches decides. The prefix `-:` excludes the modules; `+:` or no prefix gives them their own settings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dynamic {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    /// The key in the file.
    key: String,
    settings: Value,
    pattern: Pattern,
    /// `None` if the modules are excluded.
    overrides: Option<Overrides>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Overrides {
    bits: Option<u8>,
    group_size: Option<Option<usize>>,
    sym: Option<bool>,
}

impl Dynamic {
    /// Returns `true` if there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn parse(settings: &Fields<'_>) -> Result<Self, FormatError> {
        if settings.get("dynamic") == Some(&Value::Bool(false)) {
            return Ok(Self::default());
        }
        let Some(fields) = settings.child("dynamic")? else { return Ok(Self::default()) };
        let mut rules = Vec::new();
        let mut patterns = Patterns::new();
        for (key, value) in fields.iter() {
            let (excludes, text) = match (key.strip_prefix("-:"), key.strip_prefix("+:")) {
                (Some(text), _) => (true, text),
                (None, Some(text)) => (false, text),
                (None, None) => (false, key),
            };
            let pattern = patterns.compile(fields.file, "dynamic", text)?;
            let overrides = match fields.child(key)? {
                Some(own) if !excludes => Some(Overrides::parse(&own)?),
                _ => None,
            };
            rules.push(Rule { key: key.to_owned(), settings: value.clone(), pattern, overrides });
        }
        Ok(Self { rules })
    }

    /// Returns the settings of `module`, which are `base` if no rule matches, or `None` if the module is excluded.
    ///
    /// # Errors
    /// [`FormatError::NotRepresentable`] if an expression takes too long to match.
    pub(super) fn of(&self, module: &str, base: ModuleSettings) -> Result<Option<ModuleSettings>, FormatError> {
        for rule in &self.rules {
            let Some(matches) = rule.pattern.matches(module) else {
                let reason = format!("the expression {} takes too long to match", crate::error::shown(&rule.key));
                return Err(FormatError::NotRepresentable { tensor: module.to_owned(), format: super::FORMAT, reason });
            };
            if matches {
                return Ok(rule.overrides.map(|own| ModuleSettings {
                    bits: own.bits.unwrap_or(base.bits),
                    group_size: own.group_size.unwrap_or(base.group_size),
                    sym: own.sym.unwrap_or(base.sym),
                }));
            }
        }
        Ok(Some(base))
    }

    pub(super) fn to_json(&self) -> Value {
        let rules = self.rules.iter().map(|rule| (rule.key.clone(), rule.settings.clone()));
        Value::Object(Map::from_iter(rules))
    }
}

impl Overrides {
    fn parse(fields: &Fields<'_>) -> Result<Self, FormatError> {
        fields.only(&["bits", "group_size", "sym", "desc_act"], HARMLESS)?;
        fields.flag("desc_act")?;
        Ok(Self {
            bits: fields.bits("bits", &BITS, BITS_NAMES)?,
            group_size: fields.group_size("group_size")?,
            sym: fields.flag("sym")?,
        })
    }
}
