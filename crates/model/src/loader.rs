use honelm_backend::{Backend, Weight};

use crate::weights::Weights;
use crate::{Blueprint, Device, Kind, LoadOptions, Model, ModelError, Parameters, Slot, StoredEncoding};

/// Uploads a model's weights one after the other, large ones in slabs where the device wants that.
///
/// What drives it may show progress, stop, or, where a part of a remote file is missing
/// ([`honelm_formats::FormatError::NotFetched`]), fetch it and go on: a step that failed is taken again.
#[derive(Debug)]
pub struct Loader {
    blueprint: Blueprint,
    slots: Vec<Slot>,
    done: usize,
    /// The weight that is being filled, and its rows that are there.
    begun: Option<(Weight, usize)>,
    weights: Weights,
}

impl Loader {
    /// A loader of all weights of a model.
    #[must_use]
    pub fn new(blueprint: &Blueprint) -> Self {
        let slots = blueprint.tree.slots().collect();
        Self { blueprint: blueprint.clone(), slots, done: 0, begun: None, weights: Weights::default() }
    }

    /// Weights that are uploaded, and all of them.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.slots.len())
    }

    /// Uploads the next weight or slab; false when nothing is left.
    ///
    /// # Errors
    /// What is wrong with a weight, why the device refuses, or what is not fetched yet.
    pub fn advance(&mut self, params: &dyn Parameters, backend: &mut dyn Backend) -> Result<bool, ModelError> {
        let Some(&slot) = self.slots.get(self.done) else { return Ok(false) };
        match self.slab(slot, params, backend)? {
            Some((weight, rows)) if rows < weight.rows() => self.begun = Some((weight, rows)),
            Some((weight, _)) => {
                self.begun = None;
                self.weights.insert(slot, weight);
                self.done += 1;
            }
            None => {
                self.weights.upload(&self.blueprint, params, slot, backend)?;
                self.done += 1;
            }
        }
        Ok(true)
    }

    /// Fills the next slab of a weight that comes in slabs; the weight and its rows that are there then.
    fn slab(
        &self,
        slot: Slot,
        params: &dyn Parameters,
        backend: &mut dyn Backend,
    ) -> Result<Option<(Weight, usize)>, ModelError> {
        let module = self.blueprint.module(slot)?;
        let (Some(slab), false, false) = (backend.slab_bytes(), module.kind == Kind::Norm, module.bias) else {
            return Ok(None);
        };
        let StoredEncoding::Blocks(encoding) = params.encoding(slot)? else { return Ok(None) };
        let [rows, cols] = module.shape;
        let at_once = slab / encoding.row_bytes(cols).unwrap_or(usize::MAX).max(1);
        if rows <= at_once.max(1) {
            return Ok(None);
        }
        let first = self.begun.as_ref().map_or(0, |&(_, rows)| rows);
        let end = rows.min(first + at_once.max(1));
        let Some(part) = params.rows(slot, first..end)? else { return Ok(None) };
        let weight = match &self.begun {
            Some((weight, _)) => weight.clone(),
            None => backend.begin_weight(encoding, rows, cols)?,
        };
        backend.fill_weight(&weight, first, part)?;
        Ok(Some((weight, end)))
    }

    /// The model, once [`Loader::advance`] has nothing left to do.
    ///
    /// # Errors
    /// As [`Model::new`].
    ///
    /// # Panics
    /// Where weights are missing.
    pub fn finish(self, device: Device, options: &LoadOptions) -> Result<Model, ModelError> {
        assert!(self.done == self.slots.len(), "{} of {} weights are loaded", self.done, self.slots.len());
        Model::new(&self.blueprint, self.weights, device, options)
    }
}
