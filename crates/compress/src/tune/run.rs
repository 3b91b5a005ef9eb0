//! The training loop.

use std::collections::BTreeMap;

use honelm_backend::Backend;
use honelm_cpu::Pool;
use honelm_model::{Checkpoint, OutputLayer, Slot};
use honelm_store::Journal;
use honelm_tensor::Matrix;
use honelm_train::{AdamW, Schedule, TrainError, Trainer, clip, divergence, norm};

use super::numbers::Numbers;
use super::state::State;
use super::{TUNE, Tune, TuneFigures, figures};
use crate::overlay::{Compressed, Overlay};
use crate::{Calibration, CompressError, Progress, Report};

/// The share of the learning rate that is left at the last step, and the number of steps until it is reached first.
const FLOOR: f32 = 0.1;
const WARMUP: u32 = 4;

/// Samples with the original's final hidden states. // [tokens, D]
struct Batch {
    samples: Vec<Vec<u32>>,
    states: Matrix,
}

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
    let pool = Pool::new(Some(input.threads));
    let mut job = Job::new(input, &pool, backend)?;
    if let Some(warning) = job.train(&mut *report)? {
        job.tell(&mut *report, "finished", Some(warning))?;
    }
    job.finish()
}

struct Job<'a, 'c> {
    input: &'a Input<'a, 'c>,
    pool: &'a Pool,
    trainer: Trainer<'a>,
    teacher: OutputLayer,
    numbers: Numbers,
    held_out: Vec<Batch>,
    state: State,
}

impl<'a, 'c> Job<'a, 'c> {
    fn new(
        input: &'a Input<'a, 'c>,
        pool: &'a Pool,
        backend: &'a mut (dyn Backend + 'a),
    ) -> Result<Self, CompressError> {
        let Input { checkpoint, settings, samples: [train, held_out], compressed: [untuned, _], journal, .. } = input;
        let scheme = untuned.scheme();
        let mut numbers = Numbers::new(checkpoint, scheme, *untuned)?;
        let teacher = OutputLayer::load(checkpoint.blueprint(), *checkpoint, &mut *backend)?;
        let context = train.samples.iter().chain(&held_out.samples).map(Vec::len).max().unwrap_or(1);
        let mut trainer = Trainer::new(checkpoint.blueprint(), context, backend, pool)?;
        let groups = held_out.samples.chunks(settings.samples);
        let held_out = groups.map(|samples| batch(&mut trainer, &teacher, checkpoint, samples.to_vec()));
        let held_out = held_out.collect::<Result<Vec<_>, _>>()?;
        let saved = State::load(journal, &numbers)?;
        let state = match saved {
            Some(state) => state,
            None => {
                let before = measure(&mut trainer, &teacher, pool, &numbers, &held_out)?;
                State::new(&numbers, before)
            }
        };
        let fits = numbers.set(&state.ratios);
        fits.map_err(|(slot, source)| weight_error(checkpoint, slot, source))?;
        Ok(Self { input, pool, trainer, teacher, numbers, held_out, state })
    }

    /// Takes steps until the last one, or until the divergence no longer falls. Returns a warning if a step failed.
    fn train(&mut self, report: Report<'_>) -> Result<Option<String>, CompressError> {
        let settings = self.input.settings;
        while self.state.progress.step < settings.steps && self.state.progress.since < settings.patience {
            let progress = &self.state.progress;
            let stage = format!(
                "step {} of {}, divergence {:.5} before, {:.5} now",
                progress.step + 1,
                settings.steps,
                progress.before,
                progress.best
            );
            self.tell(&mut *report, &stage, None)?;
            if let Some(problem) = self.step()? {
                return Ok(Some(problem));
            }
            let step = self.state.progress.step;
            if step.is_multiple_of(settings.every) || step == settings.steps {
                let found = self.measure()?;
                self.state.measured(found);
                self.state.save(self.input.journal)?;
            }
        }
        Ok(None)
    }

    /// Takes a step. Returns the problem if its numbers cannot be used; the state is then that before it.
    fn step(&mut self) -> Result<Option<String>, CompressError> {
        let (settings, number) = (self.input.settings, self.state.progress.step + 1);
        let mut gradients = match self.gradients(number) {
            Ok(gradients) => gradients,
            Err(TrainError::NotFinite { what, value }) => {
                return Ok(Some(stopped(number, &format!("{what} is {value}"))));
            }
            Err(error) => return Err(error.into()),
        };
        let found = norm(gradients.values().map(Vec::as_slice));
        if !found.is_finite() {
            return Ok(Some(stopped(number, &format!("the norm of the gradients is {found}"))));
        }
        clip(gradients.values_mut().map(Vec::as_mut_slice), found, settings.clip);
        let adam = AdamW { rate: settings.rate, betas: [0.9, 0.95], decay: 0.0, ..AdamW::default() };
        let schedule = Schedule { warmup: WARMUP, steps: settings.steps, floor: FLOOR };
        for (slot, gradients) in &gradients {
            if let (Some(ratios), Some(moments)) = (self.state.ratios.get_mut(slot), self.state.moments.get_mut(slot)) {
                adam.step(number, schedule.factor(number), ratios, gradients, moments);
            }
        }
        if let Err((slot, problem)) = self.numbers.set(&self.state.ratios) {
            return Ok(Some(stopped(number, &format!("{}: {problem}", name(self.input.checkpoint, slot)))));
        }
        self.state.progress.step = number;
        Ok(None)
    }

    /// Returns the gradients with respect to all ratios on the samples of a step.
    fn gradients(&mut self, number: u32) -> Result<BTreeMap<Slot, Vec<f32>>, TrainError> {
        let (settings, train) = (self.input.settings, &self.input.samples[0].samples);
        let first = (number as usize - 1) * settings.samples;
        let samples: Vec<_> =
            (first..first + settings.samples.min(train.len())).map(|i| train[i % train.len()].clone()).collect();
        let Batch { samples, states } = batch(&mut self.trainer, &self.teacher, self.input.checkpoint, samples)?;
        let (numbers, teacher, pool) = (&self.numbers, &self.teacher, self.pool);
        let weight = 1.0 / states.rows.max(1) as f32;
        let mut sums: BTreeMap<Slot, Vec<f32>> = BTreeMap::new();
        self.trainer.gradients(
            numbers,
            &samples,
            &|slot| numbers.has(slot),
            &mut |rows, logits, backend| {
                let target = teacher.logits(&part(&states, rows), backend)?;
                Ok(divergence(pool, &target, logits, weight))
            },
            &mut |slot, gradient| {
                let Some(gradient) = numbers.gradient(slot, &gradient) else { return };
                match sums.get_mut(&slot) {
                    Some(sum) => sum.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g),
                    None => drop(sums.insert(slot, gradient)),
                }
            },
        )?;
        Ok(sums)
    }

    fn measure(&mut self) -> Result<f64, CompressError> {
        Ok(measure(&mut self.trainer, &self.teacher, self.pool, &self.numbers, &self.held_out)?)
    }

    /// Writes the numbers with the lowest divergence.
    fn finish(mut self) -> Result<(), CompressError> {
        let Input { checkpoint, compressed: [untuned, tuned], journal, .. } = self.input;
        let fits = self.numbers.set(&self.state.best);
        fits.map_err(|(slot, source)| weight_error(checkpoint, slot, source))?;
        for layer in (0..checkpoint.tree().layers.len()).map(Some).chain([None]) {
            let mut overlay: Overlay<'_> = untuned.overlay(layer)?;
            self.numbers.changes(layer).into_iter().for_each(|change| overlay.set(change));
            tuned.put(&overlay)?;
        }
        let progress = &self.state.progress;
        let figures = TuneFigures {
            before: progress.before,
            after: progress.best,
            steps: progress.step,
            kept: progress.best_step,
            numbers: self.numbers.slots().map(|(_, len)| len).sum(),
        };
        figures::save(journal, &figures)
    }

    fn tell(&self, report: Report<'_>, stage: &str, warning: Option<String>) -> Result<(), CompressError> {
        let (done, total) = (self.state.progress.step as usize, self.input.settings.steps as usize);
        let progress = Progress { done, total, stage: stage.to_owned(), work: TUNE.to_owned(), warning };
        if report(&progress) { Ok(()) } else { Err(CompressError::Interrupted) }
    }
}

fn stopped(number: u32, problem: &str) -> String {
    format!("tuning stopped at step {number}: {problem}; the best state before it is kept")
}

/// Runs the original on samples.
fn batch(
    trainer: &mut Trainer<'_>,
    teacher: &OutputLayer,
    checkpoint: &Checkpoint,
    samples: Vec<Vec<u32>>,
) -> Result<Batch, TrainError> {
    let hidden = trainer.hidden(checkpoint, &samples)?;
    let states = teacher.finish(&hidden, trainer.device())?;
    Ok(Batch { samples, states })
}

/// Returns the mean divergence per token on the held-out samples.
fn measure(
    trainer: &mut Trainer<'_>,
    teacher: &OutputLayer,
    pool: &Pool,
    numbers: &Numbers,
    held_out: &[Batch],
) -> Result<f64, TrainError> {
    let (mut sum, mut tokens) = (0.0, 0);
    for Batch { samples, states } in held_out {
        let hidden = trainer.hidden(numbers, samples)?;
        trainer.logits(numbers, &hidden, &mut |rows, logits, backend| {
            let target = teacher.logits(&part(states, rows), backend)?;
            sum += divergence(pool, &target, logits, 1.0).sum;
            Ok(())
        })?;
        tokens += states.rows;
    }
    Ok(sum / tokens.max(1) as f64)
}

/// Returns some rows of a matrix.
fn part(x: &Matrix, rows: std::ops::Range<usize>) -> Matrix {
    Matrix::new(rows.len(), x.cols, x.data[rows.start * x.cols..rows.end * x.cols].to_vec())
}

fn name(checkpoint: &Checkpoint, slot: Slot) -> String {
    checkpoint.tree().hf_name(slot).unwrap_or_else(|| slot.module.to_owned())
}

fn weight_error(checkpoint: &Checkpoint, slot: Slot, source: honelm_blocks::BlockError) -> CompressError {
    CompressError::Weight { name: name(checkpoint, slot), source }
}
