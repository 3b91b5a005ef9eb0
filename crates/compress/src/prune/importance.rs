//! The measures of importance.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The measure by which units are chosen. Units of low importance are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitImportance {
    /// The error of the consumer's outputs that is left when the other units are fitted to replace the unit; units are removed
    /// one after the other (the optimal brain surgeon of whole units, ZipLM: Kurtic et al. 2023, equation 3).
    #[default]
    Reconstruction,
    /// The mean square of what the unit adds to the consumer's outputs.
    Activations,
    /// The sum of |w dL/dw| over the weights of the unit, L being the cross-entropy of the calibration text (LLM-Pruner: Ma et al.
    /// 2023, equation 5).
    Taylor,
}

impl UnitImportance {
    /// All measures.
    pub const ALL: [Self; 3] = [Self::Reconstruction, Self::Activations, Self::Taylor];

    /// Returns the name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reconstruction => "reconstruction",
            Self::Activations => "activations",
            Self::Taylor => "taylor",
        }
    }

    /// Returns the measure of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|importance| importance.name() == name)
    }
}

impl fmt::Display for UnitImportance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
