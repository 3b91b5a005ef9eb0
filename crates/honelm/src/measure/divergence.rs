//! Finds the first layer at which two checkpoints of a model differ.
//!
//! Both run side by side, layer by layer. Each layer of the second one is also run on the first one's input. The
//! difference of these outputs comes from the layer itself, not from the layers before it.

use std::path::{Path, PathBuf};

use honelm_cpu::{Compute, CpuBackend};
use honelm_model::{Checkpoint, OutputLayer, Parameters, Stream};
use honelm_tensor::Matrix;
use serde::Serialize;

use super::context_of;
use crate::open::{open, tokenizer_of};
use crate::{Error, Event, Events, RunOptions, TextSource};

/// The settings of [`diverge`].
#[derive(Debug, Clone)]
pub struct DivergeOptions {
    /// The reference checkpoint.
    pub model: PathBuf,
    /// The checkpoint to compare.
    pub other: PathBuf,
    /// The text that both read, with the reference's tokenizer.
    pub text: TextSource,
    /// The number of tokens to read from the start of the text.
    pub tokens: usize,
    /// The largest own difference at which a layer counts as equal.
    pub tolerance: f64,
    /// The number of threads and the context. Everything is computed in f32 on the CPU.
    pub run: RunOptions,
}

/// The result of [`diverge`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// The reference checkpoint.
    pub model: PathBuf,
    /// The checkpoint that was compared.
    pub other: PathBuf,
    /// The number of tokens read.
    pub tokens: usize,
    /// The largest own difference at which a layer counts as equal.
    pub tolerance: f64,
    /// The embedding, the layers, the last norm, and the logits.
    pub layers: Vec<LayerDifference>,
    /// The index in `layers` of the first layer that differs.
    pub first: Option<usize>,
    /// The weights of that layer, the most different first.
    pub weights: Vec<WeightDifference>,
    /// The mean of KL(model || other) over the tokens, in nats.
    pub kl_divergence: f64,
    /// The percentage of positions at which both find the same token most likely.
    pub same_top_percent: f64,
}

/// The difference of two checkpoints after a layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerDifference {
    /// `embedding`, `layer 3`, `norm`, `logits`.
    pub layer: String,
    /// The root mean square (RMS) of the reference's output.
    pub rms: f64,
    /// The RMS of the difference divided by `rms`; each checkpoint has run on its own from the tokens on.
    pub difference: f64,
    /// The same with the reference's input given to both. For a layer, divided by the RMS of the reference layer's
    /// output minus its input.
    pub own_difference: f64,
    /// The token position with the largest difference.
    pub worst_position: usize,
}

/// The difference of two weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightDifference {
    /// The canonical name: `q`, `mlp_norm`, `v bias`.
    pub weight: String,
    /// The RMS of the difference divided by the RMS of the reference's values.
    pub difference: f64,
    /// The largest absolute difference of two values.
    pub largest: f64,
}

/// Compares two checkpoints of a model layer by layer. One layer of each is in memory at a time.
///
/// # Errors
/// Checkpoints of different shapes, an invalid file, [`Error::Interrupted`] if `events` returns `false`.
pub fn diverge(options: &DivergeOptions, events: Events<'_>) -> Result<Divergence, Error> {
    let (a, b) = (open(&options.model, &options.run, &mut *events)?, open(&options.other, &options.run, &mut *events)?);
    check_alike(&a, &b, &options.other)?;
    let text = options.text.heldout()?;
    let mut tokens = tokenizer_of(&a)?.encode_running(&text.documents[0])?;
    let context = context_of(&a, &options.run).min(b.facts().context);
    tokens.truncate(options.tokens.min(context));
    if tokens.is_empty() {
        return Err(Error::Text { path: text.name, problem: "no tokens to compare on".to_owned() });
    }
    let mut pair = Pair::new([&a, &b], tokens, &options.run)?;
    let count = a.facts().layers;
    let mut step = |done: usize| {
        let stage = Event::Stage { name: "comparing", detail: "", done, total: count + 2 };
        if events(&stage) { Ok(()) } else { Err(Error::Interrupted) }
    };
    let mut layers = vec![pair.embed()?];
    for i in 0..count {
        step(i + 1)?;
        layers.push(pair.layer(i)?);
    }
    step(count + 1)?;
    let (kl_divergence, same_top_percent) = pair.head(&mut layers)?;
    step(count + 2)?;
    let first = layers.iter().position(|l| parts(l.own_difference, options.tolerance));
    let weights = first.map(|i| weights(&a, &b, i.checked_sub(1).filter(|&i| i < count)));
    a.check_unchanged()?;
    b.check_unchanged()?;
    Ok(Divergence {
        model: options.model.clone(),
        other: options.other.clone(),
        tokens: pair.tokens.len(),
        tolerance: options.tolerance,
        layers,
        first,
        weights: weights.unwrap_or_default(),
        kl_divergence,
        same_top_percent,
    })
}

/// Returns `true` if a difference exceeds the tolerance or is NaN.
fn parts(difference: f64, tolerance: f64) -> bool {
    difference.is_nan() || difference > tolerance
}

fn check_alike(a: &Checkpoint, b: &Checkpoint, other: &Path) -> Result<(), Error> {
    let (fa, fb) = (a.facts(), b.facts());
    for (what, found, expected) in [
        ("layers", fb.layers, fa.layers),
        ("model width", fb.width, fa.width),
        ("vocabulary", fb.vocabulary, fa.vocabulary),
    ] {
        if found != expected {
            let problem = format!("{what}: found {found}, expected the model's {expected}");
            return Err(Error::Usage(format!("{}: not a checkpoint of the same model: {problem}", other.display())));
        }
    }
    Ok(())
}

/// Two checkpoints that run side by side.
struct Pair<'a> {
    checkpoints: [&'a Checkpoint; 2],
    streams: [Stream; 2],
    backend: CpuBackend,
    tokens: Vec<u32>,
    /// The hidden states of each. // [N, D]
    states: [Matrix; 2],
}

impl<'a> Pair<'a> {
    fn new(checkpoints: [&'a Checkpoint; 2], tokens: Vec<u32>, run: &RunOptions) -> Result<Self, Error> {
        let backend = RunOptions { compute: Compute::F32, ..run.clone() }.cpu();
        let [a, b] = checkpoints;
        let streams = [Stream::new(a, tokens.len())?, Stream::new(b, tokens.len())?];
        Ok(Self { checkpoints, streams, backend, tokens, states: [Matrix::zeros(0, 0), Matrix::zeros(0, 0)] })
    }

    fn embed(&mut self) -> Result<LayerDifference, Error> {
        let sequences = [self.tokens.clone()];
        for ((stream, checkpoint), state) in self.streams.iter_mut().zip(self.checkpoints).zip(&mut self.states) {
            *state = stream.embed(checkpoint, &sequences, &mut self.backend)?;
        }
        let [a, b] = &self.states;
        let (rms, found) = (rms(&a.data), distance(a, b));
        let relative = ratio(found.rms, rms);
        let layer = "embedding".to_owned();
        Ok(LayerDifference { layer, rms, difference: relative, own_difference: relative, worst_position: found.row })
    }

    fn layer(&mut self, i: usize) -> Result<LayerDifference, Error> {
        let lengths = [self.tokens.len()];
        let ([first, second], [x, other_x]) = (&mut self.streams, &self.states);
        let bound = first.bind(self.checkpoints[0], i, &mut self.backend)?;
        let a = first.run(&bound, i, x, &lengths, &mut self.backend)?;
        drop(bound);
        let bound = second.bind(self.checkpoints[1], i, &mut self.backend)?;
        let alone = second.run(&bound, i, x, &lengths, &mut self.backend)?;
        let b = second.run(&bound, i, other_x, &lengths, &mut self.backend)?;
        drop(bound);
        let (rms, apart) = (rms(&a.data), distance(&a, &b));
        let difference = LayerDifference {
            layer: format!("layer {i}"),
            rms,
            difference: ratio(apart.rms, rms),
            own_difference: ratio(distance(&a, &alone).rms, distance(&a, x).rms),
            worst_position: apart.row,
        };
        self.states = [a, b];
        Ok(difference)
    }

    /// Runs the last norm and the output layer. Returns the KL divergence and the percentage of equal top tokens.
    fn head(&mut self, layers: &mut Vec<LayerDifference>) -> Result<(f64, f64), Error> {
        let backend = &mut self.backend;
        let [first, second] = self.checkpoints;
        let (a, b) = (
            OutputLayer::load(first.blueprint(), first, backend)?,
            OutputLayer::load(second.blueprint(), second, backend)?,
        );
        let [x, other_x] = &self.states;
        let norm = [a.finish(x, backend)?, b.finish(x, backend)?, b.finish(other_x, backend)?];
        layers.push(layer("norm", &norm));
        let logits = [a.logits(&norm[0], backend)?, b.logits(&norm[0], backend)?, b.logits(&norm[2], backend)?];
        layers.push(layer("logits", &logits));
        let rows = logits[0].iter_rows().zip(logits[2].iter_rows());
        let (mut kl, mut same) = (0.0, 0usize);
        for (a, b) in rows {
            kl += divergence(a, b);
            same += usize::from(top(a) == top(b));
        }
        let n = self.tokens.len() as f64;
        Ok((kl / n, same as f64 * 100.0 / n))
    }
}

/// Compares three outputs of a layer: the reference's, the other's on the reference's input, and the other's on its own
/// input.
fn layer(name: &str, [a, alone, b]: &[Matrix; 3]) -> LayerDifference {
    let (rms, apart) = (rms(&a.data), distance(a, b));
    LayerDifference {
        layer: name.to_owned(),
        rms,
        difference: ratio(apart.rms, rms),
        own_difference: ratio(distance(a, alone).rms, rms),
        worst_position: apart.row,
    }
}

/// Returns the differences of the weights of a layer, or of those outside the layers, that both checkpoints have.
fn weights(a: &Checkpoint, b: &Checkpoint, layer: Option<usize>) -> Vec<WeightDifference> {
    let mut out = Vec::new();
    for slot in a.blueprint().tree.slots().filter(|slot| slot.layer == layer) {
        let (Ok(x), Ok(y)) = (a.parameter(slot), b.parameter(slot)) else { continue };
        if (x.weight.rows(), x.weight.cols()) != (y.weight.rows(), y.weight.cols()) {
            continue;
        }
        out.push(weight_difference(slot.module.to_owned(), &x.weight.dequantize().data, &y.weight.dequantize().data));
        if let (Some(x), Some(y)) = (&x.bias, &y.bias) {
            out.push(weight_difference(format!("{} bias", slot.module), x, y));
        }
    }
    out.sort_by(|x, y| y.difference.total_cmp(&x.difference));
    out
}

fn weight_difference(weight: String, a: &[f32], b: &[f32]) -> WeightDifference {
    let largest = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    let apart: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    WeightDifference { weight, difference: ratio(rms(&apart), rms(a)), largest }
}

struct Distance {
    rms: f64,
    /// The row with the largest difference.
    row: usize,
}

/// Returns the distance of two matrices of the same shape.
fn distance(a: &Matrix, b: &Matrix) -> Distance {
    let of_row = |(a, b): (&[f32], &[f32])| -> f64 {
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    };
    let rows: Vec<f64> = a.iter_rows().zip(b.iter_rows()).map(of_row).collect();
    let row = (0..rows.len()).max_by(|&i, &j| rows[i].total_cmp(&rows[j])).unwrap_or(0);
    Distance { rms: (rows.iter().sum::<f64>() / a.data.len().max(1) as f64).sqrt(), row }
}

pub(super) fn rms(x: &[f32]) -> f64 {
    (x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / x.len().max(1) as f64).sqrt()
}

/// Returns `a / b`, and 0 for `0 / 0`.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a / b }
}

/// Returns KL(softmax(a) || softmax(b)) in nats.
pub(super) fn divergence(a: &[f32], b: &[f32]) -> f64 {
    let normaliser = |x: &[f32]| {
        let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        f64::from(top) + x.iter().map(|v| f64::from(v - top).exp()).sum::<f64>().ln()
    };
    let (za, zb) = (normaliser(a), normaliser(b));
    let term = |(a, b): (&f32, &f32)| {
        let (p, q) = (f64::from(*a) - za, f64::from(*b) - zb);
        p.exp() * (p - q)
    };
    a.iter().zip(b).map(term).sum::<f64>().max(0.0)
}

pub(super) fn top(x: &[f32]) -> Option<usize> {
    (0..x.len()).reduce(|best, i| if x[i] > x[best] { i } else { best })
}
