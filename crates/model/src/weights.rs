use std::collections::BTreeMap;

use honelm_backend::{Backend, BackendError, Weight};

use crate::{Architecture, Blueprint, Kind, ModelError, Parameters, Slot};

/// Uploaded weights by their slots: all of a model's, or those of some parts.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    slots: BTreeMap<Slot, Weight>,
}

impl Weights {
    /// Uploads the parameter of `slot`. Nothing of it stays in memory here.
    pub fn upload(
        &mut self,
        blueprint: &Blueprint,
        params: &dyn Parameters,
        slot: Slot,
        backend: &mut dyn Backend,
    ) -> Result<(), ModelError> {
        let module = blueprint.module(slot)?;
        let parameter = params.parameter(slot)?;
        let weight = if module.kind == Kind::Norm {
            backend.upload_norm(&parameter.weight.dequantize().data, parameter.bias.as_deref())?
        } else {
            backend.upload(parameter.weight, parameter.bias.as_deref())?
        };
        self.insert(slot, weight);
        Ok(())
    }

    /// Takes an uploaded weight.
    pub fn insert(&mut self, slot: Slot, weight: Weight) {
        self.slots.insert(slot, weight);
    }

    /// The weight of a slot, where it was uploaded.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Weight> {
        self.slots.get(&slot)
    }

    /// The weights of a layer, where they were uploaded.
    pub(crate) fn layer(&self, i: usize) -> Option<LayerWeights<'_>> {
        self.slots.keys().any(|slot| slot.layer == Some(i)).then_some(LayerWeights { weights: self, layer: i })
    }

    /// A weight outside of the layers, where it was uploaded.
    pub(crate) fn outer(&self, module: &'static str) -> Option<Weight> {
        self.get(Slot { layer: None, module }).cloned()
    }

    /// The numbers of the layers whose weights were uploaded, in order: layer `layers()[l]` uses layer `l` of the cache.
    #[must_use]
    pub fn layers(&self) -> Vec<usize> {
        let mut layers: Vec<usize> = self.slots.keys().filter_map(|slot| slot.layer).collect();
        layers.dedup();
        layers
    }
}

/// The weights of one layer, as an architecture binds them.
pub(crate) struct LayerWeights<'a> {
    weights: &'a Weights,
    layer: usize,
}

impl LayerWeights<'_> {
    /// The weight of a module of the tree.
    ///
    /// # Panics
    /// When the layer was uploaded in part only: a bug of the caller.
    pub(crate) fn take(&self, module: &'static str) -> Weight {
        let slot = Slot { layer: Some(self.layer), module };
        self.weights.get(slot).cloned().expect("a layer is uploaded whole, as its tree lists it")
    }

    /// The layer of the cache that the layer uses.
    pub(crate) fn cache_layer(&self) -> usize {
        self.weights.layers().iter().take_while(|&&i| i < self.layer).count()
    }
}

/// A part of a model that has to be bound before it can run.
///
/// # Panics
/// When it is not: a bug of the caller.
pub(crate) fn bound<T>(part: &Option<T>) -> &T {
    part.as_ref().expect("this part of the model was not bound")
}

/// Weights on a back end together with the architecture that computes with them.
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
    /// Binds uploaded weights; rotary frequencies are fixed for sequences of up to `context` tokens.
    pub fn new(
        blueprint: &Blueprint,
        weights: Weights,
        context: usize,
        backend: &mut dyn Backend,
    ) -> Result<Self, BackendError> {
        let architecture = blueprint.definition.bind(&weights, context, backend)?;
        Ok(Self { weights, architecture, context })
    }

    /// The forward pass.
    #[must_use]
    pub fn architecture(&self) -> &dyn Architecture {
        &*self.architecture
    }

    /// The uploaded weight of a slot.
    #[must_use]
    pub fn weight(&self, slot: Slot) -> Option<&Weight> {
        self.weights.get(slot)
    }

    /// All uploaded weights.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}
