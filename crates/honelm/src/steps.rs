//! The progress of a compression in steps.

use honelm_model::Checkpoint;

/// Counts the steps of a compression: one per stage of a layer, and one for the embedding and the output.
///
/// The compression reports the number of finished layers, and each stage of a layer when it begins.
pub(crate) struct Steps {
    /// The number of steps before each layer, and before the embedding and the output.
    before: Vec<usize>,
    layer: usize,
    begun: usize,
}

impl Steps {
    pub(crate) fn new(checkpoint: &Checkpoint) -> Self {
        let tree = checkpoint.tree();
        let mut before = vec![0];
        for layer in 0..tree.layers.len() {
            before.push(before[layer] + tree.stages(layer).len().max(1));
        }
        Self { before, layer: 0, begun: 0 }
    }

    pub(crate) fn total(&self) -> usize {
        self.at(self.before.len())
    }

    /// Returns the number of steps before a layer. The embedding and the output follow the last layer as one step.
    fn at(&self, layer: usize) -> usize {
        let last = self.before.last().copied().unwrap_or(0);
        self.before.get(layer).copied().unwrap_or(last + 1)
    }

    /// Returns the number of finished steps when a stage begins after `layer` finished layers.
    pub(crate) fn begin(&mut self, layer: usize) -> usize {
        self.begun = if layer == self.layer { self.begun + 1 } else { 1 };
        self.layer = layer;
        let first = self.at(layer);
        (first + self.begun - 1).min(self.at(layer + 1).saturating_sub(1).max(first))
    }
}
