//! The settings of a checkpoint: the choice among several settings objects, and the format that they ask for.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::Fields;
use super::{METHODS, Method, QuantizedFormat, mlx};
use crate::FormatError;

/// The settings object that takes precedence.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The file that holds the object.
    pub file: &'a str,
    object: Cow<'a, Value>,
    /// The other objects, with their files.
    others: Vec<(&'a str, &'a Value)>,
    is_mlx: bool,
}

impl<'a> Settings<'a> {
    /// Returns the settings object of a model folder, or `None` if there is none.
    ///
    /// `config` is `config.json`; `own` are the files that hold nothing but settings (`quantize_config.json`,
    /// `quant_config.json`). Both come with their names for messages. The first of `own` takes precedence, then
    /// `quantization` (MLX), then `quantization_config` of `config`.
    #[must_use]
    pub fn find(config: Option<(&'a str, &'a Value)>, own: &[(&'a str, &'a Value)]) -> Option<Self> {
        let of_config = |field: &str| {
            let (file, config) = config?;
            Some((file, config.get(field).filter(|value| !value.is_null())?))
        };
        let mlx = of_config("quantization");
        let mut found = own.iter().copied().chain(mlx).chain(of_config("quantization_config"));
        let (file, object) = found.next()?;
        Some(Self {
            file,
            object: Cow::Borrowed(object),
            others: found.collect(),
            is_mlx: own.is_empty() && mlx.is_some(),
        })
    }

    /// Returns the format that the settings ask for.
    ///
    /// # Errors
    /// [`FormatError::InvalidQuantization`], [`FormatError::UnsupportedQuantization`],
    /// [`FormatError::UnknownQuantization`].
    pub fn format(&self) -> Result<Box<dyn QuantizedFormat>, FormatError> {
        // MLX repeats its object as `quantization_config`, without a name.
        if self.is_mlx {
            return (mlx::METHOD.parse)(self.file, &self.object);
        }
        let fields = Fields::new(self.file, &self.object)?;
        let name = match fields.text("quant_method")? {
            Some(name) => Some(("quant_method", name)),
            None => fields.text("method")?.map(|name| ("method", name)),
        };
        let method = METHODS.iter().find(|method| match name {
            Some((_, name)) => method.name.eq_ignore_ascii_case(name),
            None => (method.recognises)(&self.object),
        });
        match (method, name) {
            (Some(Method { parse, .. }), _) => parse(self.file, &self.object),
            (None, Some((field, name))) => {
                let known: Vec<_> = METHODS.iter().map(|method| method.name).collect();
                Err(fields.unsupported(field, name, known.join(", ")))
            }
            (None, None) => Err(fields.invalid("quant_method", "the name of a method")),
        }
    }

    /// Removes `field`, named as in [`FormatError::UnknownQuantization`]. Returns `true` if it existed.
    pub fn remove(&mut self, field: &str) -> bool {
        crate::remove_field(self.object.to_mut(), field)
    }

    /// Returns a sentence for every field to which another object of the folder gives another value.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        /// The fields that determine how tensors are read.
        const FIELDS: [&str; 9] = [
            "quant_method",
            "bits",
            "w_bit",
            "group_size",
            "q_group_size",
            "sym",
            "desc_act",
            "checkpoint_format",
            "version",
        ];
        let mut found = Vec::new();
        for (file, other) in &self.others {
            for field in FIELDS {
                let said = |object: &'a Value| object.get(field).filter(|value| !value.is_null());
                let own = self.object.get(field).filter(|value| !value.is_null());
                if let (Some(own), Some(other)) = (own, said(other))
                    && !alike(own, other)
                {
                    let [own, other] = [own, other].map(|value| crate::error::escaped(&value.to_string()));
                    found.push(format!("{}: {field} is {own}, in {file} it is {other}: the former counts", self.file));
                }
            }
        }
        found
    }
}

/// Returns `true` if two values are equal; the case of strings is ignored.
fn alike(a: &Value, b: &Value) -> bool {
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_of_settings_counts_before_config_json_and_contradictions_are_told() {
        let own = json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true});
        let config = json!({"quantization_config": {"quant_method": "GPTQ", "bits": 8, "group_size": 128}});
        let found = Settings::find(Some(("config.json", &config)), &[("quantize_config.json", &own)]);
        let found = found.expect("settings");
        assert_eq!(found.file, "quantize_config.json");
        assert_eq!(
            found.contradictions(),
            ["quantize_config.json: bits is 4, in config.json it is 8: the former counts"]
        );
        let alone = Settings::find(Some(("config.json", &config)), &[]).expect("settings");
        assert!(alone.file == "config.json" && alone.contradictions().is_empty());
        assert!(Settings::find(Some(("config.json", &json!({"quantization": null}))), &[]).is_none());
    }

    #[test]
    fn a_field_that_is_refused_as_unknown_can_be_removed_by_its_name() {
        let weights = json!({"num_bits": 4, "group_size": 32, "strategy": "group", "odd": 1});
        let config = json!({"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized",
            "config_groups": {"group.0": {"targets": ["Linear"], "weights": weights}}}});
        let mut settings = Settings::find(Some(("config.json", &config)), &[]).expect("settings");
        let Err(FormatError::UnknownQuantization { field, .. }) = settings.format() else { panic!("it is unknown") };
        assert_eq!(field, "config_groups.group.0.weights.odd");
        assert!(!settings.remove("config_groups.group.0.odd") && settings.remove(&field) && !settings.remove(&field));
        assert_eq!(settings.format().expect("read").name(), "compressed-tensors");
    }
}
