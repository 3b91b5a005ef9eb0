//! Sliding windows: the layers that attend only to the last positions.

use honelm_backend::CacheKind;
use serde_json::Value as Json;

use crate::ModelError;
use crate::fields::Fields;

const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";

/// The sliding windows of a model's layers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Windows {
    /// The number of positions that a row attends to in a layer with a window, including its own (`sliding_window`); `None`
    /// if no layer has a window.
    pub width: Option<usize>,
    /// `true` for each layer with a window.
    pub sliding: Vec<bool>,
}

impl Windows {
    /// Reads the windows of `layers` layers from `layer_types`; `sliding` returns the default for each layer.
    pub(crate) fn parse(
        f: &mut Fields<'_>,
        width: Option<usize>,
        layers: usize,
        sliding: impl Fn(usize) -> bool,
    ) -> Result<Self, ModelError> {
        let sliding: Vec<bool> = match f.value("layer_types") {
            None => (0..layers).map(|i| width.is_some() && sliding(i)).collect(),
            Some(value) => {
                let kind = |name: &Json| match name.as_str() {
                    Some(SLIDING) => Some(true),
                    Some(FULL) => Some(false),
                    _ => None,
                };
                let list = value.as_array().and_then(|list| list.iter().map(kind).collect::<Option<Vec<bool>>>());
                let expected = || format!("{SLIDING} or {FULL} for each of {layers} layers");
                list.filter(|list| list.len() == layers).ok_or_else(|| f.wrong("layer_types", value, expected()))?
            }
        };
        match (sliding.contains(&true), width) {
            (true, None) => Err(f.missing("sliding_window", "a number of positions, because layer_types has windows")),
            (used, width) => Ok(Self { width: width.filter(|_| used), sliding }),
        }
    }

    /// Returns the positions that layer `i` attends to.
    pub(crate) fn kind(&self, i: usize) -> CacheKind {
        let width = self.width.filter(|_| self.sliding.get(i) == Some(&true));
        width.map_or(CacheKind::Full, CacheKind::Window)
    }

    /// Returns the value of `layer_types` for these layers.
    pub(crate) fn types(sliding: &[bool]) -> Json {
        sliding.iter().map(|&sliding| if sliding { SLIDING } else { FULL }).collect()
    }

    /// Reverses [`Windows::types`] for a valid value.
    pub(crate) fn sliding(types: &Json) -> Vec<bool> {
        types.as_array().into_iter().flatten().map(|kind| kind == SLIDING).collect()
    }
}
