use std::collections::HashMap;

use super::{Array, Value};
use crate::FormatError;

/// Keys and values in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`, whatever its type.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.index.get(key).and_then(|&i| self.pairs.get(i)).map(|(_, value)| value)
    }

    /// The value of `key` as a `T`, `None` where there is no such key; `file` is for the message.
    ///
    /// # Errors
    /// [`FormatError::WrongValueType`], [`FormatError::ValueOutOfRange`].
    pub fn get<'a, T: FromValue<'a>>(&'a self, file: &str, key: &str) -> Result<Option<T>, FormatError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match T::from_value(value) {
            Some(found) => Ok(Some(found)),
            None => {
                let (file, key, found) = (file.to_owned(), key.to_owned(), value.describe());
                Err(if T::EXPECTED_INTEGER && value.integer().is_some() {
                    FormatError::ValueOutOfRange { file, key, found, expected: T::EXPECTED }
                } else {
                    FormatError::WrongValueType { file, key, found, expected: T::EXPECTED }
                })
            }
        }
    }

    /// Adds a key; false where it is there already.
    pub(super) fn insert(&mut self, key: String, value: Value) -> bool {
        if self.index.contains_key(&key) {
            return false;
        }
        self.index.insert(key.clone(), self.pairs.len());
        self.pairs.push((key, value));
        true
    }
}

/// A Rust type that a metadata value can be read as. Integers are read from any integer type that
/// holds a fitting value, since writers disagree on widths.
pub trait FromValue<'a>: Sized {
    /// What is expected, for messages.
    const EXPECTED: &'static str;
    /// Whether any integer has the right type, if perhaps not the right range.
    const EXPECTED_INTEGER: bool = false;
    /// The value, or `None` where it is of another type or out of range.
    fn from_value(value: &'a Value) -> Option<Self>;
}

macro_rules! integers {
    ($($t:ty: $one:literal, $many:literal;)+) => {$(
        impl FromValue<'_> for $t {
            const EXPECTED: &'static str = $one;
            const EXPECTED_INTEGER: bool = true;
            fn from_value(value: &Value) -> Option<Self> {
                value.integer()?.try_into().ok()
            }
        }
        impl FromValue<'_> for Vec<$t> {
            const EXPECTED: &'static str = $many;
            fn from_value(value: &Value) -> Option<Self> {
                let Value::Array(array) = value else { return None };
                array.integers()?.into_iter().map(|v| v.try_into().ok()).collect()
            }
        }
    )+};
}
integers! {
    u32: "u32", "an array of u32";
    i32: "i32", "an array of i32";
    u64: "u64", "an array of u64";
    i64: "i64", "an array of i64";
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "f32";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::F32(v) => Some(*v),
            Value::F64(v) => Some(*v as f32),
            _ => None,
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "bool";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bool(v) = value { Some(*v) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";
    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::String(v) = value { Some(v) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a [String] {
    const EXPECTED: &'static str = "an array of strings";
    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(Array::String(v)) = value { Some(v) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a [f32] {
    const EXPECTED: &'static str = "an array of f32";
    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(Array::F32(v)) = value { Some(v) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a [bool] {
    const EXPECTED: &'static str = "an array of bool";
    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(Array::Bool(v)) = value { Some(v) } else { None }
    }
}
