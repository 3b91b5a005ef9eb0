//! Which layers of a model see only the last positions.

use honelm_backend::CacheKind;
use serde_json::Value as Json;

use crate::ModelError;
use crate::fields::Fields;

const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";

/// The windows of a model's layers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Windows {
    /// Positions that a row sees in a layer with a window, its own included (`sliding_window`); `None` where no layer has one.
    pub width: Option<usize>,
    /// For each layer, whether it has one.
    pub sliding: Vec<bool>,
}

impl Windows {
    /// The windows of `layers` layers: those that `layer_types` names; without it those that `sliding` says.
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
            (true, None) => Err(f.missing("sliding_window", "a number of positions, since layer_types names windows")),
            (used, width) => Ok(Self { width: width.filter(|_| used), sliding }),
        }
    }

    /// The positions that layer `i` sees.
    pub(crate) fn kind(&self, i: usize) -> CacheKind {
        let width = self.width.filter(|_| self.sliding.get(i) == Some(&true));
        width.map_or(CacheKind::Full, CacheKind::Window)
    }

    /// `layer_types` of these layers.
    pub(crate) fn types(sliding: &[bool]) -> Json {
        sliding.iter().map(|&sliding| if sliding { SLIDING } else { FULL }).collect()
    }

    /// The reverse of [`Windows::types`] for a value that is known to be one.
    pub(crate) fn sliding(types: &Json) -> Vec<bool> {
        types.as_array().into_iter().flatten().map(|kind| kind == SLIDING).collect()
    }
}
