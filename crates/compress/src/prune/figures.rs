//! What was removed, and what it cost.

use serde::{Deserialize, Serialize};

/// What was removed of the heads or of the neurons of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UnitFigures {
    /// The number of units removed.
    pub removed: usize,
    /// The number of units in the original.
    pub of: usize,
    /// The mean square error of the consumer's outputs after cutting, relative to their mean square in the original. The inputs are
    /// those of the pruned model up to there, so that it includes the errors of earlier layers.
    pub error_after_cutting: f64,
    /// The same after restoration; that after cutting if nothing was restored.
    pub error_after_restoration: f64,
}

/// What was removed of a layer that remains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerFigures {
    /// The layer's number in the original, from 0.
    pub layer: usize,
    /// The query heads; `None` if there was nothing to remove or to restore.
    pub heads: Option<UnitFigures>,
    /// The neurons.
    pub neurons: Option<UnitFigures>,
    /// The number of weights of its matrices that are zero; `None` where units are removed instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeros: Option<u64>,
}

/// What was removed of a model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PruneFigures {
    /// The layers of the original that were removed.
    pub layers_removed: Vec<usize>,
    /// The layers that remain.
    pub layers: Vec<LayerFigures>,
    /// The number of held-out calibration tokens on which the divergences were measured.
    pub held_out_tokens: usize,
    /// The mean of KL(original || pruned) per held-out token after cutting, in nats; `None` for an encoder.
    pub kl_after_cutting: Option<f64>,
    /// The same after restoration; `None` if nothing was restored.
    pub kl_after_restoration: Option<f64>,
}
