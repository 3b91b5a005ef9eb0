//! Conversion between GGUF metadata and configurations in Hugging Face's form, with one table for both directions.

mod rope;

use honelm_formats::gguf::{Array, Gguf, Value};
use honelm_formats::{FormatError, TensorSource};
use serde_json::{Map, Value as Json, json};

use crate::arch::{self, FAMILIES, Family};
use crate::error::refused;
use crate::gguf_keys::{COMMON, Form, HARMLESS, Key, TOKENS};
use crate::reading::Reading;
use crate::windows::Windows;
use crate::{Blueprint, ModelError, limits};
pub(crate) use rope::{is_configuration, tensors};

/// The head width of values, which repeats that of keys.
const VALUE_WIDTH: &str = "attention.value_length";

/// Returns the configuration that the metadata and tensors of a file describe.
pub(crate) fn read(gguf: &Gguf, reading: &mut Reading<'_>) -> Result<Json, ModelError> {
    let found: &str = gguf.require("general.architecture")?;
    let family = FAMILIES.iter().find(|family| family.gguf == found);
    let family = family.ok_or_else(|| arch::unknown(gguf.file(), found))?;
    let reader = Reader { gguf, family };
    reader.refuse_unknown(reading)?;
    let mut config = Map::new();
    config.insert("model_type".to_owned(), json!(family.model_type));
    for key in rows(family) {
        if let Some(value) = reader.field(key, &config)? {
            config.insert(key.field.to_owned(), value);
        }
    }
    let rows = gguf.info("token_embd.weight").and_then(|info| info.shape.first().copied());
    let missing =
        || FormatError::MissingTensor { file: gguf.file().to_owned(), tensor: "token_embd.weight".to_owned() };
    config.insert("vocab_size".to_owned(), json!(rows.ok_or_else(missing)?));
    config.insert("tie_word_embeddings".to_owned(), json!(!gguf.contains("output.weight")));
    for (field, key) in TOKENS {
        if let Some(id) = gguf.get_u32(key)? {
            config.insert((*field).to_owned(), json!(id));
        }
    }
    if family.rope {
        reader.rope(&mut config)?;
    }
    Ok(Json::Object(config))
}

/// Returns the `general.*` and `ARCH.*` metadata of a model, without those of the file itself, such as
/// `general.file_type`.
pub(crate) fn write(blueprint: &Blueprint) -> Result<Vec<(String, Value)>, ModelError> {
    let family = arch::family_of(blueprint);
    let config = blueprint.definition.config();
    let mut out = vec![
        ("general.architecture".to_owned(), family.gguf.into()),
        ("general.type".to_owned(), "model".into()),
        ("general.name".to_owned(), blueprint.facts.name.as_str().into()),
    ];
    let mut own = Vec::new();
    for key in rows(family) {
        put(key, &config, &mut own)?;
    }
    if family.rope {
        rope::write(&config, &mut own)?;
    }
    out.extend(own.into_iter().map(|(name, value)| (format!("{}.{name}", family.gguf), value)));
    for key in rows(family).filter(|key| matches!(key.form, Form::TokenTypes)) {
        let count = count_of(&config, key.field).and_then(|count| u32::try_from(count).ok());
        out.extend(count.map(|count| ("tokenizer.ggml.token_type_count".to_owned(), count.into())));
    }
    Ok(out)
}

/// Returns the rows of an architecture.
fn rows(family: &'static Family) -> impl Iterator<Item = &'static Key> {
    let own = || family.keys.iter().copied().flatten();
    own().chain(COMMON.iter().filter(move |common| own().all(|key| key.gguf != common.gguf)))
}

/// Keys without `ARCH.`, and their values.
type Metadata = Vec<(&'static str, Value)>;

/// Adds the metadata of one row.
fn put(key: &Key, config: &Map<String, Json>, out: &mut Metadata) -> Result<(), ModelError> {
    let value = config.get(key.field).filter(|value| !value.is_null());
    let count = || value.and_then(Json::as_u64).and_then(|n| u32::try_from(n).ok());
    let number = || value.and_then(Json::as_f64).map(|x| x as f32);
    let absent = |default: String| {
        let problem = format!("readers of GGUF use {default} if it is missing");
        Err(refused(format!("a configuration without {}", key.field), "GGUF", problem))
    };
    match key.form {
        Form::Count => out.extend(count().map(|n| (key.gguf, n.into()))),
        Form::CountAfter(first) => out.extend(count().map(|n| (key.gguf, n.saturating_sub(first).into()))),
        Form::CountOrZero => out.push((key.gguf, count().unwrap_or(0).into())),
        Form::Number => out.extend(number().map(|x| (key.gguf, x.into()))),
        Form::CountOr(default) => match count() {
            Some(n) => out.push((key.gguf, n.into())),
            None => return absent(default.to_string()),
        },
        Form::NumberOr(default) => match number() {
            Some(x) => out.push((key.gguf, x.into())),
            None => return absent(default.to_string()),
        },
        Form::HeadWidth => {
            if let Some(n) = count() {
                out.extend([(key.gguf, n.into()), (VALUE_WIDTH, n.into())]);
            }
        }
        Form::Tensor | Form::Present | Form::Only(_) | Form::TokenTypes => {}
        Form::Always(flag) => out.push((key.gguf, flag.into())),
        Form::Flag => out.extend(value.and_then(Json::as_bool).map(|flag| (key.gguf, flag.into()))),
        Form::LayerTypes { every } => {
            let sliding = value.map(Windows::sliding).unwrap_or_default();
            if sliding.contains(&true) && sliding != pattern(every, sliding.len()) {
                out.push((key.gguf, Value::Array(Array::Bool(sliding))));
            }
        }
        Form::RopeLayers { every } => {
            let rotating: Vec<bool> =
                value.and_then(Json::as_array).into_iter().flatten().map(|n| *n != json!(0)).collect();
            if rotating != pattern(every, rotating.len()) {
                out.push((key.gguf, Value::Array(Array::U32(rotating.into_iter().map(u32::from).collect()))));
            }
        }
        Form::QueryScalar { wide } => {
            if let Some(scalar) = value.and_then(Json::as_f64)
                && Some(scalar) != usual_scalar(config, wide)
            {
                out.push((key.gguf, (scalar.powf(-0.5) as f32).into()));
            }
        }
    }
    Ok(())
}

/// Returns `true` for all of `layers` layers but every `every`-th; for all if that is 0.
fn pattern(every: usize, layers: usize) -> Vec<bool> {
    (1..=layers).map(|i| every == 0 || !i.is_multiple_of(every)).collect()
}

fn count_of(config: &Map<String, Json>, field: &str) -> Option<usize> {
    config.get(field).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok())
}

/// Returns `head_dim` or its default.
fn head_width(config: &Map<String, Json>) -> Option<usize> {
    let by_width = || count_of(config, "hidden_size")?.checked_div(count_of(config, "num_attention_heads")?);
    count_of(config, "head_dim").or_else(by_width)
}

/// Returns the value that other readers of GGUF use for `query_pre_attn_scalar`.
fn usual_scalar(config: &Map<String, Json>, wide: usize) -> Option<f64> {
    let is_wide = count_of(config, "num_hidden_layers") == Some(wide);
    let width = count_of(config, "hidden_size")?.checked_div(count_of(config, "num_attention_heads")?)?;
    Some(if is_wide { width } else { head_width(config)? } as f64)
}

struct Reader<'a> {
    gguf: &'a Gguf,
    family: &'static Family,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family.gguf)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.gguf.metadata.value(&self.key(name))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        match self.gguf.get_f32(&self.key(name))? {
            Some(x) if !x.is_finite() => Err(self.invalid(name, &x.into(), "a finite number")),
            number => Ok(number.map(shortest)),
        }
    }

    fn count(&self, name: &str) -> Result<Option<u64>, ModelError> {
        Ok(self.gguf.get_u64(&self.key(name))?.filter(|&n| n > 0))
    }

    fn invalid(&self, name: &str, found: &Value, expected: impl Into<String>) -> ModelError {
        let (file, field) = (self.gguf.file().to_owned(), self.key(name));
        ModelError::InvalidField { file, field, found: found.describe(), expected: expected.into() }
    }

    fn refuse_unknown(&self, reading: &mut Reading<'_>) -> Result<(), ModelError> {
        let named = |name: &str| {
            rows(self.family).any(|key| key.gguf == name && !matches!(key.form, Form::Tensor | Form::TokenTypes))
        };
        for (key, value) in self.gguf.metadata.iter() {
            let Some(name) = key.strip_prefix(self.family.gguf).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            let known = named(name) || name == VALUE_WIDTH || rope::KEYS.contains(&name) || HARMLESS.contains(&name);
            let (file, field, found) = (self.gguf.file(), key.escape_debug().to_string(), value.describe());
            if !known && !reading.allows(file, &field, &found) {
                return Err(ModelError::UnknownField { file: file.to_owned(), field, found });
            }
        }
        Ok(())
    }

    /// Returns the value of a row's field; `config` has the fields of the rows before it.
    fn field(&self, key: &Key, config: &Map<String, Json>) -> Result<Option<Json>, ModelError> {
        Ok(match key.form {
            Form::Count | Form::CountOrZero => self.count(key.gguf)?.map(|n| json!(n)),
            Form::CountAfter(first) => self.count(key.gguf)?.map(|n| json!(n.saturating_add(first.into()))),
            Form::CountOr(default) => Some(json!(self.count(key.gguf)?.unwrap_or(default.into()))),
            Form::Number => self.number(key.gguf)?.map(|x| json!(x)),
            Form::NumberOr(default) => Some(json!(self.number(key.gguf)?.unwrap_or(default))),
            Form::HeadWidth => self.head_width(key, config)?,
            Form::Tensor => self.gguf.contains(key.gguf).then(|| json!(true)),
            Form::Present => self.count(key.gguf)?.map(|_| json!(true)),
            Form::Flag => match self.value(key.gguf) {
                Some(Value::Bool(flag)) => Some(json!(flag)),
                Some(other) => return Err(self.invalid(key.gguf, other, "true or false")),
                None => None,
            },
            Form::Only(expected) => self.only(key.gguf, expected)?,
            Form::Always(flag) => self.only(key.gguf, flag.into())?,
            Form::TokenTypes => {
                self.gguf.info(key.gguf).and_then(|info| info.shape.first().copied()).map(|rows| json!(rows))
            }
            Form::LayerTypes { every } => {
                let has_windows = config.contains_key("sliding_window");
                let sliding = self.pattern(key.gguf, every, config)?;
                sliding.map(|list| Windows::types(&list.into_iter().map(|own| own && has_windows).collect::<Vec<_>>()))
            }
            Form::RopeLayers { every } => {
                self.pattern(key.gguf, every, config)?.map(|list| list.into_iter().map(u8::from).collect())
            }
            Form::QueryScalar { wide } => match self.number(key.gguf)? {
                // Undoes two roundings; the number is whole in all published models.
                Some(scale) => Some(json!((scale.powi(-2) * 1e4).round() / 1e4)),
                None => usual_scalar(config, wide).map(|x| json!(x)),
            },
        })
    }

    /// Refuses a value other than `expected`.
    fn only(&self, name: &str, expected: i128) -> Result<Option<Json>, ModelError> {
        let integer = |value: &Value| match value {
            Value::Bool(flag) => Some(i128::from(*flag)),
            other => other.integer(),
        };
        match self.value(name) {
            Some(value) if integer(value) != Some(expected) => {
                Err(self.invalid(name, value, format!("{expected} or no such key")))
            }
            _ => Ok(None),
        }
    }

    fn head_width(&self, key: &Key, config: &Map<String, Json>) -> Result<Option<Json>, ModelError> {
        let own = self.count(key.gguf)?;
        let width = own.or_else(|| head_width(config).map(|n| n as u64));
        match (width, self.value(VALUE_WIDTH)) {
            (Some(width), Some(value)) if value.integer() != Some(width.into()) => {
                Err(self.invalid(VALUE_WIDTH, value, format!("{width}, the head width")))
            }
            _ => Ok(own.map(|n| json!(n))),
        }
    }

    /// Reads a boolean per layer, from a list or from the distance of the layers that differ.
    fn pattern(&self, name: &str, every: usize, config: &Map<String, Json>) -> Result<Option<Vec<bool>>, ModelError> {
        // An invalid number of layers is refused with the configuration.
        let Some(layers) = count_of(config, "num_hidden_layers").filter(|&n| n <= limits::LAYERS) else {
            return Ok(None);
        };
        let list = match self.value(name) {
            None => Some(pattern(every, layers)),
            Some(Value::Array(Array::Bool(list))) => Some(list.clone()),
            Some(Value::Array(list)) => list.integers().map(|list| list.into_iter().map(|n| n != 0).collect()),
            Some(value) => value.integer().and_then(|n| usize::try_from(n).ok()).map(|n| pattern(n, layers)),
        };
        match (list, self.value(name)) {
            (Some(list), _) if list.len() == layers => Ok(Some(list)),
            (_, Some(value)) => Err(self.invalid(name, value, format!("a boolean for each of {layers} layers"))),
            (_, None) => Ok(None),
        }
    }
}

/// Returns the shortest decimal number that rounds to this f32, which is the one in the original configuration.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
