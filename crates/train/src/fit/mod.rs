//! Training of a model's values against a teacher: the loop, the choice of the best state, and the work that is saved.

mod batch;
mod state;

use std::cell::RefCell;
use std::collections::BTreeMap;

use honelm_backend::Backend;
use honelm_cpu::Pool;
use honelm_model::{Blueprint, OutputLayer, Parameters, Slot};
use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::{AdamW, SaveError, Schedule, TrainError, Trainer, WeightGradient, clip, norm};
use batch::{Batch, Teacher};
use state::State;

pub use batch::{LayerPairs, Objective, top_of};
pub use state::Measured;

/// A model of which some values are trained: its parameters as functions of these values.
pub trait Trained: Parameters {
    /// Returns the slots with trained values, and how many each has.
    fn slots(&self) -> Vec<(Slot, usize)>;

    /// Returns the values of a slot before training.
    ///
    /// # Errors
    /// Errors of the model's files.
    fn first(&self, slot: Slot) -> Result<Vec<f32>, TrainError>;

    /// Sets the values of a slot, each rounded to the type in which it is stored.
    ///
    /// # Errors
    /// [`TrainError::Weight`] for a value that its type cannot hold.
    fn set(&mut self, slot: Slot, values: &[f32]) -> Result<(), TrainError>;

    /// Returns the gradient with respect to the values of a slot, given that with respect to its weight and bias.
    fn gradient(&self, slot: Slot, gradient: WeightGradient) -> Vec<f32>;
}

/// A place in which work is saved by name. An entry is written completely or not at all.
pub trait Saves {
    /// Returns an entry; `None` if it is absent or damaged.
    ///
    /// # Errors
    /// I/O errors.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, SaveError>;

    /// Writes an entry.
    ///
    /// # Errors
    /// I/O errors.
    fn put(&self, name: &str, contents: &[u8]) -> Result<(), SaveError>;
}

/// Saved work in memory, for a training that is not resumed by another process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemorySaves(RefCell<BTreeMap<String, Vec<u8>>>);

impl Saves for MemorySaves {
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, SaveError> {
        Ok(self.0.borrow().get(name).cloned())
    }

    fn put(&self, name: &str, contents: &[u8]) -> Result<(), SaveError> {
        self.0.borrow_mut().insert(name.to_owned(), contents.to_vec());
        Ok(())
    }
}

/// The settings of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The largest number of steps.
    pub steps: u32,
    /// The number of samples per step.
    pub samples: usize,
    /// The optimiser.
    pub adam: AdamW,
    /// The course of the learning rate over all steps.
    pub schedule: Schedule,
    /// The norm to which the gradients of a step are clipped.
    pub clip: f64,
    /// The number of steps between two measurements on the held-out samples.
    pub every: u32,
    /// The number of measurements without a new lowest loss after which training ends.
    pub patience: u32,
    /// The loss.
    pub objective: Objective,
    /// The seed of the order in which samples are taken, a new one for each pass over them; `None` takes them as they come.
    pub shuffle: Option<u64>,
}

impl Settings {
    /// Returns the numbers of the samples of a step, counted from 1. // -> `[samples]`
    #[must_use]
    pub fn order(&self, step: u32, len: usize) -> Vec<usize> {
        let first = (step as usize - 1) * self.samples;
        let mut pass: Option<(usize, Vec<usize>)> = None;
        let place = |at: usize| {
            let (number, at) = (at / len, at % len);
            let Some(seed) = self.shuffle else { return at };
            if pass.as_ref().is_none_or(|(other, _)| *other != number) {
                let mut random = Random::new(seed.wrapping_add(number as u64));
                pass = Some((number, random.permutation(len)));
            }
            pass.as_ref().map_or(at, |(_, order)| order[at])
        };
        (first..first + self.samples.min(len)).map(place).collect()
    }
}

/// The course of a training so far.
#[derive(Debug)]
pub struct FitProgress<'a> {
    /// The number of steps that were taken.
    pub done: u32,
    /// The measurements so far; the first one is before the first step.
    pub curve: &'a [Measured],
}

impl FitProgress<'_> {
    /// Returns the measurement with the lowest loss; of equal ones, the first.
    #[must_use]
    pub fn best(&self) -> Option<&Measured> {
        state::best(self.curve)
    }
}

/// The result of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The measurements; the first one is before the first step.
    pub curve: Vec<Measured>,
    /// The measurement of the state that was kept, which has the lowest loss.
    pub kept: Measured,
    /// The number of steps that were taken.
    pub steps: u32,
    /// The number of trained values.
    pub values: usize,
    /// The problem at which training ended; the state is the best one before it.
    pub stopped: Option<String>,
}

/// A training of a student against a teacher.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    /// The description of the student.
    pub student: &'a Blueprint,
    /// The description of the teacher.
    pub teacher: &'a Blueprint,
    /// The weights of the teacher.
    pub weights: &'a dyn Parameters,
    /// The settings.
    pub settings: &'a Settings,
    /// The samples to train on, and those by which the best state is chosen.
    pub samples: [&'a [Vec<u32>]; 2],
    /// The teacher's distributions for the samples to train on, see [`top_of`]; `None` computes them in each step.
    pub stored: Option<Stored<'a>>,
    /// The place of the saved work.
    pub saves: &'a dyn Saves,
    /// The threads.
    pub pool: &'a Pool,
}

/// Stored distributions of a teacher, an entry per sample.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// The place of the entries.
    pub saves: &'a dyn Saves,
    /// The number of tokens that each row names.
    pub top: usize,
}

impl Stored<'_> {
    /// Returns the name of the entry of a sample.
    #[must_use]
    pub fn entry(sample: usize) -> String {
        format!("sample-{sample:06}")
    }
}

impl std::fmt::Debug for Fit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fit").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Receives the course of a training before each step. A return value of `false` stops it, with [`TrainError::Interrupted`].
pub type FitReport<'r> = &'r mut dyn FnMut(&FitProgress<'_>) -> bool;

impl Fit<'_> {
    /// Trains until the last step, or until the loss on the held-out samples no longer falls, and sets the values of the state with
    /// the lowest loss. A training that was interrupted goes on after its last measurement and ends in the same values.
    ///
    /// # Errors
    /// An invalid model, layers that cannot be compared, work that cannot be saved, [`TrainError::Interrupted`]. A loss, gradient or
    /// value that is not finite is none: it ends the training.
    pub fn run(
        &self,
        trained: &mut dyn Trained,
        backend: &mut dyn Backend,
        report: FitReport<'_>,
    ) -> Result<Fitted, TrainError> {
        let mut run = Run::new(self, trained, backend)?;
        let stopped = run.train(report)?;
        run.finish(stopped)
    }
}

struct Run<'a> {
    fit: &'a Fit<'a>,
    trainer: Trainer<'a>,
    teacher: Teacher<'a>,
    trained: &'a mut dyn Trained,
    held_out: Vec<Batch>,
    state: State,
    /// The losses of the steps since the last measurement.
    losses: Vec<f64>,
}

impl<'a> Run<'a> {
    fn new(
        fit: &'a Fit<'a>,
        trained: &'a mut dyn Trained,
        backend: &'a mut (dyn Backend + 'a),
    ) -> Result<Self, TrainError> {
        let Fit { student, settings, samples: [train, held_out], pool, .. } = *fit;
        let context = train.iter().chain(held_out).map(Vec::len).max().unwrap_or(1);
        let pairs = settings.objective.pairs(fit.student, fit.teacher)?;
        let output = OutputLayer::load(fit.teacher, fit.weights, &mut *backend)?;
        let teacher = Teacher { blueprint: fit.teacher, weights: fit.weights, output, context, pairs };
        let mut trainer = Trainer::new(student, context, backend, pool)?;
        let measured =
            held_out.chunks(settings.samples).map(|samples| teacher.batch(&mut trainer, pool, samples, false));
        let held_out = measured.collect::<Result<Vec<_>, _>>()?;
        let saved = State::load(fit.saves, &trained.slots())?;
        let state = match saved {
            Some(state) => state,
            None => State::first(&*trained)?,
        };
        let mut run = Self { fit, trainer, teacher, trained, held_out, state, losses: Vec::new() };
        run.set()?;
        if run.state.curve.is_empty() {
            run.measure()?;
        }
        Ok(run)
    }

    /// Sets all values to those of the state.
    fn set(&mut self) -> Result<(), TrainError> {
        self.state.values.iter().try_for_each(|(slot, values)| self.trained.set(*slot, values))
    }

    /// Takes steps. Returns the problem if a step failed.
    fn train(&mut self, report: FitReport<'_>) -> Result<Option<String>, TrainError> {
        let settings = self.fit.settings;
        while self.state.step < settings.steps && self.state.since() < settings.patience as usize {
            if !report(&FitProgress { done: self.state.step, curve: &self.state.curve }) {
                return Err(TrainError::Interrupted);
            }
            let number = self.state.step + 1;
            match self.step(number) {
                Ok(()) => {}
                Err(error @ (TrainError::NotFinite { .. } | TrainError::Weight { .. })) => {
                    return Ok(Some(format!("step {number}: {error}")));
                }
                Err(error) => return Err(error),
            }
            if number.is_multiple_of(settings.every) || number == settings.steps {
                self.measure()?;
            }
        }
        Ok(None)
    }

    fn step(&mut self, number: u32) -> Result<(), TrainError> {
        let settings = self.fit.settings;
        let (loss, mut gradients) = self.gradients(number)?;
        let found = norm(gradients.values().map(Vec::as_slice));
        if !found.is_finite() {
            return Err(TrainError::NotFinite { what: "the norm of the gradients", value: found });
        }
        clip(gradients.values_mut().map(Vec::as_mut_slice), found, settings.clip);
        let factor = settings.schedule.factor(number);
        for (slot, gradients) in &gradients {
            let State { values, moments, .. } = &mut self.state;
            if let (Some(values), Some(moments)) = (values.get_mut(slot), moments.get_mut(slot)) {
                settings.adam.step_on(self.fit.pool, (number, factor), values, gradients, moments);
                self.trained.set(*slot, values)?;
            }
        }
        self.losses.push(loss);
        self.state.step = number;
        Ok(())
    }

    /// Returns the loss on the samples of a step, and its gradients with respect to all values.
    fn gradients(&mut self, number: u32) -> Result<(f64, BTreeMap<Slot, Vec<f32>>), TrainError> {
        let Fit { settings, samples: [train, _], stored, pool, .. } = *self.fit;
        let places = settings.order(number, train.len());
        let samples: Vec<Vec<u32>> = places.iter().map(|&i| train[i].clone()).collect();
        let batch = match stored {
            Some(stored) => Batch::stored(&stored, &places, samples, self.teacher.blueprint.facts.vocabulary)?,
            None if settings.objective.needs_teacher() => {
                self.teacher.batch(&mut self.trainer, pool, &samples, true)?
            }
            None => Batch::alone(samples),
        };
        let mix = settings.objective.mix(&batch);
        let (trained, output) = (&*self.trained, &self.teacher.output);
        let slots: BTreeMap<Slot, usize> = trained.slots().into_iter().collect();
        let mut sums: BTreeMap<Slot, Vec<f32>> = BTreeMap::new();
        let loss = self.trainer.gradients_with(
            trained,
            &batch.samples,
            &|slot| slots.contains_key(&slot),
            (&mut |rows, logits, backend| batch.loss(pool, output, (rows, logits), mix, backend), &mut |layer, x| {
                batch.layer_loss(layer, x, &settings.objective)
            }),
            &mut |slot, gradient| {
                let gradient = trained.gradient(slot, gradient);
                match sums.get_mut(&slot) {
                    Some(sum) => sum.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g),
                    None => drop(sums.insert(slot, gradient)),
                }
            },
        )?;
        Ok((loss, sums))
    }

    /// Measures the state on the held-out samples and saves it.
    fn measure(&mut self) -> Result<(), TrainError> {
        let (pool, output) = (self.fit.pool, &self.teacher.output);
        let ([mut soft, mut hard], mut counts) = ([0.0; 2], [0; 2]);
        for batch in &self.held_out {
            let hidden = self.trainer.hidden(&*self.trained, &batch.samples)?;
            self.trainer.logits(&*self.trained, &hidden, &mut |rows, logits, backend| {
                let found = batch.divergence(pool, output, (rows, logits), backend)?;
                soft += found.soft;
                hard += found.hard;
                Ok(())
            })?;
            counts[0] += batch.next.len();
            counts[1] += batch.next.iter().flatten().count();
        }
        let [divergence, nll] = [(soft, counts[0]), (hard, counts[1])].map(|(sum, n)| sum / n.max(1) as f64);
        let steps = std::mem::take(&mut self.losses);
        let training = (!steps.is_empty()).then(|| steps.iter().sum::<f64>() / steps.len() as f64);
        let loss = self.fit.settings.objective.of(divergence, nll);
        self.state.curve.push(Measured { step: self.state.step, training, divergence, nll, loss });
        self.state.save(self.fit.saves)
    }

    /// Sets the values with the lowest loss.
    fn finish(self, stopped: Option<String>) -> Result<Fitted, TrainError> {
        let slots = self.trained.slots();
        for (slot, values) in state::best_values(self.fit.saves, &slots)? {
            self.trained.set(slot, &values)?;
        }
        let State { curve, step, .. } = self.state;
        let kept = state::best(&curve).copied().ok_or(TrainError::NoTokens)?;
        Ok(Fitted { kept, curve, steps: step, values: slots.iter().map(|(_, len)| len).sum(), stopped })
    }
}
