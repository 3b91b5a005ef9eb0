use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use crate::ModelError;

/// Strict access to a JSON object: every field is read with its range, and [`Fields::finish`] refuses fields that were not
/// read, because ignoring a setting could make a model subtly wrong.
pub(crate) struct Fields<'a> {
    file: &'a str,
    path: String,
    object: &'a Map<String, Json>,
    read: HashSet<&'static str>,
}

impl<'a> Fields<'a> {
    /// Wraps the object `json`; errors name it as a part of `file`.
    ///
    /// # Errors
    /// [`ModelError::InvalidField`] if it is not an object.
    pub(crate) fn new(file: &'a str, json: &'a Json) -> Result<Self, ModelError> {
        match json.as_object() {
            Some(object) => Ok(Self { file, path: String::new(), object, read: HashSet::new() }),
            None => Err(invalid(file, "the configuration", kind(json), "an object")),
        }
    }

    /// Reads a field; `None` if it is absent or null.
    pub(crate) fn value(&mut self, name: &'static str) -> Option<&'a Json> {
        self.read.insert(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Returns `true` if the field is present, even if it is null.
    pub(crate) fn given(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// Reads an optional whole number from 1 to `limit`.
    pub(crate) fn optional_count(&mut self, name: &'static str, limit: usize) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let count = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=limit).contains(n));
        count.map(Some).ok_or_else(|| self.wrong(name, value, format!("a whole number from 1 to {limit}")))
    }

    /// Reads a required whole number from 1 to `limit`.
    pub(crate) fn count(&mut self, name: &'static str, limit: usize) -> Result<usize, ModelError> {
        self.optional_count(name, limit)?
            .ok_or_else(|| self.missing(name, &format!("a whole number from 1 to {limit}")))
    }

    /// Reads an optional finite number above 0.
    pub(crate) fn optional_number(&mut self, name: &'static str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
        number.map(Some).ok_or_else(|| self.wrong(name, value, "a number above 0"))
    }

    /// Reads a required finite number above 0.
    pub(crate) fn number(&mut self, name: &'static str) -> Result<f64, ModelError> {
        self.optional_number(name)?.ok_or_else(|| self.missing(name, "a number above 0"))
    }

    /// Reads an optional boolean.
    pub(crate) fn optional_flag(&mut self, name: &'static str) -> Result<Option<bool>, ModelError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(name, value, "true or false"))
    }

    /// Reads a boolean that is `false` by default.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool, ModelError> {
        Ok(self.optional_flag(name)?.unwrap_or(false))
    }

    /// Reads an optional string.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, ModelError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(name, value, "a string"))
    }

    /// Refuses a field unless its value is `supported` or it is absent.
    pub(crate) fn only(&mut self, name: &'static str, supported: &Json) -> Result<(), ModelError> {
        match self.value(name) {
            Some(value) if value != supported && value.as_f64() != supported.as_f64().or(Some(f64::NAN)) => {
                Err(self.wrong(name, value, supported.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Reads an optional object inside this one.
    pub(crate) fn object(&mut self, name: &'static str) -> Result<Option<Fields<'a>>, ModelError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| self.wrong(name, value, "an object"))?;
        Ok(Some(Fields { file: self.file, path: format!("{}{name}.", self.path), object, read: HashSet::new() }))
    }

    /// Refuses fields that were not read, unless they are null, in `harmless`, or one of [`NEUTRAL`] with an empty value.
    pub(crate) fn finish(self, harmless: &[&str]) -> Result<(), ModelError> {
        let known = |name: &str| self.read.contains(name) || harmless.contains(&name);
        let neutral = |name: &str, value: &Json| NEUTRAL.contains(&name) && is_empty(value);
        let refused = |(name, value): &(&String, &Json)| !value.is_null() && !known(name) && !neutral(name, value);
        match self.object.iter().find(refused) {
            Some((name, value)) => Err(ModelError::UnknownField {
                file: self.file.to_owned(),
                field: format!("{}{}", self.path, name.escape_debug()),
                found: shortened(value),
            }),
            None => Ok(()),
        }
    }

    /// Returns the error for an invalid field of this object.
    pub(crate) fn wrong(&self, name: &str, found: &Json, expected: impl Into<String>) -> ModelError {
        invalid(self.file, &format!("{}{name}", self.path), shortened(found), expected)
    }

    /// Returns the error for a missing field of this object.
    pub(crate) fn missing(&self, name: &str, expected: &str) -> ModelError {
        let (field, expected) = (format!("{}{name}", self.path), expected.to_owned());
        ModelError::MissingField { file: self.file.to_owned(), field, expected }
    }
}

/// Fields that change nothing if they are false, or an empty list, object or string.
const NEUTRAL: &[&str] = &["auto_map", "pruned_heads", "truncate"];

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::String(text) => text.is_empty(),
        Json::Array(list) => list.is_empty(),
        Json::Object(object) => object.is_empty(),
        Json::Bool(true) | Json::Number(_) => false,
    }
}

fn invalid(file: &str, field: &str, found: String, expected: impl Into<String>) -> ModelError {
    ModelError::InvalidField { file: file.to_owned(), field: field.to_owned(), found, expected: expected.into() }
}

fn kind(json: &Json) -> String {
    match json {
        Json::Array(_) => "an array".to_owned(),
        other => shortened(other),
    }
}

/// Formats a value as JSON of at most 80 characters.
pub(crate) fn shortened(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_was_not_read_is_refused_by_name() {
        let json = json!({"known": 3, "harmless": 1, "absent": null, "surprise": {"a": 1}});
        let mut fields = Fields::new("config.json", &json).expect("an object");
        assert_eq!(fields.count("known", 3).expect("in range"), 3);
        let error = fields.finish(&["harmless"]).expect_err("surprise is unknown");
        assert_eq!(error.code(), "unknown-field");
        assert!(error.to_string().contains("surprise"), "{error}");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let json = json!({"n": 0, "big": 1e300, "x": -1.0, "flag": 1, "o": {"i": "no"}});
        let mut fields = Fields::new("config.json", &json).expect("an object");
        assert!(fields.count("n", 9).is_err() && fields.count("big", 9).is_err() && fields.number("x").is_err());
        assert!(fields.flag("flag").is_err());
        assert_eq!(fields.count("gone", 9).expect_err("missing").code(), "missing-field");
        let mut inner = fields.object("o").expect("an object").expect("present");
        assert!(inner.number("i").expect_err("text").to_string().contains("o.i"));
        assert!(fields.only("x", &json!(-1)).is_ok() && fields.only("x", &json!(1)).is_err());
        assert!(fields.only("flag", &json!("silu")).is_err() && fields.only("absent", &json!(1)).is_ok());
    }
}
