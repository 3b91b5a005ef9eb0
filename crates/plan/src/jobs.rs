use std::rc::Rc;

use honelm_backend::{CacheType, Observe, Recorder};
use honelm_cpu::int8::Int8Kind;
use honelm_cpu::{Compute, weight_bytes};
use honelm_model::{Checkpoint, Stream};
use honelm_tensor::Matrix;
use serde::Serialize;

use crate::model::{Place, Workload, plan};
use crate::{Plan, PlanError};

const F32: u64 = 4;
const F64: u64 = 8;

/// The peak memory of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peak {
    /// The memory of the largest phase in bytes.
    pub peak_bytes: u64,
    /// The phases and their memory in bytes.
    pub phases: Vec<(&'static str, u64)>,
    /// The size of the mapped weights in their files, in bytes.
    pub mapped_bytes: u64,
}

impl Peak {
    fn of(phases: Vec<(&'static str, u64)>, mapped_bytes: u64) -> Self {
        let peak_bytes = phases.iter().map(|&(_, bytes)| bytes).max().unwrap_or(0);
        Self { peak_bytes, phases, mapped_bytes }
    }
}

/// The settings of an evaluation.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The number of tokens in a chunk, which runs in one step.
    pub chunk: usize,
    /// The number type of the cache.
    pub cache_type: CacheType,
    /// The compute path.
    pub compute: Compute,
}

/// Plans the evaluation of `candidate`, against the saved hidden states of the original `base` if it is given: the original
/// runs first, then only its output layer beside the candidate.
///
/// # Errors
/// A chunk longer than a model's context.
pub fn plan_eval(candidate: &Checkpoint, base: Option<&Checkpoint>, how: &Evaluation) -> Result<Peak, PlanError> {
    let work = Workload {
        context: Some(how.chunk),
        cache_type: how.cache_type,
        place: Place::Cpu(how.compute),
        step_rows: how.chunk,
        logit_rows: 1,
    };
    // The final hidden states of the chunk, and the logits of a slice of rows.
    let measured = |checkpoint: &Checkpoint, plan: &Plan| {
        let facts = checkpoint.facts();
        let (states, logits) = (how.chunk * facts.width, (facts.output_rows() * facts.vocabulary) as u64);
        plan.total_bytes + F32 * (states as u64 + 2 * logits)
    };
    let own = plan(candidate, &work)?;
    let mut phases = Vec::new();
    let mut beside = 0;
    let mut mapped = own.mapped_bytes;
    if let Some(base) = base {
        let original = plan(base, &work)?;
        phases.push(("the original", measured(base, &original)));
        let tree = base.tree();
        let output = base.name_of(honelm_model::Slot { layer: None, module: tree.output_matrix().name });
        let layer = original.tensors.iter().find(|t| t.name == output).map_or(0, |t| t.memory_bytes);
        let facts = base.facts();
        beside = layer + F32 * (how.chunk * facts.width + 2 * facts.output_rows() * facts.vocabulary) as u64;
        mapped = mapped.max(original.mapped_bytes);
    }
    phases.push(("the candidate", measured(candidate, &own) + beside));
    Ok(Peak::of(phases, mapped))
}

/// The settings of a compression.
#[derive(Debug, Clone)]
pub struct Compression {
    /// The number of samples.
    pub samples: usize,
    /// The number of tokens in a sample.
    pub length: usize,
    /// The number of rows that run through a layer together.
    pub step_rows: usize,
    /// The largest size in bytes of the inputs of a layer that one stream keeps.
    pub kept_bytes: u64,
    /// `true` if a step of the recipe observes the original's inputs beside those of the compressed model.
    pub originals: bool,
}

/// The values of an output matrix that are in work together.
const TILE_VALUES: u64 = 1 << 25;

/// Plans the compression of `checkpoint` by GPTQ, layer by layer in f32. The memory holds the activations of the whole
/// calibration text, inputs kept within a layer, one layer, a step through it, the Hessian with its factor, and the matrix that is quantised. With the
/// original's inputs it holds their activations and its layer as well, and their products.
///
/// # Errors
/// Samples that are longer than the model's context, invalid weights in the first layer.
pub fn plan_compression(checkpoint: &Checkpoint, how: &Compression) -> Result<Peak, PlanError> {
    let facts = checkpoint.facts();
    let bytes = |w: &honelm_blocks::WeightData| weight_bytes(Int8Kind::of(w), w.rows(), w.cols(), Compute::F32);
    let mut recorder = Recorder::new(bytes);
    let mut stream = Stream::new(checkpoint, how.length)?;
    let streams = if how.originals { 2 } else { 1 };
    let tokens = (how.samples * how.length) as u64;
    let stages = checkpoint.tree().stages(0);
    let kept = stages.iter().filter(|stage| !checkpoint.tree().is_behind_norm(0, stage));
    let kept: u64 = kept.filter_map(|stage| stage.first()).map(|module| F32 * tokens * module.shape[1] as u64).sum();
    let stream_bytes = streams * (F32 * tokens * facts.width as u64 + kept.min(how.kept_bytes));
    let sequences = (how.step_rows / how.length.max(1)).clamp(1, how.samples.max(1));
    let lengths = vec![how.length; sequences];

    let embedding = stream.embed(checkpoint, &[vec![0; how.length]], &mut recorder)?;
    drop(embedding);
    let recorded = recorder.recorded();
    let phases = vec![("embedding", (recorded.weight_bytes + recorded.activation_bytes_peak) as u64 + stream_bytes)];
    let bound = Rc::new(stream.bind(checkpoint, 0, &mut recorder)?);
    let x = Matrix::zeros(sequences * how.length, facts.width);
    recorder.reset();
    stream.run(&bound, 0, &x, &lengths, &mut recorder)?;
    let step = |recorder: &mut Recorder| {
        let recorded = recorder.recorded();
        (recorded.weight_bytes + recorded.cache_bytes + recorded.activation_bytes_peak) as u64
    };
    let run_bytes = step(&mut recorder) + F32 * 2 * (x.rows * x.cols) as u64;

    let linear = |m: &&honelm_model::Module| m.is_linear();
    let modules = &checkpoint.tree().layers[0];
    let (mut observed, mut solved) = (0, 0);
    for module in modules.iter().filter(linear) {
        let [rows, cols] = module.shape.map(|n| n as u64);
        recorder.reset();
        let mut observe = Observe::new(&mut recorder, &[bound.weight(module.name)], true);
        stream.observe(&bound, 0, &x, &lengths, &mut observe)?;
        let square = F64 * cols * cols;
        // The lower triangle in panels of 128 columns.
        let hessian = F64 * cols * (cols + 128) / 2;
        let cross = (streams - 1) * square;
        let inputs = F32 * x.rows as u64 * cols;
        let other = (streams - 1) * recorder.recorded().weight_bytes as u64;
        observed = observed.max(step(&mut recorder) + other + hessian + cross + 2 * streams * inputs);
        // The Hessian, two matrices of its factorisation and the factor in f32; the matrix, its working copy and its
        // codes.
        let factor = 2 * square + F32 * cols * cols;
        // The weights that aim at the original's outputs are solved for before, by an inverse in place.
        let aimed = (streams - 1) * (cross + 2 * square);
        solved = solved.max(hessian + factor.max(aimed) + (3 * F32 + 1) * rows * cols);
    }
    let [vocabulary, width] = checkpoint.tree().output_matrix().shape.map(|n| n as u64);
    let tile = (vocabulary * width).min(TILE_VALUES);
    let output = (2 + streams) * F64 * width * width + (4 * F32 + 1) * tile + vocabulary * width;
    let layer: u64 = modules.iter().map(|m| F32 * (m.shape[0] * m.shape[1]) as u64).sum();
    let mut phases = phases;
    phases.push(("a step through a layer", stream_bytes + run_bytes));
    phases.push(("statistics of a layer", stream_bytes + observed));
    phases.push(("rounding a layer", stream_bytes + solved + layer / 4));
    phases.push(("output layer", stream_bytes + output));
    let mapped = checkpoint.tree().slots().filter_map(|slot| checkpoint.encoding(slot).ok().map(|e| (slot, e)));
    let mapped = mapped.filter_map(|(slot, encoding)| {
        let [rows, cols] = checkpoint.tree().module(slot)?.shape;
        let honelm_model::StoredEncoding::Blocks(blocks) = encoding else { return None };
        Some(rows as u64 * cols.div_ceil(blocks.block_len()) as u64 * blocks.block_bytes() as u64)
    });
    let mapped = mapped.sum();
    Ok(Peak::of(phases, mapped))
}
