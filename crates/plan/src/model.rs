use std::cell::RefCell;
use std::rc::Rc;

use honelm_backend::{Batch, CacheKind, CacheSpec, CacheType, Recorder, Want, Weight};
use honelm_blocks::ScaleType;
use honelm_cpu::int8::{Int8Kind, ZeroKind};
use honelm_cpu::{Compute, weight_bytes};
use honelm_model::{
    Blueprint, Checkpoint, Device, Kind, LoadOptions, Model, Module, Runner, Slot, StoredEncoding, Weights,
};
use serde::Serialize;

use crate::{PlanError, gpu};

/// Where a model will run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The processor, by a compute path.
    Cpu(Compute),
    /// A GPU.
    Gpu,
}

/// What a model will be used for.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Tokens of the one sequence that is planned for; as [`LoadOptions::context`].
    pub context: Option<usize>,
    /// Number type of the cache.
    pub cache_type: CacheType,
    /// Where it runs.
    pub place: Place,
    /// Rows of the largest step, where the model is not so wide that steps have fewer ([`Blueprint::step_rows`]).
    pub step_rows: usize,
    /// Rows of a step whose logits are wanted: 1 to generate, up to all to measure.
    pub logit_rows: usize,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            context: None,
            cache_type: CacheType::default(),
            place: Place::Cpu(Compute::Fast),
            step_rows: 512,
            logit_rows: 1,
        }
    }
}

/// One weight of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedTensor {
    /// Name in the file.
    pub name: String,
    /// `[out, in]`.
    pub shape: [usize; 2],
    /// Encoding in the file.
    pub encoding: String,
    /// Bytes in the file, bias included.
    pub file_bytes: u64,
    /// Bytes on the device, bias included.
    pub memory_bytes: u64,
    /// Whether a GPU holds it as F16, since none of its layouts holds the values exactly.
    pub rounded: bool,
}

/// What a loaded model takes, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Tokens of the context that was planned for.
    pub context: usize,
    /// All weights on the device.
    pub weights_bytes: u64,
    /// The cache of one sequence of the whole context.
    pub cache_bytes: u64,
    /// The most that activations and outputs of a step take.
    pub scratch_bytes: u64,
    /// The sum of these.
    pub total_bytes: u64,
    /// Weights in their files, which are mapped while they are uploaded.
    pub mapped_bytes: u64,
    /// Each weight.
    pub tensors: Vec<PlannedTensor>,
}

/// The plan of a checkpoint as it is stored.
///
/// # Errors
/// A context beyond the model's.
pub fn plan(checkpoint: &Checkpoint, work: &Workload) -> Result<Plan, PlanError> {
    let stored = |slot| Ok(checkpoint.encoding(slot)?);
    plan_encodings(checkpoint.blueprint(), &stored, &|slot| checkpoint.name_of(slot), work)
}

/// The plan of a model whose weights will have the encodings that `encoding` gives; `name` is for the table.
///
/// # Errors
/// What `encoding` returns, a context beyond the model's.
pub fn plan_encodings(
    blueprint: &Blueprint,
    encoding: &dyn Fn(Slot) -> Result<StoredEncoding, PlanError>,
    name: &dyn Fn(Slot) -> String,
    work: &Workload,
) -> Result<Plan, PlanError> {
    let recorder = Rc::new(RefCell::new(Recorder::new(|_| 0)));
    let mut weights = Weights::default();
    let mut tensors = Vec::new();
    for slot in blueprint.tree.slots() {
        let module = blueprint.module(slot)?;
        let tensor = planned(name(slot), module, encoding(slot)?, work.place);
        weights.insert(slot, declare(&recorder, module, tensor.memory_bytes));
        tensors.push(tensor);
    }
    let options = LoadOptions { context: work.context, cache_type: work.cache_type, ..LoadOptions::default() };
    let device: Device = Rc::clone(&recorder) as Device;
    let mut model = Model::new(blueprint, weights, device, &options)?;
    let context = model.context();
    let spec = blueprint.cache_spec(work.cache_type);
    let filled = context.min(evenly_from(&spec));
    run(&mut model, work, filled)?;
    let recorded = recorder.borrow_mut().recorded().clone();
    let weights_bytes = recorded.weight_bytes as u64;
    let cache_bytes = (recorded.cache_bytes as u64).saturating_add(beyond(&spec, filled, context));
    let scratch_bytes = recorded.activation_bytes_peak as u64;
    Ok(Plan {
        context,
        weights_bytes,
        cache_bytes,
        scratch_bytes,
        total_bytes: weights_bytes.saturating_add(cache_bytes).saturating_add(scratch_bytes),
        mapped_bytes: tensors.iter().map(|tensor| tensor.file_bytes).sum(),
        tensors,
    })
}

/// Tokens that are planned step by step. Real contexts are mostly shorter, and a longer one may be as long as a file says.
const STEP_BY_STEP: usize = 1 << 17;

/// Tokens from which on a cache grows by the same pages for the same tokens: windows keep what they keep.
fn evenly_from(spec: &CacheSpec) -> usize {
    let long = |kind: &CacheKind| matches!(kind, CacheKind::Window(window) if *window > STEP_BY_STEP / 2);
    if spec.groups.iter().any(long) { usize::MAX } else { STEP_BY_STEP }
}

/// Bytes that a cache grows by from `filled` to `context` tokens where it grows evenly.
fn beyond(spec: &CacheSpec, filled: usize, context: usize) -> u64 {
    let pages = context.div_ceil(spec.page_len) - filled.div_ceil(spec.page_len);
    let full = (0..spec.groups.len()).filter(|&group| spec.groups[group] == CacheKind::Full);
    let page_bytes: u64 = full.map(|group| spec.page_bytes(group) as u64).sum();
    page_bytes.saturating_mul(pages as u64)
}

/// Fills one sequence with `context` tokens, in the largest steps.
fn run(model: &mut Model, work: &Workload, context: usize) -> Result<(), PlanError> {
    let rows = work.step_rows.clamp(1, model.step_rows());
    let id = model.open();
    let mut done = 0;
    while done < context {
        let tokens = vec![0; rows.min(context - done)];
        let mut batch = Batch::default();
        batch.extend(id, &tokens, Want::NOTHING);
        let first = tokens.len().saturating_sub(work.logit_rows);
        batch.want[first..].fill(Want::LOGITS);
        let ticket = model.step(&batch)?;
        // A recorder's outputs are zeros of their full size: taken, so that they do not pile up.
        drop(model.read(ticket));
        done += tokens.len();
    }
    Ok(())
}

fn declare(recorder: &RefCell<Recorder>, module: &Module, bytes: u64) -> Weight {
    recorder.borrow_mut().declare(module.shape[0], module.shape[1], bytes as usize)
}

fn planned(name: String, module: &Module, encoding: StoredEncoding, place: Place) -> PlannedTensor {
    let [rows, cols] = module.shape;
    let bias = module.bias_len() as u64 * 4;
    let (memory, rounded) = match place {
        _ if module.kind == Kind::Norm => ((rows * cols * size_of::<f32>()) as u64, false),
        Place::Cpu(compute) => (weight_bytes(kind(encoding, cols), rows, cols, compute) as u64, false),
        Place::Gpu => gpu::held(encoding, [rows, cols]).map_or((0, false), |held| (held.bytes, held.rounded)),
    };
    let (shown, stored) = match encoding {
        StoredEncoding::Blocks(blocks) => {
            let bytes = cols.div_ceil(blocks.block_len()) as u64 * blocks.block_bytes() as u64;
            (blocks.display_name().to_owned(), rows as u64 * bytes)
        }
        StoredEncoding::Groups { bits, group_size, .. } => {
            let groups = rows as u64 * cols.div_ceil(group_size.max(1)) as u64;
            let codes = (rows as u64 * cols as u64 + groups) * u64::from(bits) / 8;
            (format!("int{bits} g{group_size}"), codes + groups * 2 + cols as u64 * 4)
        }
    };
    let (file_bytes, memory_bytes) = (stored + bias, memory + bias);
    PlannedTensor { name, shape: module.shape, encoding: shown, file_bytes, memory_bytes, rounded }
}

/// What the CPU back end calls an encoding.
fn kind(encoding: StoredEncoding, cols: usize) -> Int8Kind {
    match encoding {
        StoredEncoding::Blocks(blocks) => Int8Kind::Blocks(blocks),
        StoredEncoding::Groups { bits, group_size, symmetric, .. } => Int8Kind::Groups {
            bits,
            group_size: group_size.min(cols),
            scale_type: ScaleType::F16,
            zeros: if symmetric { ZeroKind::Constant(1 << (bits - 1)) } else { ZeroKind::Integer },
        },
    }
}
