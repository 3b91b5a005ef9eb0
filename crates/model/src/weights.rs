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

    /// The weights of a block, where they were uploaded.
    pub(crate) fn block(&self, i: usize) -> Option<BlockWeights<'_>> {
        self.slots.keys().any(|slot| slot.block == Some(i)).then_some(BlockWeights { weights: self, block: i })
    }

    /// A weight outside of the blocks, where it was uploaded.
    pub(crate) fn outer(&self, module: &'static str) -> Option<Weight> {
        self.get(Slot { block: None, module }).cloned()
    }

    /// The numbers of the blocks whose weights were uploaded, in order: block `blocks()[l]` uses layer `l` of the cache.
    #[must_use]
    pub fn blocks(&self) -> Vec<usize> {
        let mut blocks: Vec<usize> = self.slots.keys().filter_map(|slot| slot.block).collect();
        blocks.dedup();
        blocks
    }
}

/// The weights of one block, as an architecture binds them.
pub(crate) struct BlockWeights<'a> {
    weights: &'a Weights,
    block: usize,
}

impl BlockWeights<'_> {
    /// The weight of a module of the tree.
    ///
    /// # Panics
    /// When the block was uploaded in part only: a bug of the caller.
    pub(crate) fn take(&self, module: &'static str) -> Weight {
        let slot = Slot { block: Some(self.block), module };
        self.weights.get(slot).cloned().expect("a block is uploaded whole, as its tree lists it")
    }

    /// The layer of the cache that the block uses.
    pub(crate) fn cache_layer(&self) -> usize {
        self.weights.blocks().iter().take_while(|&&i| i < self.block).count()
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
