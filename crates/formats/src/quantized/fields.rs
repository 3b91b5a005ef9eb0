//! The fields of a settings object.

use serde_json::{Map, Value};

use crate::FormatError;

/// A settings object whose errors name the file and the field.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    pub(crate) file: &'a str,
    /// The path of the object in the file: empty, or `config_groups.group_0.weights.`.
    prefix: String,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(file: &'a str, value: &'a Value) -> Result<Self, FormatError> {
        match value.as_object() {
            Some(object) => Ok(Self { file, prefix: String::new(), object }),
            None => Err(invalid(file, "quantization_config".to_owned(), value, "an object")),
        }
    }

    /// Returns the object `field`, or `None` if it is missing or null.
    pub(crate) fn child(&self, field: &str) -> Result<Option<Self>, FormatError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let Some(object) = value.as_object() else { return Err(self.invalid(field, "an object")) };
        Ok(Some(Self { file: self.file, prefix: format!("{}{field}.", self.prefix), object }))
    }

    /// Returns all fields that are not null.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.object.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.as_str(), value))
    }

    /// Returns the value of `field`, or `None` if it is missing or null.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, field: &str) -> Result<Option<&'a str>, FormatError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.invalid(field, "a string"))
    }

    pub(crate) fn flag(&self, field: &str) -> Result<Option<bool>, FormatError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.invalid(field, "true or false"))
    }

    /// Returns a list of strings, which is empty if the field is missing.
    pub(crate) fn texts(&self, field: &str) -> Result<Vec<&'a str>, FormatError> {
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        texts.ok_or_else(|| self.invalid(field, "a list of strings"))
    }

    /// Returns the bits per code, which must be one of `supported`; `names` lists these for the error.
    pub(crate) fn bits(&self, field: &str, supported: &[u8], names: &'static str) -> Result<Option<u8>, FormatError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let Some(found) = value.as_u64() else { return Err(self.invalid(field, "a number of bits")) };
        match u8::try_from(found) {
            Ok(bits) if supported.contains(&bits) => Ok(Some(bits)),
            _ => Err(self.unsupported(field, &found.to_string(), names)),
        }
    }

    /// Returns the columns per group: `Some(None)` for -1, one group per row.
    pub(crate) fn group_size(&self, field: &str) -> Result<Option<Option<usize>>, FormatError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_i64() {
            Some(-1) => Ok(Some(None)),
            Some(size @ 1..) if usize::try_from(size).is_ok() => Ok(Some(usize::try_from(size).ok())),
            _ => Err(self.invalid(field, "-1 or a number of columns")),
        }
    }

    /// Refuses `field` if it is set to anything but one of `supported`, in any case; `names` lists these for the error.
    pub(crate) fn require(&self, field: &str, supported: &[&str], names: &'static str) -> Result<(), FormatError> {
        match self.text(field)? {
            Some(found) if !supported.iter().any(|name| name.eq_ignore_ascii_case(found)) => {
                Err(self.unsupported(field, found, names))
            }
            _ => Ok(()),
        }
    }

    /// Refuses every field that is neither `read` nor `harmless`, because it might change the weights, unless its value
    /// is null, false or empty.
    pub(crate) fn only(&self, read: &[&str], harmless: &[&str]) -> Result<(), FormatError> {
        for (field, value) in self.iter() {
            if read.contains(&field) || harmless.contains(&field) || is_unset(value) {
                continue;
            }
            return Err(self.unknown(field));
        }
        Ok(())
    }

    /// Returns the error of an unknown field, which might change the weights.
    pub(crate) fn unknown(&self, field: &str) -> FormatError {
        let found = self.object.get(field).unwrap_or(&Value::Null).to_string();
        let (file, field) = (self.file.to_owned(), self.path(field));
        FormatError::UnknownQuantization { file, field, found: crate::error::shown(&found) }
    }

    pub(crate) fn invalid(&self, field: &str, expected: &'static str) -> FormatError {
        let value = self.object.get(field).unwrap_or(&Value::Null);
        invalid(self.file, self.path(field), value, expected)
    }

    pub(crate) fn unsupported(&self, field: &str, found: &str, supported: impl Into<String>) -> FormatError {
        let (file, field) = (self.file.to_owned(), self.path(field));
        FormatError::UnsupportedQuantization {
            file,
            field,
            found: crate::error::shown(found),
            supported: supported.into(),
        }
    }

    /// Returns the path of `field` from the top of the settings.
    pub(crate) fn path(&self, field: &str) -> String {
        crate::error::escaped(&format!("{}{field}", self.prefix))
    }
}

/// Returns `true` for the values that switch a setting off.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

fn invalid(file: &str, field: String, found: &Value, expected: &'static str) -> FormatError {
    let found = if found.is_null() { "missing".to_owned() } else { crate::error::shown(&found.to_string()) };
    FormatError::InvalidQuantization { file: file.to_owned(), field, found, expected }
}
