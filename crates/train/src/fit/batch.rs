//! The samples of a step with what the teacher says about them, and the losses.

use std::ops::Range;

use honelm_backend::Backend;
use honelm_cpu::Pool;
use honelm_model::{Blueprint, OutputLayer, Parameters};
use honelm_tensor::Matrix;
use serde::{Deserialize, Serialize};

use super::Stored;
use crate::loss::{Distilled, Mix, Target, distillation, mean_square};
use crate::{Loss, Top, TrainError, Trainer};

/// The loss of a training: alpha T^2 KL(teacher_T || student_T) + (1 - alpha) cross entropy, each the mean over tokens, plus the
/// losses of hidden states (Hinton, Vinyals and Dean 2015; Romero et al. 2015).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The share of the divergence, from 0 to 1.
    pub alpha: f32,
    /// The temperature T.
    pub temperature: f32,
    /// The losses of hidden states.
    pub layers: Option<LayerPairs>,
}

/// Layers of which the hidden states are compared: the mean square of their difference, divided by the mean square of the teacher's,
/// so that one weight serves all layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerPairs {
    /// The weight of the mean over the pairs.
    pub weight: f32,
    /// The layers of the student and of the teacher, from 0; if empty, every layer of the student and the one at the same share of
    /// the teacher's depth.
    pub pairs: Vec<[usize; 2]>,
}

impl Objective {
    /// Returns `true` if a step needs the teacher.
    pub(super) fn needs_teacher(&self) -> bool {
        self.alpha > 0.0 || self.layers.is_some()
    }

    /// Returns the loss by which states are chosen, given the divergence at temperature 1 and the cross entropy on held-out samples.
    pub(super) fn of(&self, divergence: f64, nll: f64) -> f64 {
        // A part of share 0 must not count even if it is not finite.
        let parts = [(f64::from(self.alpha), divergence), (1.0 - f64::from(self.alpha), nll)];
        parts.into_iter().filter(|(share, _)| *share > 0.0).map(|(share, value)| share * value).sum()
    }

    /// Returns the weights of a row's losses.
    pub(super) fn mix(&self, batch: &Batch) -> Mix {
        let [rows, tokens] = [batch.next.len(), batch.next.iter().flatten().count()].map(|n| n.max(1) as f32);
        Mix { soft: self.alpha / rows, hard: (1.0 - self.alpha) / tokens, temperature: self.temperature }
    }

    /// Returns the pairs of layers to compare.
    ///
    /// # Errors
    /// [`TrainError::Layers`] for a layer that does not exist, and for two of different widths.
    pub(super) fn pairs(&self, student: &Blueprint, teacher: &Blueprint) -> Result<Vec<[usize; 2]>, TrainError> {
        let Some(LayerPairs { pairs, .. }) = &self.layers else { return Ok(Vec::new()) };
        let [own, other] = [student, teacher].map(|model| model.facts.layers);
        let pairs = match pairs.is_empty() {
            true => (0..own).map(|i| [i, ((i + 1) * other / own.max(1)).max(1) - 1]).collect(),
            false => pairs.clone(),
        };
        let [width, expected] = [student, teacher].map(|model| model.facts.width);
        for &pair in &pairs {
            let refuse = |problem: String| Err(TrainError::Layers { pair, problem });
            if pair[0] >= own || pair[1] >= other {
                return refuse(format!("found no such layer, expected at most {own} and {other}"));
            }
            if width != expected {
                return refuse(format!("their widths are {width} and {expected}, expected equal ones"));
            }
        }
        Ok(pairs)
    }
}

/// The model that is imitated.
pub(super) struct Teacher<'a> {
    pub blueprint: &'a Blueprint,
    pub weights: &'a dyn Parameters,
    pub output: OutputLayer,
    pub context: usize,
    pub pairs: Vec<[usize; 2]>,
}

/// What is known of a teacher's distributions.
enum Known {
    Nothing,
    /// The final hidden states. // [tokens, D]
    States(Matrix),
    Top(Vec<Top>),
}

/// The samples of a step.
pub(super) struct Batch {
    pub samples: Vec<Vec<u32>>,
    /// The token after each one; `None` after the last of a sample.
    pub next: Vec<Option<u32>>,
    known: Known,
    /// The layers of the student with the hidden states to compare theirs with. // [tokens, D]
    layers: Vec<(usize, Matrix)>,
}

impl Teacher<'_> {
    /// Runs the teacher on samples, and keeps the hidden states of its layers if the loss compares them.
    pub(super) fn batch(
        &self,
        trainer: &mut Trainer<'_>,
        pool: &Pool,
        samples: &[Vec<u32>],
        with_layers: bool,
    ) -> Result<Batch, TrainError> {
        let mut own = Trainer::new(self.blueprint, self.context, trainer.device(), pool)?;
        let mut layers = Vec::new();
        let hidden = own.layers(self.weights, samples, &mut |i, x| {
            let pairs = self.pairs.iter().filter(|pair| with_layers && pair[1] == i);
            layers.extend(pairs.map(|pair| (pair[0], x.clone())));
        })?;
        let states = self.output.finish(&hidden, trainer.device())?;
        Ok(Batch { known: Known::States(states), layers, ..Batch::alone(samples.to_vec()) })
    }
}

impl Batch {
    /// Returns samples without a teacher.
    pub(super) fn alone(samples: Vec<Vec<u32>>) -> Self {
        let after = |sample: &Vec<u32>| {
            let next = sample.iter().skip(1).map(|token| Some(*token));
            next.chain((!sample.is_empty()).then_some(None)).collect::<Vec<_>>()
        };
        let next = samples.iter().flat_map(after).collect();
        Self { samples, next, known: Known::Nothing, layers: Vec::new() }
    }

    /// Returns samples with the distributions that were stored for them.
    pub(super) fn stored(
        stored: &Stored<'_>,
        places: &[usize],
        samples: Vec<Vec<u32>>,
        vocabulary: usize,
    ) -> Result<Self, TrainError> {
        let mut rows = Vec::new();
        for (&place, sample) in places.iter().zip(&samples) {
            let entry = Stored::entry(place);
            let found = stored.saves.get(&entry)?.and_then(|bytes| Top::unpack(&bytes, stored.top, vocabulary));
            match found.filter(|found| found.len() == sample.len()) {
                Some(found) => rows.extend(found),
                None => return Err(TrainError::Lost { entry }),
            }
        }
        Ok(Self { known: Known::Top(rows), ..Self::alone(samples) })
    }

    /// Returns the loss of some rows' logits.
    pub(super) fn loss(
        &self,
        pool: &Pool,
        teacher: &OutputLayer,
        (rows, logits): (Range<usize>, Matrix),
        mix: Mix,
        backend: &mut dyn Backend,
    ) -> Result<Loss, TrainError> {
        let found = self.distilled(pool, teacher, (rows, logits), mix, backend)?;
        let sum = f64::from(mix.soft) * found.soft + f64::from(mix.hard) * found.hard;
        Ok(Loss { sum, gradient: found.gradient })
    }

    /// Returns the divergence at temperature 1 and the cross entropy of some rows' logits, summed.
    pub(super) fn divergence(
        &self,
        pool: &Pool,
        teacher: &OutputLayer,
        rows: (Range<usize>, Matrix),
        backend: &mut dyn Backend,
    ) -> Result<Distilled, TrainError> {
        self.distilled(pool, teacher, rows, Mix { soft: 1.0, hard: 1.0, temperature: 1.0 }, backend)
    }

    fn distilled(
        &self,
        pool: &Pool,
        teacher: &OutputLayer,
        (rows, logits): (Range<usize>, Matrix),
        mix: Mix,
        backend: &mut dyn Backend,
    ) -> Result<Distilled, TrainError> {
        let next = &self.next[rows.clone()];
        let computed;
        let target = match &self.known {
            _ if mix.soft == 0.0 => None,
            Known::Nothing => None,
            Known::Top(known) => Some(Target::Top(&known[rows])),
            Known::States(states) => {
                computed = teacher.logits(&part(states, rows), backend)?;
                Some(Target::Logits(&computed))
            }
        };
        Ok(distillation(pool, target, next, logits, mix))
    }

    /// Returns the loss of the output of a layer of the student.
    pub(super) fn layer_loss(&self, layer: usize, x: &Matrix, objective: &Objective) -> Option<Loss> {
        let weight = f64::from(objective.layers.as_ref()?.weight) / self.layers.len().max(1) as f64;
        let mut found: Option<Loss> = None;
        for (_, target) in self.layers.iter().filter(|(own, _)| *own == layer) {
            let Loss { sum, gradient } = mean_square(target, x, weight);
            match &mut found {
                Some(loss) => {
                    loss.sum += weight * sum;
                    loss.gradient.data.iter_mut().zip(&gradient.data).for_each(|(sum, g)| *sum += g);
                }
                None => found = Some(Loss { sum: weight * sum, gradient }),
            }
        }
        found
    }
}

/// Computes a teacher's distributions for a sample at a temperature, each with the `top` most likely tokens, as an entry of
/// [`Stored`]. // `[tokens]`
///
/// # Errors
/// Those of [`Trainer::logits`].
pub fn top_of(
    trainer: &mut Trainer<'_>,
    weights: &dyn Parameters,
    sample: &[u32],
    (top, temperature): (usize, f32),
) -> Result<Vec<u8>, TrainError> {
    let hidden = trainer.hidden(weights, &[sample.to_vec()])?;
    let mut rows = Vec::new();
    trainer.logits(weights, &hidden, &mut |_, logits, _| {
        rows.extend(logits.iter_rows().map(|row| Top::new(row, top, temperature)));
        Ok(())
    })?;
    Ok(Top::pack(&rows))
}

/// Returns some rows of a matrix.
fn part(x: &Matrix, rows: Range<usize>) -> Matrix {
    Matrix::new(rows.len(), x.cols, x.data[rows.start * x.cols..rows.end * x.cols].to_vec())
}
