//! The compression methods: one file per method, one line per method in [`METHODS`].

mod asymmetric;
mod awq;
mod clip;
mod gptq;
mod rtn;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Change, CompressError, Stage};

pub use asymmetric::Asymmetric;
pub use awq::Awq;
pub use clip::Clip;
pub use gptq::Gptq;
pub use rtn::{Rtn, Scales};

/// The inputs of a stage that a method observes. A later variant includes the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// No inputs: the method works without a calibration text.
    Nothing,
    /// The inputs that the compressed modules before the stage produce.
    Inputs,
    /// In addition the inputs of the original model.
    Originals,
}

/// A compression method: returns changed parameters of a stage.
///
/// A method is a plain struct of settings. It reads the parameters and the observed inputs of a [`Stage`], and returns
/// new parameters: quantised matrices, but also float matrices, biases and norms.
pub trait Method: fmt::Debug {
    /// The inputs that the method observes.
    fn needs(&self) -> Needs;

    /// `true` if the method prepares the weights for a rounding that follows. Such methods at the beginning of a recipe run
    /// on all stages of a layer before the next step begins, and see the inputs that the layer has before anything in it is
    /// rounded. These are observed in one pass, on some ten thousand tokens.
    fn precedes(&self) -> bool {
        false
    }

    /// `true` if the method only moves scales between parameters, those of earlier stages among them, so that the layer
    /// computes the same. It always runs on all stages of a layer before the next step of the recipe begins.
    fn is_exact(&self) -> bool {
        false
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A description of the setting that is out of range.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Returns the parameters that the method changes.
    ///
    /// # Errors
    /// Weights that cannot be encoded, errors of the model and the back end.
    fn apply(&self, stage: &mut Stage<'_>) -> Result<Vec<Change>, CompressError>;
}

type Read = fn(Map<String, Value>) -> Result<Box<dyn Method>, String>;

/// A method that a recipe can name.
pub(crate) struct Entry {
    /// The value of `kind` in a recipe.
    pub kind: &'static str,
    /// Reads the settings.
    pub read: Read,
    /// The default settings.
    pub defaults: fn() -> Map<String, Value>,
}

/// The registry.
pub(crate) const METHODS: &[Entry] = &[
    entry::<Asymmetric>("asymmetric"),
    entry::<Awq>("awq"),
    entry::<Clip>("clip"),
    entry::<Gptq>("gptq"),
    entry::<Rtn>("rtn"),
];

const fn entry<M>(kind: &'static str) -> Entry
where
    M: Method + Default + Serialize + DeserializeOwned + 'static,
{
    Entry { kind, read: read::<M>, defaults: defaults::<M> }
}

fn read<M: Method + DeserializeOwned + 'static>(settings: Map<String, Value>) -> Result<Box<dyn Method>, String> {
    let method: M = serde_json::from_value(Value::Object(settings)).map_err(|e| e.to_string())?;
    method.check()?;
    Ok(Box::new(method))
}

/// Returns the default settings of a step.
pub(crate) fn defaults<M: Default + Serialize>() -> Map<String, Value> {
    match serde_json::to_value(M::default()) {
        Ok(Value::Object(settings)) => settings,
        _ => Map::default(),
    }
}
