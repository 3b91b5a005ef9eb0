//! The trained numbers of a compressed model.

use std::collections::BTreeMap;

use honelm_blocks::{BlockError, BlockMatrix, Encoding, WeightData};
use honelm_model::{Checkpoint, Kind, ModelError, Parameter, Parameters, Slot};
use honelm_tensor::Matrix;
use honelm_train::{Numbers as _, TrainError, Trained, WeightGradient};

use crate::target::{Scheme, Target};
use crate::{Change, CompressError};

/// A parameter of which some numbers are trained.
#[derive(Debug)]
struct Base {
    /// The numbers before training.
    first: Vec<f32>,
    /// The parameter before training, whose codes stay.
    parameter: Parameter,
}

/// A compressed model in memory, with the numbers of its quantised matrices and the gains of its norms times *ratios*, which are
/// trained. All ratios are 1 at first.
#[derive(Debug)]
pub(super) struct Numbers {
    trained: BTreeMap<Slot, Base>,
    current: BTreeMap<Slot, Parameter>,
}

impl Numbers {
    /// Reads the model. Matrices that `scheme` leaves as they are, and floats, are not trained.
    pub(super) fn new(
        checkpoint: &Checkpoint,
        scheme: &Scheme,
        params: &dyn Parameters,
    ) -> Result<Self, CompressError> {
        let tree = checkpoint.tree();
        let (mut trained, mut current) = (BTreeMap::new(), BTreeMap::new());
        for slot in tree.slots() {
            let Some(module) = tree.module(slot) else { continue };
            let base = params.parameter(slot)?;
            current.insert(slot, base.clone());
            let first = match module.kind {
                Kind::Norm => base.weight.dequantize().data,
                Kind::Linear | Kind::Embedding if scheme.target(tree, slot, module) != Target::Keep => {
                    base.weight.numbers()
                }
                _ => Vec::new(),
            };
            if !first.is_empty() {
                trained.insert(slot, Base { first, parameter: base });
            }
        }
        params.forget();
        Ok(Self { trained, current })
    }

    /// Returns the trained parameters of a layer.
    pub(super) fn changes(&self, layer: Option<usize>) -> Vec<Change> {
        let own = self.trained.keys().filter(|slot| slot.layer == layer);
        let change = |slot: &Slot| {
            let parameter = self.current.get(slot)?.clone();
            Some(Change { module: slot.module, parameter })
        };
        own.filter_map(change).collect()
    }
}

impl Base {
    /// Returns the weight with other numbers.
    fn with(&self, numbers: &[f32]) -> Result<WeightData, BlockError> {
        match &self.parameter.weight {
            weight if weight.numbers_per_row() > 0 => weight.with_numbers(numbers),
            weight => {
                let encoding = match weight {
                    WeightData::Blocks(m) => m.encoding,
                    WeightData::Groups(_) => Encoding::F32,
                };
                let gains = Matrix::new(weight.rows(), weight.cols(), numbers.to_vec());
                BlockMatrix::quantize(&gains, encoding, None).map(WeightData::from)
            }
        }
    }
}

impl Parameters for Numbers {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let unknown = || ModelError::UnknownSlot { layer: slot.layer, module: slot.module.to_owned() };
        self.current.get(&slot).cloned().ok_or_else(unknown)
    }
}

impl Trained for Numbers {
    fn slots(&self) -> Vec<(Slot, usize)> {
        self.trained.iter().map(|(slot, base)| (*slot, base.first.len())).collect()
    }

    fn first(&self, slot: Slot) -> Result<Vec<f32>, TrainError> {
        Ok(vec![1.0; self.trained.get(&slot).map_or(0, |base| base.first.len())])
    }

    fn set(&mut self, slot: Slot, ratios: &[f32]) -> Result<(), TrainError> {
        let Some(base) = self.trained.get(&slot) else { return Ok(()) };
        let numbers: Vec<f32> = base.first.iter().zip(ratios).map(|(first, ratio)| first * ratio).collect();
        let weight = base.with(&numbers).map_err(|source| TrainError::Weight { slot, source })?;
        self.current.insert(slot, Parameter { weight, bias: base.parameter.bias.clone() });
        Ok(())
    }

    fn gradient(&self, slot: Slot, gradient: WeightGradient) -> Vec<f32> {
        let Some(Base { first, parameter }) = self.trained.get(&slot) else { return Vec::new() };
        let mut out = match parameter.weight.numbers_per_row() {
            0 => gradient.weight.data,
            _ => parameter.weight.number_gradients(&gradient.weight),
        };
        out.iter_mut().zip(first).for_each(|(gradient, first)| *gradient *= first);
        out
    }
}
