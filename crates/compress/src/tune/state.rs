//! The state of a tuning as a journal entry, from which a run that was killed goes on.

use std::collections::BTreeMap;

use honelm_model::Slot;
use honelm_store::Journal;
use honelm_train::Moments;

use super::numbers::Numbers;
use crate::CompressError;

/// The journal entry.
const ENTRY: &str = "tuning";

/// The bytes of the progress: three numbers in 4 bytes each, two in 8.
const HEAD: usize = 28;

/// The progress, and the measurements on the held-out samples.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Progress {
    /// The number of steps taken.
    pub step: u32,
    /// The divergence before the first step.
    pub before: f64,
    /// The lowest divergence, and the step after which it was measured.
    pub best: f64,
    pub best_step: u32,
    /// The number of measurements since.
    pub since: u32,
}

/// The state of a tuning.
#[derive(Debug)]
pub(super) struct State {
    pub progress: Progress,
    pub ratios: BTreeMap<Slot, Vec<f32>>,
    pub moments: BTreeMap<Slot, Moments>,
    /// The ratios with the lowest divergence.
    pub best: BTreeMap<Slot, Vec<f32>>,
}

impl State {
    /// Returns the state before the first step, at which the divergence is `before`.
    pub(super) fn new(numbers: &Numbers, before: f64) -> Self {
        let ones: BTreeMap<_, _> = numbers.slots().map(|(slot, len)| (slot, vec![1.0; len])).collect();
        let moments = numbers.slots().map(|(slot, len)| (slot, Moments::zeros(len))).collect();
        let progress = Progress { step: 0, before, best: before, best_step: 0, since: 0 };
        Self { progress, best: ones.clone(), ratios: ones, moments }
    }

    /// Notes a divergence that was measured after the current step.
    pub(super) fn measured(&mut self, found: f64) {
        self.progress.since += 1;
        if found < self.progress.best {
            (self.progress.best, self.progress.best_step, self.progress.since) = (found, self.progress.step, 0);
            self.best.clone_from(&self.ratios);
        }
    }

    /// Writes the state: the progress, then all numbers, slot after slot. Text would not keep the last bit of a measurement.
    pub(super) fn save(&self, journal: &Journal) -> Result<(), CompressError> {
        let Progress { step, before, best, best_step, since } = self.progress;
        let counts = [step, best_step, since].into_iter().flat_map(u32::to_le_bytes);
        let mut out: Vec<u8> = counts.chain([before, best].into_iter().flat_map(f64::to_le_bytes)).collect();
        for ((ratios, best), moments) in self.ratios.values().zip(self.best.values()).zip(self.moments.values()) {
            for values in [ratios, best, &moments.mean, &moments.square] {
                out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
            }
        }
        Ok(journal.put(ENTRY, &out)?)
    }

    /// Reads the state; `None` if there is none, or it is of other numbers.
    pub(super) fn load(journal: &Journal, numbers: &Numbers) -> Result<Option<Self>, CompressError> {
        Ok(journal.get(ENTRY)?.and_then(|bytes| Self::unpack(&bytes, numbers)))
    }

    fn unpack(bytes: &[u8], numbers: &Numbers) -> Option<Self> {
        let (head, floats) = bytes.split_first_chunk::<HEAD>()?;
        let (counts, measured) = head.split_at(12);
        let ([step, best_step, since], [before, best]) = (counts.as_chunks::<4>().0, measured.as_chunks::<8>().0)
        else {
            return None;
        };
        let [step, best_step, since] = [step, best_step, since].map(|bytes| u32::from_le_bytes(*bytes));
        let [before, best] = [before, best].map(|bytes| f64::from_le_bytes(*bytes));
        let progress = Progress { step, before, best, best_step, since };
        let (floats, odd) = floats.as_chunks::<4>();
        let mut floats = floats.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let mut take = |len: usize| {
            let values: Vec<f32> = floats.by_ref().take(len).collect();
            (values.len() == len).then_some(values)
        };
        let mut state = Self { progress, ratios: BTreeMap::new(), moments: BTreeMap::new(), best: BTreeMap::new() };
        for (slot, len) in numbers.slots() {
            state.ratios.insert(slot, take(len)?);
            state.best.insert(slot, take(len)?);
            state.moments.insert(slot, Moments { mean: take(len)?, square: take(len)? });
        }
        (odd.is_empty() && floats.next().is_none()).then_some(state)
    }
}
