//! Structured pruning: heads, neurons and layers are removed, and what remains is restored in closed form.
//!
//! A unit is a head or a neuron: rows of the projections before a consumer (`o`, `down`), and the consumer's columns
//! ([`honelm_model::Module::computed_by`]). In every layer in turn, the units of the lowest importance are removed and the
//! consumer's remaining columns become the least-squares fit of its outputs in the original, on the inputs that the pruned
//! layers before it produce ([`restore`]). The result is an ordinary model of smaller sizes.

mod activations;
mod choice;
mod counts;
mod cut;
mod depth;
mod figures;
mod importance;
mod job;
mod probe;
mod reconstruction;
mod restore;
mod sparse;
#[cfg(feature = "tune")]
mod taylor;

use serde::{Deserialize, Serialize};

pub use cut::Kept;
pub use figures::{LayerFigures, PruneFigures, UnitFigures};
pub use importance::UnitImportance;
pub use job::{Pruned, prune};
pub use sparse::{Pattern, SparseMethod, Sparsity};

/// The settings of structured pruning. The default is the preset of the literature for decoders (LLM-Pruner, Ma et al. 2023;
/// FLAP, An et al. 2024): 20% of the heads and 15% of the neurons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prune {
    /// The share of the heads to remove. Whole key-value groups are removed, or the same number of query heads of each group,
    /// whichever comes closer.
    pub heads: f64,
    /// The share of the neurons of each feed-forward network to remove.
    pub ffn: f64,
    /// The number of layers to remove.
    pub layers: usize,
    /// The measure by which heads and neurons are chosen.
    pub importance: UnitImportance,
    /// `true` to fit what remains to the outputs of the original.
    pub restore: bool,
    /// The number of layers at the beginning and at the end that are never removed; at most half of all layers are protected.
    pub protect: [usize; 2],
    /// The number of which the neurons that remain are a multiple; 0 is 32, or the largest power of two that divides the
    /// original's number. Encodings have blocks of 32.
    pub multiple: usize,
    /// Zeros in place of single weights, instead of the removal of units.
    pub sparsity: Option<Sparsity>,
}

impl Default for Prune {
    fn default() -> Self {
        let importance = UnitImportance::default();
        Self {
            heads: 0.2,
            ffn: 0.15,
            layers: 0,
            importance,
            restore: true,
            protect: [4, 2],
            multiple: 0,
            sparsity: None,
        }
    }
}

impl Prune {
    /// Checks the settings.
    ///
    /// # Errors
    /// A description of the setting that is out of range.
    pub fn check(&self) -> Result<(), String> {
        for (name, share) in [("heads", self.heads), ("ffn", self.ffn)] {
            if !(0.0..1.0).contains(&share) {
                return Err(format!("{name} {share}: expected a share from 0 to less than 1"));
            }
        }
        let removes = self.heads > 0.0 || self.ffn > 0.0 || self.layers > 0;
        if let Some(sparsity) = &self.sparsity {
            return match removes {
                true => {
                    Err("sparsity with heads, ffn or layers: expected one of the two; prune the result again"
                        .to_owned())
                }
                false => sparsity.check(),
            };
        }
        if !removes {
            return Err("heads 0, ffn 0, layers 0: expected something to remove".to_owned());
        }
        Ok(())
    }
}
