//! The divergence of pruned models from the original on held-out samples.

use honelm_backend::Backend;
use honelm_eval::divergences;
use honelm_model::{Checkpoint, OutputLayer, Parameters, Stream};
use honelm_tensor::Matrix;

use crate::activations::STEP_ROWS;
use crate::{Calibration, CompressError};

/// The number of rows whose logits are in memory at a time.
const LOGIT_ROWS: usize = 64;

/// The original's outputs on held-out samples.
pub(super) struct Probe<'a> {
    original: &'a Checkpoint,
    samples: &'a Calibration,
    stream: Stream,
    output: OutputLayer,
    /// The final hidden states of each step. // each [rows, D]
    outputs: Vec<Matrix>,
}

/// Hidden states at the entrance of a layer. // each [rows, D]
pub(super) type States = Vec<Matrix>;

impl<'a> Probe<'a> {
    /// Runs the original.
    pub(super) fn new(
        original: &'a Checkpoint,
        samples: &'a Calibration,
        backend: &mut dyn Backend,
    ) -> Result<Self, CompressError> {
        let output = OutputLayer::load(original.blueprint(), original, backend)?;
        let stream = Stream::new(original, longest(samples))?;
        let mut probe = Self { original, samples, stream, output, outputs: Vec::new() };
        let mut states = probe.start(backend)?;
        for i in 0..original.facts().layers {
            probe.pass(&mut states, i, backend)?;
        }
        probe.outputs = finished(&probe.output, &states, backend)?;
        Ok(probe)
    }

    /// Returns the embeddings of the samples.
    pub(super) fn start(&mut self, backend: &mut dyn Backend) -> Result<States, CompressError> {
        start(&mut self.stream, self.original, self.samples, backend)
    }

    /// Moves states past layer `i` of the original.
    pub(super) fn pass(
        &mut self,
        states: &mut States,
        i: usize,
        backend: &mut dyn Backend,
    ) -> Result<(), CompressError> {
        pass(&mut self.stream, self.original, self.samples, states, i, backend)
    }

    /// Returns the mean divergence per token of outputs of the last layer from the original's.
    pub(super) fn divergence(&self, states: &States, backend: &mut dyn Backend) -> Result<f64, CompressError> {
        self.divergence_of(&self.output, states, backend)
    }

    /// Returns the mean divergence per token of another model with the same vocabulary.
    pub(super) fn divergence_from(&self, other: &Checkpoint, backend: &mut dyn Backend) -> Result<f64, CompressError> {
        let mut stream = Stream::new(other, longest(self.samples))?;
        let mut states = start(&mut stream, other, self.samples, backend)?;
        for i in 0..other.facts().layers {
            pass(&mut stream, other, self.samples, &mut states, i, backend)?;
        }
        let output = OutputLayer::load(other.blueprint(), other, backend)?;
        self.divergence_of(&output, &states, backend)
    }

    fn divergence_of(
        &self,
        output: &OutputLayer,
        states: &States,
        backend: &mut dyn Backend,
    ) -> Result<f64, CompressError> {
        let found = finished(output, states, backend)?;
        let mut sum = 0.0;
        for (original, other) in self.outputs.iter().zip(&found) {
            for first in (0..original.rows).step_by(LOGIT_ROWS) {
                let rows = first..(first + LOGIT_ROWS).min(original.rows);
                let base = self.output.logits(&part(original, rows.clone()), backend)?;
                let logits = output.logits(&part(other, rows), backend)?;
                sum += divergences(&base, &logits).iter().sum::<f64>();
            }
        }
        Ok(sum / self.samples.tokens().max(1) as f64)
    }
}

fn longest(samples: &Calibration) -> usize {
    samples.samples.iter().map(Vec::len).max().unwrap_or(1)
}

/// Returns the samples that run together.
fn steps(samples: &Calibration) -> impl Iterator<Item = &[Vec<u32>]> {
    samples.samples.chunks((STEP_ROWS / longest(samples)).max(1))
}

fn start(
    stream: &mut Stream,
    params: &dyn Parameters,
    samples: &Calibration,
    backend: &mut dyn Backend,
) -> Result<States, CompressError> {
    steps(samples).map(|group| Ok(stream.embed(params, group, &mut *backend)?)).collect()
}

fn pass(
    stream: &mut Stream,
    params: &dyn Parameters,
    samples: &Calibration,
    states: &mut States,
    i: usize,
    backend: &mut dyn Backend,
) -> Result<(), CompressError> {
    let bound = stream.bind(params, i, backend)?;
    for (x, group) in states.iter_mut().zip(steps(samples)) {
        let lengths: Vec<usize> = group.iter().map(Vec::len).collect();
        *x = stream.run(&bound, i, x, &lengths, backend)?;
    }
    Ok(())
}

fn finished(output: &OutputLayer, states: &States, backend: &mut dyn Backend) -> Result<States, CompressError> {
    states.iter().map(|x| Ok(output.finish(x, &mut *backend)?)).collect()
}

fn part(x: &Matrix, rows: std::ops::Range<usize>) -> Matrix {
    Matrix::new(rows.len(), x.cols, x.data[rows.start * x.cols..rows.end * x.cols].to_vec())
}
