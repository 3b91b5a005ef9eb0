//! The cost of rounding activations to 8 bits, stage by stage.
//!
//! The model runs in f32, layer by layer, once for each stage whose inputs are rounded alone, once with all of them rounded and
//! once with none.

use std::path::PathBuf;

use honelm_backend::{Observe, Weight};
use honelm_cpu::int8::{QuantizedRows, Rounding};
use honelm_cpu::{Compute, CpuBackend, Isa};
use honelm_model::{Bound, Checkpoint, Module, OutputLayer, Parameters, Slot, Stream};
use honelm_tensor::Matrix;
use serde::Serialize;

use super::divergence::{divergence, ratio, rms, top};
use crate::open::{open, tokenizer_of};
use crate::{Error, Event, Events, RunOptions, TextSource};

/// The number of tokens per sequence, or fewer if the context is shorter.
const SEQUENCE: usize = 512;
/// The number of positions whose logits are held at once.
const ROWS: usize = 64;
/// The name of the output layer, whose matrix may be that of the embedding.
const OUTPUT: &str = "output";
/// The columns that share a scale.
const BLOCK: usize = 32;
/// The largest magnitude of a block's outlier, divided by the RMS of the block, is above this.
const OUTLIER: f64 = 4.0;

/// The settings of [`activations`].
#[derive(Debug, Clone)]
pub struct ActivationOptions {
    /// The model: a folder or a GGUF file.
    pub model: PathBuf,
    /// The text that the model reads.
    pub text: TextSource,
    /// The number of tokens to read from the start of the text.
    pub tokens: usize,
    /// The number of threads and the context. Everything is computed on the CPU.
    pub run: RunOptions,
}

/// The result of [`activations`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActivationReport {
    /// The model.
    pub model: PathBuf,
    /// The name of the text.
    pub text: String,
    /// The number of tokens read.
    pub tokens: usize,
    /// The mean of KL(exact || rounded) over the tokens, in nats, with the inputs of all stages rounded.
    pub kl_divergence: f64,
    /// The percentage of positions at which both find the same token most likely.
    pub same_top_percent: f64,
    /// The stages of all layers together.
    pub stages: Vec<StageLoss>,
    /// The inputs of each stage of each layer, and of the output layer.
    pub inputs: Vec<StageInputs>,
    /// Warnings about the files and the text.
    pub warnings: Vec<String>,
}

/// The cost of rounding the inputs of one stage in every layer, and of no other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageLoss {
    /// The names of the stage's modules: `q, k, v`.
    pub stage: String,
    /// The mean of KL(exact || rounded), in nats.
    pub kl_divergence: f64,
}

/// The inputs of a stage of one layer, and what rounding does to them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageInputs {
    /// The number of the layer; `None` for the output layer.
    pub layer: Option<usize>,
    /// The names of the stage's modules: `q, k, v`.
    pub stage: String,
    /// `false` if no module of the stage has an 8-bit kernel. The inputs are then used as they are.
    pub rounded: bool,
    /// The mean over blocks of the largest magnitude divided by the RMS. It lies between 1 and 5.66.
    pub peak: f64,
    /// The percentage of blocks in which that ratio exceeds 4.
    pub outlier_percent: f64,
    /// The mean factor by which the wide columns make the steps of the other columns finer; 1 without wide columns.
    pub finer: f64,
    /// The RMS of the rounding error divided by the RMS of the inputs.
    pub input_error: f64,
    /// The RMS of the products' error divided by the RMS of the products, over all modules of the stage.
    pub output_error: f64,
    /// The columns that are most often such an outlier, the most frequent first; at most 4.
    pub columns: Vec<usize>,
}

/// Measures what rounding activations to 8 bits costs, and where. One layer is in memory at a time.
///
/// # Errors
/// An invalid model or text, a text without tokens, [`Error::Interrupted`] if `events` returns `false`.
pub fn activations(options: &ActivationOptions, events: Events<'_>) -> Result<ActivationReport, Error> {
    let checkpoint = open(&options.model, &options.run, &mut *events)?;
    let text = options.text.heldout()?;
    let tokenizer = tokenizer_of(&checkpoint)?;
    let mut tokens = tokenizer.encode_running(&text.documents[0])?;
    tokens.truncate(options.tokens);
    if tokens.is_empty() {
        return Err(Error::Text { path: text.name, problem: "no tokens to run".to_owned() });
    }
    let count = checkpoint.facts().layers;
    let mut step = |done: usize| {
        let stage = Event::Stage { name: "rounding", detail: "", done, total: count + 1 };
        if events(&stage) { Ok(()) } else { Err(Error::Interrupted) }
    };
    let mut study = Study::new(&checkpoint, &tokens, &options.run)?;
    for i in 0..count {
        study.layer(i)?;
        step(i + 1)?;
    }
    let (kl_divergence, same_top_percent) = study.head()?;
    step(count + 1)?;
    checkpoint.check_unchanged()?;
    Ok(ActivationReport {
        model: options.model.clone(),
        text: text.name,
        tokens: tokens.len(),
        kl_divergence,
        same_top_percent,
        stages: study.stages,
        inputs: study.inputs,
        warnings: checkpoint.warnings().iter().cloned().chain(text.warnings).collect(),
    })
}

/// The hidden states of the model with nothing rounded, with everything rounded, and with one stage rounded.
struct Study<'a> {
    checkpoint: &'a Checkpoint,
    stream: Stream,
    backend: CpuBackend,
    lengths: Vec<usize>,
    exact: Matrix,
    all: Matrix,
    /// In the order of `stages`; there is none for the output layer.
    alone: Vec<Matrix>,
    stages: Vec<StageLoss>,
    inputs: Vec<StageInputs>,
}

impl<'a> Study<'a> {
    fn new(checkpoint: &'a Checkpoint, tokens: &[u32], run: &RunOptions) -> Result<Self, Error> {
        let mut backend = RunOptions { compute: Compute::F32, ..run.clone() }.cpu();
        let sequences: Vec<Vec<u32>> =
            tokens.chunks(SEQUENCE.min(super::context_of(checkpoint, run))).map(<[u32]>::to_vec).collect();
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let mut stream = Stream::new(checkpoint, lengths.iter().copied().max().unwrap_or(0))?;
        let exact = stream.embed(checkpoint, &sequences, &mut backend)?;
        let all = exact.clone();
        Ok(Self { checkpoint, stream, backend, lengths, exact, all, alone: vec![], stages: vec![], inputs: vec![] })
    }

    /// Returns the place of a stage among the hidden states. A stage that is new begins with the embeddings.
    fn place(&mut self, name: &str, embeddings: &Matrix) -> usize {
        if let Some(at) = self.stages.iter().position(|s| s.stage == name) {
            return at;
        }
        self.stages.push(StageLoss { stage: name.to_owned(), kl_divergence: 0.0 });
        self.alone.push(embeddings.clone());
        self.stages.len() - 1
    }

    /// Runs layer `i` on every state.
    fn layer(&mut self, i: usize) -> Result<(), Error> {
        let checkpoint = self.checkpoint;
        let stages = checkpoint.blueprint().tree.stages(i);
        let bound = self.stream.bind(checkpoint, i, &mut self.backend)?;
        let weights =
            |stage: &[&Module]| -> Vec<Weight> { stage.iter().map(|m| bound.weight(m.name).clone()).collect() };
        self.backend.round_inputs(&[]);
        let input = self.exact.clone();
        let first: Vec<Weight> = stages.iter().map(|stage| bound.weight(stage[0].name).clone()).collect();
        let first: Vec<&Weight> = first.iter().collect();
        let seen = {
            let mut observe = Observe::new(&mut self.backend, &first, false);
            let seen = self.stream.observe(&bound, i, &input, &self.lengths, &mut observe)?;
            self.exact = self.stream.run(&bound, i, &input, &self.lengths, &mut self.backend)?;
            seen
        };
        for (stage, x) in stages.iter().zip(&seen) {
            let found = self.stage_inputs(&bound, i, stage, x)?;
            self.inputs.push(found);
        }
        let places: Vec<usize> = stages.iter().map(|stage| self.place(&name_of(stage), &input)).collect();
        for at in 0..self.alone.len() {
            let rounded: Vec<Weight> =
                places.iter().zip(&stages).filter(|(p, _)| **p == at).flat_map(|(_, s)| weights(s)).collect();
            self.backend.round_inputs(&rounded.iter().collect::<Vec<_>>());
            self.alone[at] = self.stream.run(&bound, i, &self.alone[at], &self.lengths, &mut self.backend)?;
        }
        let every: Vec<Weight> = stages.iter().flat_map(|s| weights(s)).collect();
        self.backend.round_inputs(&every.iter().collect::<Vec<_>>());
        self.all = self.stream.run(&bound, i, &self.all, &self.lengths, &mut self.backend)?;
        self.backend.round_inputs(&[]);
        Ok(())
    }

    /// Measures the inputs `x` of a stage of layer `i`.
    fn stage_inputs(&mut self, bound: &Bound, i: usize, stage: &[&Module], x: &Matrix) -> Result<StageInputs, Error> {
        let mut found = None;
        let (mut error, mut whole) = (0.0, 0.0);
        for module in stage {
            let parameter = self.checkpoint.parameter(Slot { layer: Some(i), module: module.name })?;
            let Some(rounding) = Rounding::of(&parameter.weight) else { continue };
            let rows = rounding.quantize(x, Isa::detect());
            let off = apart(x, &rounding.values(&rows));
            if found.is_none() {
                found = Some(summary(Some(i), name_of(stage), x, Some((&rows, &off))));
            }
            let bias = self.stream.product(bound, module.name, &Matrix::zeros(1, x.cols), &mut self.backend)?;
            let (y, e) = (
                self.stream.product(bound, module.name, x, &mut self.backend)?,
                self.stream.product(bound, module.name, &off, &mut self.backend)?,
            );
            whole += squares(&y.data);
            for row in e.iter_rows() {
                error += row.iter().zip(&bias.data).map(|(e, b)| f64::from(e - b).powi(2)).sum::<f64>();
            }
        }
        let found = found.unwrap_or_else(|| summary(Some(i), name_of(stage), x, None));
        Ok(StageInputs { output_error: ratio(error.sqrt(), whole.sqrt()), ..found })
    }

    /// Runs the last norm and the output layer on every state. Returns the divergence and the percentage of equal top tokens
    /// with everything rounded.
    fn head(&mut self) -> Result<(f64, f64), Error> {
        let (checkpoint, backend) = (self.checkpoint, &mut self.backend);
        let tree = &checkpoint.blueprint().tree;
        let output = OutputLayer::load(checkpoint.blueprint(), checkpoint, backend)?;
        let module = tree.output_matrix();
        let rounding = Rounding::of(&checkpoint.parameter(Slot { layer: None, module: module.name })?.weight);
        let rounded = |x: &Matrix| rounding.as_ref().map(|r| r.values(&r.quantize(x, Isa::detect())));
        let exact = output.finish(&self.exact, backend)?;
        let all = output.finish(&self.all, backend)?;
        let all = rounded(&all).unwrap_or(all);
        let mut states = self.alone.iter().map(|x| output.finish(x, backend)).collect::<Result<Vec<_>, _>>()?;
        let head = rounded(&exact);
        let mut inputs = summary(None, OUTPUT.to_owned(), &exact, None);
        if let (Some(rounding), Some(head)) = (&rounding, head) {
            let rows = rounding.quantize(&exact, Isa::detect());
            let off = apart(&exact, &head);
            inputs = summary(None, OUTPUT.to_owned(), &exact, Some((&rows, &off)));
            self.stages.push(StageLoss { stage: OUTPUT.to_owned(), kl_divergence: 0.0 });
            states.push(head);
        }
        states.push(all);
        let (mut sums, mut same, mut error, mut whole) = (vec![0.0; states.len()], 0usize, 0.0, 0.0);
        for start in (0..exact.rows).step_by(ROWS) {
            let logits = output.logits(&slice(&exact, start), backend)?;
            for (s, state) in states.iter().enumerate() {
                let found = output.logits(&slice(state, start), backend)?;
                for (a, b) in logits.iter_rows().zip(found.iter_rows()) {
                    sums[s] += divergence(a, b);
                    same += usize::from(s + 1 == states.len() && top(a) == top(b));
                }
                if rounding.is_some() && s + 2 == states.len() {
                    error += squares(&apart(&logits, &found).data);
                    whole += squares(&logits.data);
                }
            }
        }
        self.inputs.push(StageInputs { output_error: ratio(error.sqrt(), whole.sqrt()), ..inputs });
        let n = exact.rows as f64;
        for (stage, sum) in self.stages.iter_mut().zip(&sums) {
            stage.kl_divergence = sum / n;
        }
        Ok((sums.last().map_or(0.0, |sum| sum / n), same as f64 * 100.0 / n))
    }
}

fn name_of(stage: &[&Module]) -> String {
    stage.iter().map(|m| m.name).collect::<Vec<_>>().join(", ")
}

/// Returns at most [`ROWS`] rows from `start` on.
fn slice(x: &Matrix, start: usize) -> Matrix {
    let end = x.rows.min(start + ROWS);
    Matrix::new(end - start, x.cols, x.data[start * x.cols..end * x.cols].to_vec())
}

/// Returns a - b.
fn apart(a: &Matrix, b: &Matrix) -> Matrix {
    Matrix::new(a.rows, a.cols, a.data.iter().zip(&b.data).map(|(a, b)| a - b).collect())
}

fn squares(x: &[f32]) -> f64 {
    x.iter().map(|v| f64::from(*v).powi(2)).sum()
}

/// Summarises the inputs `x` of a stage with their rounded form and its error, if they are rounded.
fn summary(layer: Option<usize>, stage: String, x: &Matrix, rounded: Option<(&QuantizedRows, &Matrix)>) -> StageInputs {
    let (mut peaks, mut blocks) = (0.0, 0usize);
    let mut leading = vec![0usize; x.cols];
    for row in x.iter_rows() {
        for (b, block) in row.chunks(BLOCK).enumerate() {
            let size = rms(block);
            if size == 0.0 {
                continue;
            }
            let at = (0..block.len()).fold(0, |best, k| if block[k].abs() > block[best].abs() { k } else { best });
            let peak = f64::from(block[at].abs()) / size;
            peaks += peak;
            blocks += 1;
            leading[b * BLOCK + at] += usize::from(peak > OUTLIER);
        }
    }
    let mut columns: Vec<usize> = (0..x.cols).filter(|&k| leading[k] > 0).collect();
    columns.sort_by_key(|&k| (std::cmp::Reverse(leading[k]), k));
    columns.truncate(4);
    StageInputs {
        layer,
        stage,
        rounded: rounded.is_some(),
        peak: ratio(peaks, blocks as f64),
        outlier_percent: ratio(leading.iter().sum::<usize>() as f64 * 100.0, blocks as f64),
        finer: rounded.map_or(1.0, |(rows, _)| finer(rows)),
        input_error: rounded.map_or(0.0, |(_, off)| ratio(rms(&off.data), rms(&x.data))),
        output_error: 0.0,
        columns,
    }
}

/// Returns the mean over blocks of the largest code, divided by 127: what 8 bits for every column would make the scale.
fn finer(rows: &QuantizedRows) -> f64 {
    let (mut sum, mut blocks) = (0.0, 0usize);
    for r in 0..rows.rows() {
        for b in 0..rows.cols() / BLOCK {
            let (_, codes) = rows.block(r, b);
            let top = codes.iter().map(|code| code.unsigned_abs()).max().unwrap_or(0);
            if top > 0 {
                sum += f64::from(top) / 127.0;
                blocks += 1;
            }
        }
    }
    if blocks == 0 { 1.0 } else { sum / blocks as f64 }
}
