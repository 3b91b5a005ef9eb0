//! The settings of a distillation.

use std::path::PathBuf;

use honelm_blocks::Encoding;
use honelm_eval::{Budget, Protocol};
use honelm_train::{AdamW, Fall, LayerPairs, Objective, Schedule, Settings};

use crate::measure::StatesCache;
use crate::{Error, RunOptions, TextSource};

/// The share of the learning rate that is left at the last step.
const FLOOR: f32 = 0.1;

/// The model that learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Student {
    /// A folder or a GGUF file, whose weights are where training begins. Quantised weights are decoded.
    Model(PathBuf),
    /// A model that has not been trained, with the shape of a `config.json` and random weights.
    Config {
        /// The configuration.
        path: PathBuf,
        /// The seed of the weights.
        seed: u64,
    },
}

/// The settings of [`crate::distil`].
#[derive(Debug, Clone)]
pub struct DistilOptions {
    /// The text to train on.
    pub text: TextSource,
    /// The most samples of it.
    pub samples: usize,
    /// The number of tokens per sample.
    pub length: usize,
    /// The text by which the best state is chosen; `None` holds out the end of the training text.
    pub heldout: Option<TextSource>,
    /// The most samples that choose, at most a quarter of all where they are held out from the training text.
    pub heldout_samples: usize,
    /// The largest number of steps.
    pub steps: u32,
    /// The number of samples per step.
    pub batch: usize,
    /// The share of the divergence from the teacher in the loss; the rest is the cross entropy with the text.
    pub alpha: f32,
    /// The temperature of the divergence.
    pub temperature: f32,
    /// The losses of hidden states, if any.
    pub layers: Option<LayerPairs>,
    /// The folder of the teacher's stored distributions, which is filled first where it is not complete; `None` computes them in
    /// every step.
    pub teacher_logits: Option<PathBuf>,
    /// The number of tokens of a stored distribution; the others count as one.
    pub top: usize,
    /// The learning rate.
    pub rate: f32,
    /// The course of the learning rate after the warm-up.
    pub fall: Fall,
    /// The number of steps of the warm-up.
    pub warmup: u32,
    /// The weight decay of AdamW.
    pub decay: f32,
    /// The norm to which the gradients of a step are clipped.
    pub clip: f64,
    /// The number of steps between two measurements on the held-out samples.
    pub every: u32,
    /// The number of measurements without a new lowest loss after which training ends.
    pub patience: u32,
    /// The seed of the order of the samples.
    pub seed: u64,
    /// The number type of the written weights: F32, F16 or BF16. `None` is that of the student; F16 where it is quantised, F32 for a
    /// configuration.
    pub dtype: Option<Encoding>,
    /// The judgement of the written student.
    pub gate: DistilGate,
    /// The folder of unfinished work; `None` is beside the output.
    pub work: Option<PathBuf>,
    /// `true` to replace an earlier output.
    pub force: bool,
    /// The number of threads. Training is done on the CPU in f32.
    pub run: RunOptions,
}

/// The judgement of the written student against the teacher. Without limits there is none.
#[derive(Debug, Clone, Default)]
pub struct DistilGate {
    /// The text, which must not overlap the training text.
    pub text: TextSource,
    /// The protocol.
    pub protocol: Option<Protocol>,
    /// The largest increase in perplexity over the teacher.
    pub budget: Option<Budget>,
    /// The largest mean KL divergence from the teacher in nats, by its upper 95% bound.
    pub max_kl: Option<f64>,
    /// The cache of the teacher's hidden states; without one they are in the work folder.
    pub cache: Option<StatesCache>,
}

impl DistilGate {
    /// Returns `true` if there is a limit.
    pub(super) fn judges(&self) -> bool {
        self.budget.is_some() || self.max_kl.is_some()
    }
}

impl Default for DistilOptions {
    fn default() -> Self {
        Self {
            text: TextSource::Shipped,
            samples: 256,
            length: 512,
            heldout: None,
            heldout_samples: 16,
            steps: 200,
            batch: 4,
            alpha: 1.0,
            temperature: 1.0,
            layers: None,
            teacher_logits: None,
            top: 64,
            rate: 3e-4,
            fall: Fall::Cosine,
            warmup: 10,
            decay: 0.0,
            clip: 1.0,
            every: 20,
            patience: 5,
            seed: 0,
            dtype: None,
            gate: DistilGate::default(),
            work: None,
            force: false,
            run: RunOptions::default(),
        }
    }
}

impl DistilOptions {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Usage`] with the option, what was found and what was expected.
    pub(super) fn check(&self) -> Result<(), Error> {
        let usage = |problem: String| Err(Error::Usage(problem));
        let counts = [
            ("--steps", self.steps as usize, 1),
            ("--batch", self.batch, 1),
            ("--samples", self.samples, 1),
            ("--length", self.length, 2),
            ("--heldout-samples", self.heldout_samples, 1),
            ("--every", self.every as usize, 1),
            ("--patience", self.patience as usize, 1),
            ("--top-k", self.top, 1),
        ];
        if let Some((name, found, least)) = counts.into_iter().find(|(_, found, least)| found < least) {
            return usage(format!("{name}: found {found}, expected at least {least}"));
        }
        let numbers = [
            ("--alpha", self.alpha, 0.0..=1.0),
            ("--temperature", self.temperature, 0.1..=100.0),
            ("--rate", self.rate, f32::MIN_POSITIVE..=1.0),
            ("--decay", self.decay, 0.0..=1.0),
            ("--hidden", self.layers.as_ref().map_or(0.0, |layers| layers.weight), 0.0..=1e6),
        ];
        if let Some((name, found, range)) = numbers.into_iter().find(|(_, found, range)| !range.contains(found)) {
            return usage(format!("{name}: found {found}, expected {} to {}", range.start(), range.end()));
        }
        if !(self.clip > 0.0 && self.clip.is_finite()) {
            return usage(format!("--clip: found {}, expected a number above 0", self.clip));
        }
        if let Some(other) = self.dtype.filter(|dtype| !FLOATS.contains(dtype)) {
            return usage(format!("--dtype: found {}, expected f32, f16 or bf16", other.name()));
        }
        if self.teacher_logits.is_some() && self.layers.is_some() {
            let problem = "--teacher-logits holds no hidden states: found --hidden beside it, expected one of the two";
            return usage(problem.to_owned());
        }
        if self.teacher_logits.is_some() && self.alpha == 0.0 {
            return usage("--teacher-logits: found --alpha 0, which uses no teacher".to_owned());
        }
        Ok(())
    }

    /// Returns the settings of the training.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            steps: self.steps,
            samples: self.batch,
            adam: AdamW { rate: self.rate, betas: [0.9, 0.95], decay: self.decay, ..AdamW::default() },
            schedule: Schedule { fall: self.fall, warmup: self.warmup, steps: self.steps, floor: FLOOR },
            clip: self.clip,
            every: self.every,
            patience: self.patience,
            objective: Objective {
                alpha: self.alpha,
                temperature: self.temperature,
                layers: self.layers.clone().filter(|layers| layers.weight > 0.0),
            },
            shuffle: Some(self.seed),
        }
    }
}

/// The number types in which weights are trained and written.
pub(super) const FLOATS: [Encoding; 3] = [Encoding::F32, Encoding::F16, Encoding::BF16];
