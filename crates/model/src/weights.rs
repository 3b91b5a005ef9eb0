use std::collections::BTreeMap;

use honelm_backend::{Backend, BackendError, Weight};
use honelm_blocks::{BlockMatrix, Encoding, WeightData};

use crate::{Architecture, Blueprint, Kind, ModelError, Parameters, Slot};

/// Uploaded weights by their slots: those of a whole model or of some parts.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    slots: BTreeMap<Slot, Weight>,
}

impl Weights {
    /// Uploads the parameter of `slot`, without keeping a copy of it here. Positions are uploaded with the row of the first token
    /// type added, and token types not at all.
    ///
    /// # Errors
    /// An unknown slot, an invalid weight, or an error of the device.
    pub fn upload(
        &mut self,
        blueprint: &Blueprint,
        params: &dyn Parameters,
        slot: Slot,
        backend: &mut dyn Backend,
    ) -> Result<(), ModelError> {
        let module = blueprint.module(slot)?;
        let parameter = params.parameter(slot)?;
        let weight = match (module.kind, blueprint.tree.token_types()) {
            (Kind::TokenTypes, _) => return Ok(()),
            (Kind::Norm, _) => backend.upload_norm(&parameter.weight.dequantize().data, parameter.bias.as_deref())?,
            (Kind::Positions, Some(types)) => {
                let types = params.parameter(types)?.weight;
                backend.upload(with_first_type(&parameter.weight, &types), None)?
            }
            _ => backend.upload(parameter.weight, parameter.bias.as_deref())?,
        };
        self.insert(slot, weight);
        Ok(())
    }

    /// Adds an uploaded weight.
    pub fn insert(&mut self, slot: Slot, weight: Weight) {
        self.slots.insert(slot, weight);
    }

    /// Returns the weight of a slot; `None` if it has not been uploaded.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Weight> {
        self.slots.get(&slot)
    }

    /// Returns the weights of a layer; `None` if they have not been uploaded.
    pub(crate) fn layer(&self, i: usize) -> Option<LayerWeights<'_>> {
        self.slots.keys().any(|slot| slot.layer == Some(i)).then_some(LayerWeights { weights: self, layer: i })
    }

    /// Returns a weight outside of the layers; `None` if it has not been uploaded.
    pub(crate) fn outer(&self, module: &'static str) -> Option<Weight> {
        self.get(Slot { layer: None, module }).cloned()
    }

    /// Returns the numbers of the uploaded layers in ascending order: layer `layers()[l]` uses layer `l` of the cache.
    #[must_use]
    pub fn layers(&self) -> Vec<usize> {
        let mut layers: Vec<usize> = self.slots.keys().filter_map(|slot| slot.layer).collect();
        layers.dedup();
        layers
    }
}

/// Returns the rows of `positions`, each plus the first row of `types`. // [P, D], [T, D] -> [P, D]
fn with_first_type(positions: &WeightData, types: &WeightData) -> WeightData {
    let mut sum = positions.dequantize();
    let mut first = vec![0.0; sum.cols];
    types.dequantize_row(0, &mut first);
    for row in 0..sum.rows {
        sum.row_mut(row).iter_mut().zip(&first).for_each(|(x, first)| *x += first);
    }
    let bytes: Vec<u8> = sum.data.iter().flat_map(|x| x.to_le_bytes()).collect();
    BlockMatrix { encoding: Encoding::F32, rows: sum.rows, cols: sum.cols, bytes: bytes.into() }.into()
}

/// The weights of one layer.
pub(crate) struct LayerWeights<'a> {
    weights: &'a Weights,
    layer: usize,
}

impl LayerWeights<'_> {
    /// Returns the weight of a module.
    ///
    /// # Panics
    /// Panics if only a part of the layer has been uploaded, which is a bug of the caller.
    pub(crate) fn take(&self, module: &'static str) -> Weight {
        let slot = Slot { layer: Some(self.layer), module };
        self.weights.get(slot).cloned().expect("all modules of a layer are uploaded")
    }

    /// Returns the layer of the cache that this layer uses.
    pub(crate) fn cache_layer(&self) -> usize {
        self.weights.layers().iter().take_while(|&&i| i < self.layer).count()
    }
}

/// Returns a part of a model that must be bound before it can run.
///
/// # Panics
/// Panics if the part is not bound, which is a bug of the caller.
pub(crate) fn bound<T>(part: &Option<T>) -> &T {
    part.as_ref().expect("this part of the model was not bound")
}

/// The weights on a back end together with the forward pass that uses them.
pub struct Network {
    weights: Weights,
    architecture: Box<dyn Architecture>,
    context: usize,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("weights", &self.weights).field("context", &self.context).finish()
    }
}

impl Network {
    /// Binds uploaded weights. The rotary frequencies are those for sequences of up to `context` tokens.
    ///
    /// # Errors
    /// An error of the device.
    pub fn new(
        blueprint: &Blueprint,
        weights: Weights,
        context: usize,
        backend: &mut dyn Backend,
    ) -> Result<Self, BackendError> {
        let architecture = blueprint.definition.bind(&weights, context, backend)?;
        Ok(Self { weights, architecture, context })
    }

    /// Returns the forward pass.
    #[must_use]
    pub fn architecture(&self) -> &dyn Architecture {
        &*self.architecture
    }

    /// Returns the weight of a slot; `None` if it has not been uploaded.
    #[must_use]
    pub fn weight(&self, slot: Slot) -> Option<&Weight> {
        self.weights.get(slot)
    }

    /// Returns all uploaded weights.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}
