//! A checkpoint with changed parameters in front of it.

use std::cell::RefCell;

use honelm_model::{Checkpoint, ModelError, Parameter, Parameters, Slot, StoredEncoding};
use honelm_store::Journal;

use crate::target::{Scheme, Target};
use crate::tune::{self, TuneFigures};
use crate::{CompressError, saved};

/// A parameter that takes the place of the original one.
#[derive(Debug, Clone)]
pub struct Change {
    /// The module's canonical name.
    pub module: &'static str,
    /// Its new weight and bias.
    pub parameter: Parameter,
}

/// A checkpoint with some parameters of one layer changed, or of the modules outside of the layers.
#[derive(Debug, Clone)]
pub(crate) struct Overlay<'a> {
    base: &'a Checkpoint,
    layer: Option<usize>,
    changes: Vec<Change>,
}

impl<'a> Overlay<'a> {
    /// Returns an overlay without changes.
    pub(crate) fn new(base: &'a Checkpoint, layer: Option<usize>) -> Self {
        Self { base, layer, changes: Vec::new() }
    }

    /// Changes a parameter. A later change replaces an earlier one.
    pub(crate) fn set(&mut self, change: Change) {
        match self.changes.iter_mut().find(|c| c.module == change.module) {
            Some(earlier) => *earlier = change,
            None => self.changes.push(change),
        }
    }

    /// Returns `true` if no parameter is changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(crate) fn base(&self) -> &'a Checkpoint {
        self.base
    }

    fn find(&self, slot: Slot) -> Option<&Parameter> {
        let change = self.changes.iter().find(|c| slot.layer == self.layer && c.module == slot.module)?;
        Some(&change.parameter)
    }

    /// Checks that the parameters are what `scheme` plans: every matrix with a target has it, and all shapes are the
    /// modules' own.
    ///
    /// # Errors
    /// A description of the first difference.
    pub(crate) fn check(&self, scheme: &Scheme) -> Result<(), String> {
        let tree = self.base.tree();
        for slot in tree.slots().filter(|slot| slot.layer == self.layer) {
            let Some(module) = tree.module(slot) else { continue };
            let target = scheme.target(tree, slot, module);
            let Some(Parameter { weight, bias }) = self.find(slot) else {
                if target == Target::Keep {
                    continue;
                }
                return Err(format!("it has no '{}', expected one in {target}", slot.module));
            };
            let found = [weight.rows(), weight.cols()];
            if found != module.shape {
                return Err(format!("'{}' has the shape {found:?}, expected {:?}", slot.module, module.shape));
            }
            if !target.is_met_by(weight.into(), module.shape[1]) {
                return Err(format!("'{}' is {}, expected {target}", slot.module, weight.encoding_name()));
            }
            let (found, expected) = (bias.as_ref().map_or(0, Vec::len), module.bias_len());
            if found != expected {
                return Err(format!("the bias of '{}' has {found} values, expected {expected}", slot.module));
            }
        }
        Ok(())
    }
}

impl Parameters for Overlay<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        self.find(slot).map_or_else(|| self.base.parameter(slot), |parameter| Ok(parameter.clone()))
    }

    fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        self.find(slot).map_or_else(|| self.base.encoding(slot), |parameter| Ok((&parameter.weight).into()))
    }

    fn forget(&self) {
        self.base.forget();
    }
}

/// A checkpoint whose parameters are replaced by the compressed ones in a journal.
///
/// A layer whose journal entry is missing, damaged, or not what the scheme plans is an error; the original's parameters
/// never stand in for it.
#[derive(Debug)]
pub struct Compressed<'a> {
    base: &'a Checkpoint,
    scheme: Scheme,
    journal: Journal,
    /// `true` for the parameters after tuning, `false` for those before it.
    tuned: bool,
    /// The entry that was read last: parameters are asked for layer by layer.
    cached: RefCell<Option<Overlay<'a>>>,
}

impl<'a> Compressed<'a> {
    /// Returns the compressed model that a finished [`crate::compress`] by `scheme` left in `journal`.
    #[must_use]
    pub fn new(base: &'a Checkpoint, scheme: &Scheme, journal: Journal) -> Self {
        let tuned = scheme.recipe.tunes();
        Self { base, scheme: scheme.clone(), journal, tuned, cached: RefCell::default() }
    }

    /// Returns the model before tuning.
    pub(crate) fn untuned(&self) -> Self {
        let (scheme, journal) = (self.scheme.clone(), self.journal.clone());
        Self { base: self.base, scheme, journal, tuned: false, cached: RefCell::default() }
    }

    /// Returns the figures of the tuning; `None` if the recipe has none.
    ///
    /// # Errors
    /// I/O errors.
    pub fn tuning(&self) -> Result<Option<TuneFigures>, CompressError> {
        if self.tuned { tune::load(&self.journal) } else { Ok(None) }
    }

    fn entry_name(&self, layer: Option<usize>) -> String {
        let name = layer.map_or_else(|| "tables".to_owned(), |i| format!("layer-{i:04}"));
        if self.tuned { format!("tuned-{name}") } else { name }
    }

    /// Returns the changed parameters of a layer.
    #[cfg(feature = "tune")]
    pub(crate) fn overlay(&self, layer: Option<usize>) -> Result<Overlay<'a>, CompressError> {
        let bytes = self.journal.require(&self.entry_name(layer))?;
        self.unpack(layer, bytes)
    }

    /// Returns the scheme.
    #[cfg(feature = "tune")]
    pub(crate) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Returns `true` if the journal has an intact entry that is what the scheme plans.
    pub(crate) fn has(&self, layer: Option<usize>) -> Result<bool, CompressError> {
        let bytes = self.journal.get(&self.entry_name(layer))?;
        Ok(bytes.is_some_and(|bytes| self.unpack(layer, bytes).is_ok()))
    }

    /// Returns `true` if the journal has every layer and the modules outside of the layers.
    pub(crate) fn is_complete(&self) -> Result<bool, CompressError> {
        for layer in (0..self.base.tree().layers.len()).map(Some).chain([None]) {
            if !self.has(layer)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Saves the changed parameters of a layer.
    pub(crate) fn put(&self, overlay: &Overlay<'_>) -> Result<(), CompressError> {
        // Results that were computed from a file that changed meanwhile are not saved.
        self.base.check_unchanged()?;
        Ok(self.journal.put(&self.entry_name(overlay.layer), &saved::pack(&overlay.changes))?)
    }

    fn unpack(&self, layer: Option<usize>, bytes: Vec<u8>) -> Result<Overlay<'a>, CompressError> {
        let entry = self.entry_name(layer);
        let tree = self.base.tree();
        let modules: Vec<&'static str> = tree.slots().filter(|s| s.layer == layer).map(|s| s.module).collect();
        let overlay = Overlay { base: self.base, layer, changes: saved::unpack(&entry, bytes, &modules)? };
        overlay.check(&self.scheme).map_err(|problem| CompressError::Journal { entry, problem })?;
        Ok(overlay)
    }

    /// Runs `f` with the overlay of the layer of `slot`.
    fn with<T>(&self, slot: Slot, f: impl FnOnce(&Overlay<'a>) -> Result<T, ModelError>) -> Result<T, ModelError> {
        let mut cached = self.cached.borrow_mut();
        if cached.as_ref().is_none_or(|overlay| overlay.layer != slot.layer) {
            let read = self.journal.require(&self.entry_name(slot.layer)).map_err(CompressError::from);
            let overlay = read.and_then(|bytes| self.unpack(slot.layer, bytes));
            let replaced = |e: CompressError| ModelError::Replaced {
                module: slot.module,
                layer: slot.layer,
                reason: e.to_string(),
            };
            *cached = Some(overlay.map_err(replaced)?);
        }
        match &*cached {
            Some(overlay) => f(overlay),
            None => Err(ModelError::UnknownSlot { layer: slot.layer, module: slot.module.to_owned() }),
        }
    }
}

impl Parameters for Compressed<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        self.with(slot, |overlay| overlay.parameter(slot))
    }

    fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        self.with(slot, |overlay| overlay.encoding(slot))
    }

    fn forget(&self) {
        self.base.forget();
    }
}
