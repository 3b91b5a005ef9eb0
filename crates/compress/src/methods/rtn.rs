//! Round to nearest: every group on its own, without error feedback.

use serde::{Deserialize, Serialize};

use super::{Method, Needs};
use crate::rounding::round;
use crate::{Change, CompressError, Stage};

/// The choice of a group's scale (and zero point or minimum).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scales {
    /// From the smallest and the largest value, as the reference code of GPTQ and AWQ does.
    #[default]
    MinMax,
    /// By a search for the smallest squared error of the weights.
    Search,
    /// By a search for the smallest squared error of the weights, each column weighted by the mean square of its input.
    Weighted,
}

/// Settings of rounding to nearest.
///
/// Encodings without a plain fit always search their scales; `scales` then only decides about the weighting.
/// The importances of the scheme, where it has any, take the place of `scales`: they weight a search.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rtn {
    /// The choice of scales.
    pub scales: Scales,
}

impl Method for Rtn {
    fn needs(&self) -> Needs {
        if self.scales == Scales::Weighted { Needs::Inputs } else { Needs::Nothing }
    }

    fn apply(&self, stage: &mut Stage<'_>) -> Result<Vec<Change>, CompressError> {
        let importance = match self.scales {
            Scales::Weighted => Some(stage.statistics()?.hessian.diagonal()),
            Scales::MinMax | Scales::Search => None,
        };
        let threads = stage.threads();
        stage.quantise(|w, target, given| match given {
            Some(given) => round(w, target, Scales::Weighted, Some(given), threads),
            None => round(w, target, self.scales, importance.as_deref(), threads),
        })
    }
}
