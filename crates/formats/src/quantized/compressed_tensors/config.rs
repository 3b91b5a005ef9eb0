//! The settings of a compressed-tensors checkpoint.

use serde_json::{Map, Value, json};

use super::{FORMAT, METHOD};
use crate::FormatError;
use crate::quantized::fields::Fields;
use crate::quantized::fp8::{Grid, block};
use crate::quantized::pattern::{Pattern, Patterns};
use crate::quantized::{ModuleClass, ModuleShape};

/// The formats of integer groups, of FP8, and of a checkpoint whose groups name their own formats.
const PACKED: &str = "pack-quantized";
const FLOAT: [&str; 2] = ["float-quantized", "naive-quantized"];
const MIXED: &str = "mixed-precision";
const FORMATS: [&str; 4] = [PACKED, FLOAT[0], FLOAT[1], MIXED];
const FORMAT_NAMES: &str = "pack-quantized, float-quantized, naive-quantized (FP8), mixed-precision";

/// The way in which the weights of some modules are quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Groups(Groups),
    /// E4M3.
    Float(Grid),
}

/// Integer groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) bits: u8,
    /// The columns per group; `None` for one group per row.
    pub(super) group_size: Option<usize>,
    pub(super) symmetric: bool,
}

/// The modules that a scheme or an exception applies to.
#[derive(Debug, Clone, PartialEq)]
enum Target {
    /// A module's name or class (`Linear`).
    Name(String),
    /// A regular expression, anchored at the start of the name; `re:EXPRESSION` in the file.
    Expression(Pattern),
}

/// The settings of a compressed-tensors checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CompressedTensors {
    groups: Vec<(Vec<Target>, Scheme)>,
    ignore: Vec<Target>,
    /// The major and minor version of the writer.
    version: Option<(u32, u32)>,
}

impl CompressedTensors {
    /// Returns the settings of a checkpoint whose linear modules are all in groups of one form. `group_size` is `None` for
    /// one group per row.
    #[must_use]
    pub fn uniform(bits: u8, group_size: Option<usize>, symmetric: bool) -> Self {
        let linear = Target::Name(ModuleClass::Linear.name().to_owned());
        let scheme = Scheme::Groups(Groups { bits, group_size, symmetric });
        Self { groups: vec![(vec![linear], scheme)], ignore: Vec::new(), version: None }
    }

    /// Reads the settings object; `file` names it in messages.
    ///
    /// # Errors
    /// [`FormatError::InvalidQuantization`], [`FormatError::UnsupportedQuantization`],
    /// [`FormatError::UnknownQuantization`].
    pub fn parse(file: &str, value: &Value) -> Result<Self, FormatError> {
        const READ: [&str; 7] =
            ["quant_method", "format", "quantization_status", "config_groups", "ignore", "version", "sparsity_config"];
        let fields = Fields::new(file, value)?;
        fields.require("quant_method", &[METHOD.name], METHOD.name)?;
        fields.require("format", &FORMATS, FORMAT_NAMES)?;
        fields.require("quantization_status", &["compressed"], "compressed")?;
        if let Some(sparsity) = fields.child("sparsity_config")? {
            sparsity.require("format", &["dense"], "dense")?;
        }
        fields.only(&READ, &["global_compression_ratio"])?;
        let Some(groups) = fields.child("config_groups")? else {
            return Err(fields.invalid("config_groups", "an object of groups"));
        };
        let mut patterns = Patterns::new();
        let parse_group = |(name, _): (&str, &Value)| match groups.child(name)? {
            Some(group) => parse_group(&group, fields.text("format")?, &mut patterns),
            None => Err(groups.invalid(name, "an object")),
        };
        let version = fields.text("version")?.and_then(|text| {
            let mut parts = text.split('.').map(|part| part.parse().ok());
            Some((parts.next()??, parts.next()??))
        });
        Ok(Self {
            groups: groups.iter().map(parse_group).collect::<Result<_, _>>()?,
            ignore: targets(&fields, "ignore", &mut patterns)?,
            version,
        })
    }

    /// Returns `true` if codes are one stream, `false` if no code crosses words, and `None` if the version is unknown.
    pub(super) fn dense_packing(&self) -> Option<bool> {
        self.version.map(|version| version >= (0, 18))
    }

    /// Returns the settings object, whose exceptions are those of these settings and `plain`.
    pub(super) fn to_json(&self, plain: &[String]) -> Value {
        let format_of = |scheme: &Scheme| if matches!(scheme, Scheme::Groups(_)) { PACKED } else { FLOAT[0] };
        let first = self.groups.first().map_or(PACKED, |(_, scheme)| format_of(scheme));
        let is_mixed = self.groups.iter().any(|(_, scheme)| format_of(scheme) != first);
        let mut groups = Map::new();
        for (i, (targets, scheme)) in self.groups.iter().enumerate() {
            let mut group = json!({
                "targets": targets.iter().map(Target::text).collect::<Vec<_>>(),
                "weights": scheme.to_json(),
                "input_activations": null,
                "output_activations": null,
            });
            if is_mixed {
                group["format"] = json!(format_of(scheme));
            }
            groups.insert(format!("group_{i}"), group);
        }
        let mut ignore: Vec<String> = self.ignore.iter().map(Target::text).collect();
        ignore.extend(plain.iter().filter(|name| !self.ignore.contains(&Target::Name((*name).clone()))).cloned());
        let mut settings = json!({
            "quant_method": METHOD.name,
            "format": if is_mixed { MIXED } else { first },
            "quantization_status": "compressed",
            "config_groups": groups,
            "ignore": ignore,
            "kv_cache_scheme": null,
        });
        if let Some((major, minor)) = self.version {
            settings["version"] = json!(format!("{major}.{minor}"));
        }
        settings
    }

    /// Returns the scheme of the first target that matches a module, or `None` if the module is not quantised.
    pub(super) fn of(&self, module: &ModuleShape<'_>) -> Result<Option<Scheme>, FormatError> {
        if matches(&self.ignore, module)? {
            return Ok(None);
        }
        for (targets, scheme) in &self.groups {
            if matches(targets, module)? {
                return Ok(Some(*scheme));
            }
        }
        Ok(None)
    }
}

impl Target {
    /// Returns the target as the file has it.
    fn text(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Expression(pattern) => format!("re:{}", pattern.text()),
        }
    }
}

impl Scheme {
    /// Returns the object `weights`.
    fn to_json(self) -> Value {
        match self {
            Self::Groups(Groups { bits, group_size, symmetric }) => json!({
                "num_bits": bits,
                "type": "int",
                "symmetric": symmetric,
                "strategy": if group_size.is_some() { "group" } else { "channel" },
                "group_size": group_size,
                "actorder": null,
                "dynamic": false,
            }),
            Self::Float(grid) => {
                let (strategy, block) = match grid {
                    Grid::Tensor => ("tensor", None),
                    Grid::Rows => ("channel", None),
                    Grid::Blocks(rows, cols) => ("block", Some([rows, cols])),
                };
                json!({"num_bits": 8, "type": "float", "symmetric": true, "strategy": strategy,
                    "block_structure": block, "dynamic": false})
            }
        }
    }
}

/// Returns `true` if a target matches the module.
fn matches(targets: &[Target], module: &ModuleShape<'_>) -> Result<bool, FormatError> {
    for target in targets {
        let found = match target {
            Target::Name(name) => name == module.name || name == module.class.name(),
            Target::Expression(pattern) => match pattern.matches(module.name) {
                Some(found) => found,
                None => {
                    let reason =
                        format!("the expression {} takes too long to match", crate::error::shown(pattern.text()));
                    return Err(FormatError::NotRepresentable {
                        tensor: module.name.to_owned(),
                        format: FORMAT,
                        reason,
                    });
                }
            },
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn targets(fields: &Fields<'_>, field: &str, patterns: &mut Patterns) -> Result<Vec<Target>, FormatError> {
    let mut target = |text: &str| match text.strip_prefix("re:") {
        Some(expression) => patterns.compile(fields.file, &fields.path(field), expression).map(Target::Expression),
        None => Ok(Target::Name(text.to_owned())),
    };
    fields.texts(field)?.into_iter().map(&mut target).collect()
}

/// Reads an entry of `config_groups`.
fn parse_group(
    fields: &Fields<'_>,
    format: Option<&str>,
    patterns: &mut Patterns,
) -> Result<(Vec<Target>, Scheme), FormatError> {
    fields.require("format", &FORMATS, FORMAT_NAMES)?;
    let format = fields.text("format")?.or(format).unwrap_or(PACKED);
    fields.only(&["targets", "weights", "format", "input_activations", "output_activations"], &[])?;
    let Some(weights) = fields.child("weights")? else { return Err(fields.invalid("weights", "an object")) };
    let float = weights.text("type")?.is_some_and(|kind| kind.eq_ignore_ascii_case("float"));
    if float != FLOAT.contains(&format) {
        return Err(fields.unsupported("format", format, "pack-quantized with int, float-quantized with float"));
    }
    let input = fields.child("input_activations")?;
    for (field, set) in [
        ("input_activations", input.is_some() && !float),
        ("output_activations", fields.get("output_activations").is_some()),
    ] {
        if set {
            return Err(fields.unsupported(field, "quantised", "null (only weights are quantised)"));
        }
    }
    if let Some(input) = input {
        // FP8 activations do not change FP8 weights: see `fp8`.
        input.require("type", &["float"], "float")?;
        input.bits("num_bits", &[8], "8")?;
    }
    let scheme = if float { Scheme::Float(parse_float(&weights)?) } else { Scheme::Groups(parse_weights(&weights)?) };
    Ok((targets(fields, "targets", patterns)?, scheme))
}

/// Reads the settings of FP8 weights.
fn parse_float(fields: &Fields<'_>) -> Result<Grid, FormatError> {
    const READ: [&str; 8] =
        ["num_bits", "type", "symmetric", "strategy", "block_structure", "dynamic", "group_size", "actorder"];
    const STRATEGIES: &str = "tensor, channel, block";
    fields.only(&READ, &["observer", "observer_kwargs", "scale_dtype", "zp_dtype"])?;
    if fields.bits("num_bits", &[8], "8")?.is_none() {
        return Err(fields.invalid("num_bits", "8"));
    }
    for (field, expected) in [("symmetric", true), ("dynamic", false)] {
        if fields.flag(field)?.unwrap_or(expected) != expected {
            return Err(fields.unsupported(field, &(!expected).to_string(), if expected { "true" } else { "false" }));
        }
    }
    match (fields.text("strategy")?.unwrap_or("tensor"), block(fields, "block_structure")?) {
        ("tensor", None) => Ok(Grid::Tensor),
        ("channel", None) => Ok(Grid::Rows),
        ("block", Some((rows, cols))) => Ok(Grid::Blocks(rows, cols)),
        ("block", None) => Err(fields.invalid("block_structure", "two numbers above 0, rows and columns")),
        (other, _) => Err(fields.unsupported("strategy", other, STRATEGIES)),
    }
}

/// Reads the settings of weights in integer groups.
fn parse_weights(fields: &Fields<'_>) -> Result<Groups, FormatError> {
    const READ: [&str; 9] = [
        "num_bits",
        "type",
        "symmetric",
        "strategy",
        "group_size",
        "actorder",
        "dynamic",
        "zp_dtype",
        "block_structure",
    ];
    fields.require("type", &["int"], "int")?;
    fields.require("strategy", &["group", "channel"], "group, channel")?;
    // The order matters only if there is a `weight_g_idx`.
    fields.require("actorder", &["weight", "static", "group", "dynamic"], "weight, static, group, dynamic")?;
    fields.require("zp_dtype", &["torch.int8"], "torch.int8")?;
    if fields.get("dynamic").is_some_and(|dynamic| dynamic != &Value::Bool(false)) {
        return Err(fields.unsupported("dynamic", "true", "false"));
    }
    if fields.get("block_structure").is_some() {
        return Err(fields.unsupported("block_structure", "set", "null"));
    }
    // The observer describes how scales were found; their type is that of the tensor.
    fields.only(&READ, &["observer", "observer_kwargs", "scale_dtype"])?;
    let bits = fields.bits("num_bits", &[2, 3, 4, 5, 6, 7, 8], "2 to 8")?;
    let bits = bits.ok_or_else(|| fields.invalid("num_bits", "a number of bits"))?;
    let group_size = match (fields.text("strategy")?, fields.group_size("group_size")?) {
        (Some("channel"), None | Some(None)) | (None, Some(None)) => None,
        (Some("group") | None, Some(Some(size))) => Some(size),
        (None, None) => return Err(fields.unsupported("strategy", "tensor", "group, channel")),
        _ => return Err(fields.invalid("group_size", "a number of columns for strategy group, none for channel")),
    };
    Ok(Groups { bits, group_size, symmetric: fields.flag("symmetric")?.unwrap_or(true) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::quantized::ModuleClass;

    fn parse(value: Value) -> Result<CompressedTensors, FormatError> {
        CompressedTensors::parse("config.json", &value)
    }

    fn weights() -> Value {
        json!({"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 32,
            "dynamic": false, "actorder": null, "observer": "minmax", "observer_kwargs": {}, "block_structure": null})
    }

    fn config() -> Value {
        json!({"quant_method": "compressed-tensors", "format": "pack-quantized",
            "quantization_status": "compressed", "global_compression_ratio": 1.4, "kv_cache_scheme": null,
            "sparsity_config": {}, "transform_config": {}, "version": "0.12.3",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights(),
                "input_activations": null, "output_activations": null}},
            "ignore": ["lm_head"]})
    }

    fn of(config: &CompressedTensors, name: &str, class: ModuleClass) -> Option<(u8, Option<usize>, bool)> {
        let module = ModuleShape { name, class, rows: 8, cols: 32 };
        match config.of(&module).expect("known")? {
            Scheme::Groups(s) => Some((s.bits, s.group_size, s.symmetric)),
            Scheme::Float(_) => panic!("floats"),
        }
    }

    #[test]
    fn targets_are_classes_names_and_expressions_and_exceptions_come_first() {
        let mut value = config();
        let eight = json!({"num_bits": 8, "symmetric": false, "strategy": "channel"});
        value["config_groups"] = json!({
            "group_0": {"targets": ["re:.*down_proj$", "model.layers.1.mlp.up_proj"], "weights": eight},
            "group_1": {"targets": ["Linear"], "weights": weights()},
        });
        value["ignore"] = json!(["lm_head", "re:.*layers\\.0\\..*"]);
        let config = parse(value).expect("valid");
        let linear = ModuleClass::Linear;
        assert_eq!(of(&config, "lm_head", linear), None);
        assert_eq!(of(&config, "model.layers.0.mlp.down_proj", linear), None);
        assert_eq!(of(&config, "model.layers.1.mlp.down_proj", linear), Some((8, None, false)));
        assert_eq!(of(&config, "model.layers.1.mlp.up_proj", linear), Some((8, None, false)));
        assert_eq!(of(&config, "model.layers.2.mlp.up_proj", linear), Some((4, Some(32), true)));
        assert_eq!(of(&config, "model.embed_tokens", ModuleClass::Embedding), None);
        assert_eq!(config.dense_packing(), Some(false));
    }

    #[test]
    fn refuses_by_name_what_it_cannot_decode() {
        let code = |path: &str, value: Value| {
            let mut config = config();
            *config.pointer_mut(path).expect("there") = value;
            parse(config).expect_err("must be refused").code()
        };
        let group = "/config_groups/group_0";
        let dynamic = json!({"num_bits": 8, "type": "float", "strategy": "token", "dynamic": true});
        for (path, value) in [
            ("/format", json!("int-quantized")),
            ("/format", json!("marlin-24")),
            ("/quantization_status", json!("frozen")),
            ("/sparsity_config", json!({"format": "sparse-24-bitmask"})),
            (&format!("{group}/input_activations"), dynamic.clone()),
            (&format!("{group}/output_activations"), dynamic),
            (&format!("{group}/weights/type"), json!("float")),
            (&format!("{group}/weights/strategy"), json!("tensor")),
            (&format!("{group}/weights/strategy"), json!("block")),
            (&format!("{group}/weights/num_bits"), json!(1)),
            (&format!("{group}/weights/dynamic"), json!(true)),
            (&format!("{group}/weights/block_structure"), json!([128, 128])),
            (&format!("{group}/weights/actorder"), json!("odd")),
        ] {
            assert_eq!(code(path, value), "unsupported-quantization", "{path}");
        }
        for (path, value) in [("/kv_cache_scheme", json!({"num_bits": 8})), ("/transform_config", json!({"R1": {}}))] {
            assert_eq!(code(path, value), "unknown-quantization-setting", "{path}");
        }
        for (path, value) in [
            ("/config_groups", json!([])),
            ("/config_groups/group_0", json!(["Linear"])),
            ("/config_groups/group_0/weights", Value::Null),
            ("/ignore", json!(["re:("])),
            ("/ignore", json!("lm_head")),
            (&*format!("{group}/targets"), json!([4])),
            (&*format!("{group}/weights/num_bits"), json!("4")),
            (&*format!("{group}/weights/group_size"), json!(0)),
            (&*format!("{group}/weights/group_size"), Value::Null),
            (&*format!("{group}/weights/symmetric"), json!("yes")),
        ] {
            assert_eq!(code(path, value), "invalid-quantization-config", "{path}");
        }
    }
}
