//! The state of a training, and the entries in which it is saved.
//!
//! Values and moments are written layer by layer into one of two sets of entries, in turn; the curve, which is written last, says
//! which one is complete. So a training that is killed while it saves goes on from the state before, and the memory that saving takes
//! is that of a layer.

use std::collections::BTreeMap;

use honelm_model::Slot;
use serde::{Deserialize, Serialize};

use super::{Saves, Trained};
use crate::{Moments, TrainError};

/// The entry of the curve, which every other entry's name begins with.
const ENTRY: &str = "training";

/// The bytes of a measurement: the step in 4, four numbers in 8 each.
const MEASURED: usize = 36;

/// A measurement on the held-out samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The number of steps taken before it.
    pub step: u32,
    /// The mean loss of the steps since the last measurement, by the training's objective; `None` before the first step.
    pub training: Option<f64>,
    /// The mean divergence from the teacher, over the whole vocabulary at temperature 1, in nats per token.
    pub divergence: f64,
    /// The mean cross entropy with the next token in nats.
    pub nll: f64,
    /// The loss by which the best state is chosen: alpha times the divergence plus 1 - alpha times the cross entropy.
    pub loss: f64,
}

/// Returns the measurement with the lowest loss; of equal ones, the first.
pub(super) fn best(curve: &[Measured]) -> Option<&Measured> {
    curve.iter().reduce(|best, next| if next.loss < best.loss || best.loss.is_nan() { next } else { best })
}

/// The state of a training.
pub(super) struct State {
    pub step: u32,
    pub curve: Vec<Measured>,
    pub values: BTreeMap<Slot, Vec<f32>>,
    pub moments: BTreeMap<Slot, Moments>,
}

impl State {
    /// Returns the state before the first step.
    pub(super) fn first(trained: &dyn Trained) -> Result<Self, TrainError> {
        let slots = trained.slots();
        let values = slots.iter().map(|&(slot, _)| Ok((slot, trained.first(slot)?)));
        let values = values.collect::<Result<_, TrainError>>()?;
        let moments = slots.iter().map(|&(slot, len)| (slot, Moments::zeros(len))).collect();
        Ok(Self { step: 0, curve: Vec::new(), values, moments })
    }

    /// Returns the number of measurements since the one with the lowest loss.
    pub(super) fn since(&self) -> usize {
        let lowest = best(&self.curve).map_or(0, |best| best.step);
        self.curve.iter().filter(|measured| measured.step > lowest).count()
    }

    /// Writes the state after a measurement, and its values as the best ones if they are.
    pub(super) fn save(&self, saves: &dyn Saves) -> Result<(), TrainError> {
        let is_best = self.since() == 0;
        for layer in layers(self.values.keys().copied()) {
            let (mut values, mut moments) = (Vec::new(), Vec::new());
            for (slot, own) in self.values.iter().filter(|(slot, _)| slot.layer == layer) {
                put(&mut values, own);
                if let Some(Moments { mean, square }) = self.moments.get(slot) {
                    put(&mut moments, mean);
                    put(&mut moments, square);
                }
            }
            if is_best {
                saves.put(&name("best", layer), &values)?;
            }
            values.extend(moments);
            saves.put(&name(turn(self.curve.len()), layer), &values)?;
        }
        let mut curve = Vec::with_capacity(self.curve.len() * MEASURED);
        for m in &self.curve {
            curve.extend(m.step.to_le_bytes());
            // Text would not keep the last bit of a measurement.
            let numbers = [m.training.unwrap_or(f64::NAN), m.divergence, m.nll, m.loss];
            curve.extend(numbers.into_iter().flat_map(f64::to_le_bytes));
        }
        Ok(saves.put(ENTRY, &curve)?)
    }

    /// Reads the state; `None` if there is none, or it is of other values.
    pub(super) fn load(saves: &dyn Saves, slots: &[(Slot, usize)]) -> Result<Option<Self>, TrainError> {
        let Some(curve) = saves.get(ENTRY)?.as_deref().and_then(curve_of) else { return Ok(None) };
        let Some(last) = curve.last() else { return Ok(None) };
        let mut state = Self { step: last.step, curve: Vec::new(), values: BTreeMap::new(), moments: BTreeMap::new() };
        for layer in layers(slots.iter().map(|(slot, _)| *slot)) {
            let own = of_layer(slots, layer);
            let Some(bytes) = saves.get(&name(turn(curve.len()), layer))? else { return Ok(None) };
            let mut floats = Floats(&bytes);
            for &(slot, len) in &own {
                let Some(values) = floats.take(len) else { return Ok(None) };
                state.values.insert(slot, values);
            }
            for &(slot, len) in &own {
                let (Some(mean), Some(square)) = (floats.take(len), floats.take(len)) else { return Ok(None) };
                state.moments.insert(slot, Moments { mean, square });
            }
            if !floats.0.is_empty() {
                return Ok(None);
            }
        }
        state.curve = curve;
        Ok(Some(state))
    }
}

/// Reads the values with the lowest loss.
///
/// # Errors
/// [`TrainError::Lost`].
pub(super) fn best_values(saves: &dyn Saves, slots: &[(Slot, usize)]) -> Result<BTreeMap<Slot, Vec<f32>>, TrainError> {
    let mut found = BTreeMap::new();
    for layer in layers(slots.iter().map(|(slot, _)| *slot)) {
        let entry = name("best", layer);
        let bytes = saves.get(&entry)?.unwrap_or_default();
        let mut floats = Floats(&bytes);
        for (slot, len) in of_layer(slots, layer) {
            let lost = || TrainError::Lost { entry: entry.clone() };
            found.insert(slot, floats.take(len).ok_or_else(lost)?);
        }
    }
    Ok(found)
}

/// Returns the layers of slots, each once.
fn layers(slots: impl Iterator<Item = Slot>) -> Vec<Option<usize>> {
    let found: std::collections::BTreeSet<_> = slots.map(|slot| slot.layer).collect();
    found.into_iter().collect()
}

/// Returns the slots of a layer in the order in which they are written.
fn of_layer(slots: &[(Slot, usize)], layer: Option<usize>) -> Vec<(Slot, usize)> {
    let mut own: Vec<_> = slots.iter().filter(|(slot, _)| slot.layer == layer).copied().collect();
    own.sort_unstable();
    own
}

/// Returns the set of entries that a state with this number of measurements is written to.
fn turn(measurements: usize) -> &'static str {
    if measurements.is_multiple_of(2) { "even" } else { "odd" }
}

fn name(set: &str, layer: Option<usize>) -> String {
    layer.map_or_else(|| format!("{ENTRY}-{set}-tables"), |i| format!("{ENTRY}-{set}-{i:04}"))
}

fn curve_of(bytes: &[u8]) -> Option<Vec<Measured>> {
    let (parts, odd) = bytes.as_chunks::<MEASURED>();
    let measured = |bytes: &[u8; MEASURED]| {
        let (step, numbers) = bytes.split_first_chunk::<4>()?;
        let &[training, divergence, nll, loss] = numbers.as_chunks::<8>().0 else { return None };
        let [training, divergence, nll, loss] = [training, divergence, nll, loss].map(f64::from_le_bytes);
        let training = Some(training).filter(|loss| !loss.is_nan());
        Some(Measured { step: u32::from_le_bytes(*step), training, divergence, nll, loss })
    };
    let curve = parts.iter().map(measured).collect::<Option<_>>()?;
    odd.is_empty().then_some(curve)
}

fn put(out: &mut Vec<u8>, values: &[f32]) {
    out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
}

/// The rest of an entry.
struct Floats<'b>(&'b [u8]);

impl Floats<'_> {
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let (own, rest) = self.0.split_at_checked(len.checked_mul(4)?)?;
        self.0 = rest;
        Some(own.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}
