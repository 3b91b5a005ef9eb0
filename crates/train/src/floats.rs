//! All weights of a model as trained values, and weights to begin with.

use std::collections::BTreeMap;

use honelm_blocks::{BlockMatrix, Encoding};
use honelm_model::{Blueprint, HfForm, Kind, ModelError, Parameter, Parameters, Slot};
use honelm_tensor::Matrix;

use crate::random::Random;
use crate::{TrainError, Trained, WeightGradient};

/// A model whose weights and biases are all trained, rounded to the floats in which they are written.
pub struct Floats<'a> {
    blueprint: &'a Blueprint,
    first: &'a dyn Parameters,
    encoding: Encoding,
    current: BTreeMap<Slot, Parameter>,
}

impl std::fmt::Debug for Floats<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Floats").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

impl<'a> Floats<'a> {
    /// Creates a model with the weights of `first`, which are stored in `encoding`, a float. Nothing is read before the values are
    /// set. A gain that is stored less 1 is F32, as exporters write it.
    #[must_use]
    pub fn new(blueprint: &'a Blueprint, first: &'a dyn Parameters, encoding: Encoding) -> Self {
        Self { blueprint, first, encoding, current: BTreeMap::new() }
    }

    /// Returns the number of values of a slot's weight; those of its bias follow them.
    fn weights(&self, slot: Slot) -> usize {
        self.blueprint.tree.module(slot).map_or(0, |module| module.shape[0] * module.shape[1])
    }
}

impl Parameters for Floats<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let unknown = || ModelError::UnknownSlot { layer: slot.layer, module: slot.module.to_owned() };
        self.current.get(&slot).cloned().ok_or_else(unknown)
    }
}

impl Trained for Floats<'_> {
    fn slots(&self) -> Vec<(Slot, usize)> {
        let tree = &self.blueprint.tree;
        let values = |slot: Slot| tree.module(slot).map(|module| (slot, module.parameters() as usize));
        tree.slots().filter_map(values).collect()
    }

    fn first(&self, slot: Slot) -> Result<Vec<f32>, TrainError> {
        let Parameter { weight, bias } = self.first.parameter(slot)?;
        let mut values = weight.dequantize().data;
        values.extend(bias.into_iter().flatten());
        self.first.forget();
        Ok(values)
    }

    fn set(&mut self, slot: Slot, values: &[f32]) -> Result<(), TrainError> {
        let module = self.blueprint.module(slot)?;
        let ([rows, cols], weights) = (module.shape, self.weights(slot));
        let weight = Matrix::new(rows, cols, values[..weights].to_vec());
        let encoding = if module.hf_form == HfForm::MinusOne { Encoding::F32 } else { self.encoding };
        let failed = |source| TrainError::Weight { slot, source };
        let weight = BlockMatrix::quantize(&weight, encoding, None).map_err(failed)?.into();
        let bias = module.bias.then(|| values[weights..].to_vec());
        self.current.insert(slot, Parameter { weight, bias });
        Ok(())
    }

    fn gradient(&self, _slot: Slot, gradient: WeightGradient) -> Vec<f32> {
        let mut values = gradient.weight.data;
        values.extend(gradient.bias.into_iter().flatten());
        values
    }
}

/// The weights of a model that has not been trained: normal random numbers, gains of 1 and biases of 0, as Hugging Face initialises
/// models. They depend on the seed alone.
#[derive(Debug, Clone, Copy)]
pub struct Initial<'a> {
    /// The model.
    pub blueprint: &'a Blueprint,
    /// The seed.
    pub seed: u64,
    /// The standard deviation: `initializer_range` of `config.json`.
    pub deviation: f32,
}

impl Parameters for Initial<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let module = self.blueprint.module(slot)?;
        let [rows, cols] = module.shape;
        let place = self.blueprint.tree.slots().position(|other| other == slot).unwrap_or(0) as u64;
        // Each weight has a sequence of its own, whose start is a random number.
        let mut random = Random::new(Random::new(self.seed.wrapping_add(place)).next());
        let values = match module.kind {
            Kind::Norm => vec![1.0; rows * cols],
            _ => (0..rows * cols).map(|_| random.normal() * self.deviation).collect(),
        };
        let file = "initial weights".to_owned();
        let failed = |source| ModelError::Weight { file, tensor: module.name.to_owned(), source };
        let weight = BlockMatrix::quantize(&Matrix::new(rows, cols, values), Encoding::F32, None).map_err(failed)?;
        Ok(Parameter { weight: weight.into(), bias: module.bias.then(|| vec![0.0; module.bias_len()]) })
    }
}
