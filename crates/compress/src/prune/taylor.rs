//! Importance by first-order Taylor expansion.

use std::collections::BTreeMap;

use honelm_backend::Backend;
use honelm_cpu::Pool;
use honelm_model::{Checkpoint, Module, Parameters, Slot};
use honelm_store::Journal;
use honelm_tensor::Matrix;
use honelm_train::{Trainer, cross_entropy};

use crate::{Calibration, CompressError};

/// The number of samples whose gradients are added up before |w dL/dw| is taken.
const SAMPLES: usize = 4;

const ENTRY: &str = "taylor";

/// The sums of |w dL/dw| of the heads and of the neurons, by layer and consumer. // each `[units]`
#[derive(Debug, Default, PartialEq)]
pub(super) struct Scores(BTreeMap<Slot, Vec<f64>>);

impl Scores {
    /// Returns the scores of the heads or neurons of a consumer.
    pub(super) fn of(&self, slot: Slot) -> &[f64] {
        self.0.get(&slot).map(Vec::as_slice).unwrap_or_default()
    }

    /// Reads the scores of an interrupted run, or computes and saves them. `tell` is called before every step.
    pub(super) fn load_or_compute(
        checkpoint: &Checkpoint,
        calibration: &Calibration,
        journal: &Journal,
        (backend, threads): (&mut dyn Backend, usize),
        tell: &mut dyn FnMut(String) -> Result<(), CompressError>,
    ) -> Result<Self, CompressError> {
        if let Some(scores) = journal.get(ENTRY)?.and_then(|bytes| Self::unpack(checkpoint, &bytes)) {
            return Ok(scores);
        }
        let scores = Self::compute(checkpoint, calibration, backend, threads, tell)?;
        checkpoint.check_unchanged()?;
        let bytes: Vec<u8> = scores.0.values().flatten().flat_map(|score| score.to_le_bytes()).collect();
        journal.put(ENTRY, &bytes)?;
        Ok(scores)
    }

    fn zeros(checkpoint: &Checkpoint) -> Self {
        let consumer = |(i, module): (usize, &Module)| {
            let width = module.computed_by.first()?.head_width;
            Some((Slot { layer: Some(i), module: module.name }, vec![0.0; module.shape[1] / width]))
        };
        let layers = checkpoint.tree().layers.iter().enumerate();
        Self(layers.flat_map(|(i, layer)| layer.iter().map(move |module| (i, module))).filter_map(consumer).collect())
    }

    fn unpack(checkpoint: &Checkpoint, bytes: &[u8]) -> Option<Self> {
        let mut scores = Self::zeros(checkpoint);
        let (values, odd) = bytes.as_chunks::<8>();
        let mut values = values.iter().map(|bytes| f64::from_le_bytes(*bytes));
        for score in scores.0.values_mut().flatten() {
            *score = values.next()?;
        }
        (odd.is_empty() && values.next().is_none()).then_some(scores)
    }

    fn compute(
        checkpoint: &Checkpoint,
        calibration: &Calibration,
        backend: &mut dyn Backend,
        threads: usize,
        tell: &mut dyn FnMut(String) -> Result<(), CompressError>,
    ) -> Result<Self, CompressError> {
        let pool = Pool::new(Some(threads));
        let context = calibration.samples.iter().map(Vec::len).max().unwrap_or(1);
        let mut trainer = Trainer::new(checkpoint.blueprint(), context, backend, &pool)?;
        let mut scores = Self::zeros(checkpoint);
        let groups = calibration.samples.chunks(SAMPLES);
        let total = groups.len();
        for (done, samples) in groups.enumerate() {
            tell(format!("gradients, step {} of {total}", done + 1))?;
            let targets: Vec<Option<u32>> = samples.iter().flat_map(|sample| next_tokens(sample)).collect();
            let weight = 1.0 / targets.len().max(1) as f32;
            let mut failed = None;
            trainer.gradients(
                checkpoint,
                samples,
                &|slot| coupled(checkpoint, slot),
                &mut |rows, logits, _| Ok(cross_entropy(&pool, &targets[rows], logits, weight)),
                &mut |slot, gradient| {
                    if let Err(error) = scores.add(checkpoint, slot, &gradient.weight) {
                        failed.get_or_insert(error);
                    }
                },
            )?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(scores)
    }

    /// Adds |w dL/dw| of a module to the units that its rows or columns belong to. A row that several heads read counts for each of
    /// them in part.
    fn add(&mut self, checkpoint: &Checkpoint, slot: Slot, gradient: &Matrix) -> Result<(), CompressError> {
        let weight = checkpoint.parameter(slot)?.weight.dequantize();
        let product = |r: usize, c: usize| f64::from((weight.row(r)[c] * gradient.row(r)[c]).abs());
        let layer = slot.layer.and_then(|i| checkpoint.tree().layers.get(i)).map(Vec::as_slice).unwrap_or_default();
        for consumer in layer {
            let Some(scores) = self.0.get_mut(&Slot { module: consumer.name, ..slot }) else { continue };
            if consumer.name == slot.module {
                let width = consumer.shape[1] / scores.len().max(1);
                for r in 0..weight.rows {
                    (0..weight.cols).for_each(|c| scores[c / width] += product(r, c));
                }
            }
            for channels in consumer.computed_by.iter().filter(|channels| channels.module == slot.module) {
                let width = channels.head_width;
                for (unit, score) in scores.iter_mut().enumerate() {
                    let rows = channels.row(unit * width)..channels.row(unit * width) + width;
                    let sum: f64 =
                        rows.flat_map(|r| (0..weight.cols).map(move |c| (r, c))).map(|(r, c)| product(r, c)).sum();
                    *score += sum / channels.readers as f64;
                }
            }
        }
        Ok(())
    }
}

/// Returns the token after each token of a sample.
fn next_tokens(sample: &[u32]) -> impl Iterator<Item = Option<u32>> {
    sample.iter().skip(1).copied().map(Some).chain([None]).take(sample.len())
}

/// Returns `true` for a module with rows or columns of units.
fn coupled(checkpoint: &Checkpoint, slot: Slot) -> bool {
    let layer = slot.layer.and_then(|i| checkpoint.tree().layers.get(i)).into_iter().flatten();
    let consumers = layer.filter(|module| !module.computed_by.is_empty());
    consumers.into_iter().any(|consumer| {
        consumer.name == slot.module || consumer.computed_by.iter().any(|channels| channels.module == slot.module)
    })
}
