use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::FormatError;

/// Parses the JSON document (a configuration or an index) of the file `file`.
///
/// # Errors
/// [`FormatError::InvalidJson`] with the line and the column.
pub fn parse_json(file: &str, bytes: &[u8]) -> Result<serde_json::Value, FormatError> {
    parse(file, bytes)
}

pub(crate) fn parse<'de, T: Deserialize<'de>>(file: &str, bytes: &'de [u8]) -> Result<T, FormatError> {
    // Some Windows editors begin a file with a byte-order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes)
        .map_err(|error| FormatError::InvalidJson { file: file.to_owned(), reason: error.to_string() })
}

/// Removes a field from an object or from an object nested in it. Returns `true` if the field existed. `field` is
/// its name as errors show it: `rope_scaling.odd`, with control characters escaped.
pub fn remove_field(json: &mut serde_json::Value, field: &str) -> bool {
    let Some(object) = json.as_object_mut() else { return false };
    let own = |name: &str| name.escape_debug().to_string();
    if let Some(name) = object.keys().find(|name| own(name) == field).cloned() {
        return object.shift_remove(&name).is_some();
    }
    // A name can contain dots itself.
    let mut inside = object
        .iter_mut()
        .filter_map(|(name, value)| Some((value, field.strip_prefix(&own(name))?.strip_prefix('.')?.to_owned())));
    inside.any(|(value, rest)| remove_field(value, &rest))
}

/// A JSON object in the order of the text. Repeated keys are kept, so that they can be rejected by name.
pub(crate) struct Pairs<V>(pub(crate) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
            type Value = Pairs<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value = map
                        .next_value()
                        .map_err(|error| A::Error::custom(format!("{}: {error}", crate::error::shown(&key))))?;
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}
