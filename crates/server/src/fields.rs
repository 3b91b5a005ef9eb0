//! Fields of requests: numbers that are checked at both ends, and JSON that is read with the place of an error.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ApiError;

/// A whole number from `MIN` to `MAX`. A JSON number without a fraction counts as whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Int<const MIN: i64, const MAX: i64>(i64);

impl<const MIN: i64, const MAX: i64> Int<MIN, MAX> {
    /// Creates a number; `None` outside its range.
    #[must_use]
    pub fn new(value: i64) -> Option<Self> {
        (MIN..=MAX).contains(&value).then_some(Self(value))
    }

    /// Returns the number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }

    /// Returns the number as a count; a negative one is 0.
    #[must_use]
    pub fn count(self) -> usize {
        usize::try_from(self.0.max(0)).unwrap_or(usize::MAX)
    }
}

struct IntVisitor<const MIN: i64, const MAX: i64>;

impl<const MIN: i64, const MAX: i64> Visitor<'_> for IntVisitor<MIN, MAX> {
    type Value = Int<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Int::new(value).ok_or_else(|| E::custom(format!("found {value}, expected a whole number from {MIN} to {MAX}")))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        let whole = i64::try_from(value).ok().and_then(Int::new);
        whole.ok_or_else(|| E::custom(format!("found {value}, expected a whole number from {MIN} to {MAX}")))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        // Up to 2^53, where every whole number is exact.
        let whole = (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64);
        let whole = whole.and_then(Int::new);
        whole.ok_or_else(|| E::custom(format!("found {value}, expected a whole number from {MIN} to {MAX}")))
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Int<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntVisitor)
    }
}

/// A finite number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Num<const MIN: i32, const MAX: i32>(f64);

impl<const MIN: i32, const MAX: i32> Num<MIN, MAX> {
    /// Returns the number.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0 as f32
    }
}

impl<'de, const MIN: i32, const MAX: i32> Deserialize<'de> for Num<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if value.is_finite() && (f64::from(MIN)..=f64::from(MAX)).contains(&value) {
            Ok(Self(value))
        } else {
            Err(D::Error::custom(format!("found {value}, expected a number from {MIN} to {MAX}")))
        }
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// A single value.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// Returns the values.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Array(values) => {
                let parsed = values.into_iter().map(|value| serde_json::from_value(value).map_err(D::Error::custom));
                Ok(Self::Many(parsed.collect::<Result<_, _>>()?))
            }
            value => Ok(Self::One(serde_json::from_value(value).map_err(D::Error::custom)?)),
        }
    }
}

/// The body of a request.
pub trait Fields: DeserializeOwned {
    /// Returns the fields that the server does not know.
    fn unknown(&self) -> &Map<String, Value>;
}

/// A request with the number of its fields that were ignored.
#[derive(Debug)]
pub struct Incoming<T> {
    /// The request.
    pub request: T,
    /// The number of unknown fields.
    pub ignored: usize,
}

/// Reads a request. With `strict`, unknown fields are refused.
///
/// # Errors
/// 400 with the field and what was found and expected.
pub fn read<T: Fields>(json: &[u8], strict: bool) -> Result<Incoming<T>, ApiError> {
    let request: T = parse(json)?;
    let unknown = request.unknown();
    if strict && let Some(name) = unknown.keys().next() {
        return Err(ApiError::invalid(name.as_str(), "an unknown field, which --strict-fields refuses"));
    }
    let ignored = unknown.len();
    Ok(Incoming { request, ignored })
}

/// Parses JSON.
///
/// # Errors
/// As [`read`].
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() && path != "." && !path.is_empty() {
            ApiError::invalid(path, without_place(&inner.to_string()))
        } else if inner.is_data() {
            ApiError::bad_request("invalid_value", without_place(&inner.to_string()))
        } else {
            ApiError::bad_request("invalid_json", format!("the body is not valid JSON: {inner}"))
        }
    })?;
    let rest = deserializer.end();
    rest.map_err(|error| ApiError::bad_request("invalid_json", format!("the body is not valid JSON: {error}")))?;
    Ok(value)
}

/// Removes the line and column from a message, which mean little beside the name of the field.
fn without_place(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(before, _)| before)
}
