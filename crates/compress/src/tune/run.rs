//! The training of a compressed model against the original.

use honelm_backend::Backend;
use honelm_cpu::Pool;
use honelm_model::{Checkpoint, Slot};
use honelm_store::Journal;
use honelm_train::{
    AdamW, Fall, Fit, FitProgress, Fitted, Objective, SaveError, Saves, Schedule, Settings, TrainError,
};

use super::numbers::Numbers;
use super::{TUNE, Tune, TuneFigures, figures};
use crate::overlay::Compressed;
use crate::{Calibration, CompressError, Progress, Report};

/// The share of the learning rate that is left at the last step, and the number of steps until it is reached first.
const FLOOR: f32 = 0.1;
const WARMUP: u32 = 4;

/// The inputs of a tuning.
pub(crate) struct Input<'a, 'c> {
    pub checkpoint: &'a Checkpoint,
    pub settings: &'a Tune,
    /// The samples to train on, and those by which the best state is chosen.
    pub samples: [&'a Calibration; 2],
    /// The compressed model before tuning, and the one to write.
    pub compressed: [&'a Compressed<'c>; 2],
    pub journal: &'a Journal,
    pub threads: usize,
}

/// Tunes a compressed model. A run that was interrupted goes on after its last measurement, and ends in the same numbers.
pub(crate) fn run(input: &Input<'_, '_>, backend: &mut dyn Backend, report: Report<'_>) -> Result<(), CompressError> {
    let Input { checkpoint, settings, samples, compressed: [untuned, _], journal, threads } = input;
    let (pool, saves, settings) = (Pool::new(Some(*threads)), JournalSaves(journal), settings_of(settings));
    let mut numbers = Numbers::new(checkpoint, untuned.scheme(), *untuned)?;
    let fit = Fit {
        student: checkpoint.blueprint(),
        teacher: checkpoint.blueprint(),
        weights: *checkpoint,
        settings: &settings,
        samples: samples.map(|text| text.samples.as_slice()),
        stored: None,
        saves: &saves,
        pool: &pool,
    };
    let mut tell = |done: u32, stage: &str, warning: Option<String>| {
        let (done, total) = (done as usize, settings.steps as usize);
        report(&Progress { done, total, stage: stage.to_owned(), work: TUNE.to_owned(), warning })
    };
    let fitted = fit.run(&mut numbers, backend, &mut |progress| tell(progress.done, &stage(progress, &settings), None));
    let fitted = fitted.map_err(|error| named(error, checkpoint))?;
    if let Some(problem) = &fitted.stopped {
        let warning = format!("tuning stopped at {problem}; the best state before it is kept");
        if !tell(fitted.steps, "finished", Some(warning)) {
            return Err(CompressError::Interrupted);
        }
    }
    finish(input, &numbers, &fitted)
}

/// Returns the settings of the training: the divergence from the original over the whole vocabulary, samples as they come.
fn settings_of(tune: &Tune) -> Settings {
    Settings {
        steps: tune.steps,
        samples: tune.samples,
        adam: AdamW { rate: tune.rate, betas: [0.9, 0.95], decay: 0.0, ..AdamW::default() },
        schedule: Schedule { fall: Fall::Cosine, warmup: WARMUP, steps: tune.steps, floor: FLOOR },
        clip: tune.clip,
        every: tune.every,
        patience: tune.patience,
        objective: Objective { alpha: 1.0, temperature: 1.0, layers: None },
        shuffle: None,
    }
}

fn stage(progress: &FitProgress<'_>, settings: &Settings) -> String {
    let [before, now] = [progress.curve.first(), progress.best()].map(|m| m.map_or(f64::NAN, |m| m.divergence));
    format!("step {} of {}, divergence {before:.5} before, {now:.5} now", progress.done + 1, settings.steps)
}

/// Writes the numbers with the lowest divergence.
fn finish(input: &Input<'_, '_>, numbers: &Numbers, fitted: &Fitted) -> Result<(), CompressError> {
    let Input { checkpoint, compressed: [untuned, tuned], journal, .. } = input;
    for layer in (0..checkpoint.tree().layers.len()).map(Some).chain([None]) {
        let mut overlay = untuned.overlay(layer)?;
        numbers.changes(layer).into_iter().for_each(|change| overlay.set(change));
        tuned.put(&overlay)?;
    }
    let figures = TuneFigures {
        before: fitted.curve.first().map_or(f64::NAN, |measured| measured.divergence),
        after: fitted.kept.divergence,
        steps: fitted.steps,
        kept: fitted.kept.step,
        numbers: fitted.values,
    };
    figures::save(journal, &figures)
}

/// Names the tensor of a number that its type cannot hold.
fn named(error: TrainError, checkpoint: &Checkpoint) -> CompressError {
    let name = |slot: Slot| checkpoint.tree().hf_name(slot).unwrap_or_else(|| slot.module.to_owned());
    match error {
        TrainError::Weight { slot, source } => CompressError::Weight { name: name(slot), source },
        other => other.into(),
    }
}

/// A journal as the place of a training's work.
struct JournalSaves<'a>(&'a Journal);

impl Saves for JournalSaves<'_> {
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, SaveError> {
        Ok(self.0.get(name)?)
    }

    fn put(&self, name: &str, contents: &[u8]) -> Result<(), SaveError> {
        Ok(self.0.put(name, contents)?)
    }
}
