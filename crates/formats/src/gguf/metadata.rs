use std::collections::HashMap;

use super::{Array, Value};
use crate::FormatError;

/// The keys and values of a file, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns `true` if there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns the keys and values in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Returns the value of `key`, of any type.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.index.get(key).and_then(|&i| self.pairs.get(i)).map(|(_, value)| value)
    }

    /// Returns the value of `key` as a `T`, or `None` if there is no such key. Errors name the file `file`.
    ///
    /// # Errors
    /// [`FormatError::WrongValueType`] and [`FormatError::ValueOutOfRange`].
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

    /// Takes the strings of `key`, which then is an empty array; empty if it is not an array of strings. A reader that needs
    /// a vocabulary once does not hold it twice.
    pub fn take_strings(&mut self, key: &str) -> Vec<String> {
        let value = self.index.get(key).and_then(|&i| self.pairs.get_mut(i)).map(|(_, value)| value);
        if let Some(Value::Array(Array::String(strings))) = value { std::mem::take(strings) } else { Vec::new() }
    }

    /// Adds a key. Returns `false` if it already exists.
    pub(super) fn insert(&mut self, key: String, value: Value) -> bool {
        if self.index.contains_key(&key) {
            return false;
        }
        self.index.insert(key.clone(), self.pairs.len());
        self.pairs.push((key, value));
        true
    }
}

/// A Rust type that a metadata value can be converted to. An integer type accepts every integer value in its range,
/// because writers use different widths.
pub trait FromValue<'a>: Sized {
    /// The expected type, for errors.
    const EXPECTED: &'static str;
    /// `true` if integers of any width have the right type, even if they are out of range.
    const EXPECTED_INTEGER: bool = false;
    /// Converts the value. Returns `None` if it has another type or is out of range.
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
