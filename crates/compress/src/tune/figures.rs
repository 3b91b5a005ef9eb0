//! The figures of a tuning.

use honelm_store::Journal;
use serde::{Deserialize, Serialize};

use crate::CompressError;

/// The journal entry.
const ENTRY: &str = "tuned";

/// The figures of a tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuneFigures {
    /// The mean divergence on the held-out samples before the first step, in nats per token.
    pub before: f64,
    /// The same of the state that was kept.
    pub after: f64,
    /// The number of steps that were taken.
    pub steps: u32,
    /// The step whose state was kept; 0 if none was better than the first.
    pub kept: u32,
    /// The number of values that were trained.
    pub numbers: usize,
}

/// Saves the figures of a finished tuning.
#[cfg(feature = "tune")]
pub(crate) fn save(journal: &Journal, figures: &TuneFigures) -> Result<(), CompressError> {
    Ok(journal.put(ENTRY, &serde_json::to_vec(figures).unwrap_or_default())?)
}

/// Returns the figures of a finished tuning.
pub(crate) fn load(journal: &Journal) -> Result<Option<TuneFigures>, CompressError> {
    Ok(journal.get(ENTRY)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}
