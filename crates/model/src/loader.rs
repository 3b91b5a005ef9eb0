use honelm_backend::{Backend, Weight};

use crate::weights::Weights;
use crate::{Blueprint, Device, Kind, LoadOptions, Model, ModelError, Parameters, Slot, StoredEncoding};

/// Uploads a model's weights one by one, large ones in slabs if the device asks for slabs.
///
/// The caller drives it step by step, and can show progress or stop. A step that failed can be repeated, for example after
/// fetching the part of a remote file that was missing ([`honelm_formats::FormatError::NotFetched`]).
#[derive(Debug)]
pub struct Loader {
    blueprint: Blueprint,
    slots: Vec<Slot>,
    done: usize,
    /// The weight that is being filled, and the number of its rows that are filled.
    begun: Option<(Weight, usize)>,
    weights: Weights,
}

impl Loader {
    /// Creates a loader for all weights of a model.
    #[must_use]
    pub fn new(blueprint: &Blueprint) -> Self {
        Self::in_order(blueprint, blueprint.tree.slots().collect())
    }

    /// Creates a loader for all weights of a model, in the order of `slots` ([`crate::Checkpoint::slots_as_stored`]).
    #[must_use]
    pub fn in_order(blueprint: &Blueprint, slots: Vec<Slot>) -> Self {
        Self { blueprint: blueprint.clone(), slots, done: 0, begun: None, weights: Weights::default() }
    }

    /// Returns the number of uploaded weights and of all weights.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.slots.len())
    }

    /// Uploads the next weight or slab, and returns `false` if nothing was left to upload.
    ///
    /// # Errors
    /// An invalid weight, an error of the device, or a part of a remote file that has not been fetched.
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

    /// Fills the next slab of a weight, and returns the weight with the number of its filled rows; `None` if the weight is
    /// to be uploaded whole.
    fn slab(
        &self,
        slot: Slot,
        params: &dyn Parameters,
        backend: &mut dyn Backend,
    ) -> Result<Option<(Weight, usize)>, ModelError> {
        let module = self.blueprint.module(slot)?;
        let is_whole = module.bias || matches!(module.kind, Kind::Norm | Kind::Positions | Kind::TokenTypes);
        let (Some(slab), false) = (backend.slab_bytes(), is_whole) else { return Ok(None) };
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

    /// Returns the model, once [`Loader::advance`] has uploaded everything.
    ///
    /// # Errors
    /// As [`Model::new`].
    ///
    /// # Panics
    /// Panics if weights are missing.
    pub fn finish(self, device: Device, options: &LoadOptions) -> Result<Model, ModelError> {
        assert!(self.done == self.slots.len(), "{} of {} weights are loaded", self.done, self.slots.len());
        Model::new(&self.blueprint, self.weights, device, options)
    }
}
