use std::cell::RefCell;
use std::rc::Rc;

use honelm_backend::{Batch, CacheKind, CacheSpec, CacheType, Recorder, Want, Weight};
use honelm_blocks::ScaleType;
use honelm_cpu::int8::{Int8Kind, ZeroKind, packed_bytes};
use honelm_cpu::{Compute, weight_bytes};
use honelm_model::{
    Blueprint, Checkpoint, Device, Kind, LoadOptions, Model, Module, Runner, Slot, StoredEncoding, Weights,
};
use serde::Serialize;

use crate::{PlanError, gpu};

/// The place where a model will run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The CPU, with a compute path.
    Cpu(Compute),
    /// A GPU.
    Gpu,
}

/// The use of a model that is planned.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The number of tokens in the one sequence; see [`LoadOptions::context`].
    pub context: Option<usize>,
    /// The number type of the cache.
    pub cache_type: CacheType,
    /// The place where the model runs.
    pub place: Place,
    /// The number of rows in the largest step; less for very wide models ([`Blueprint::step_rows`]).
    pub step_rows: usize,
    /// The number of rows in a step whose logits are computed: 1 for generation, up to all for evaluation.
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

/// A weight of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedTensor {
    /// The name in the file.
    pub name: String,
    /// The shape `[out, in]`.
    pub shape: [usize; 2],
    /// The encoding in the file.
    pub encoding: String,
    /// The size in the file in bytes, including the bias.
    pub file_bytes: u64,
    /// The size on the device in bytes, including the bias.
    pub memory_bytes: u64,
    /// `true` if a GPU holds the weight in F16 because it has no exact layout for it.
    pub rounded: bool,
}

/// The memory of a loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The context in tokens.
    pub context: usize,
    /// The size of all weights on the device, in bytes.
    pub weights_bytes: u64,
    /// The size of the cache of one sequence that fills the context, in bytes.
    pub cache_bytes: u64,
    /// The peak size of a step's activations and outputs, in bytes.
    pub scratch_bytes: u64,
    /// The sum of the three sizes.
    pub total_bytes: u64,
    /// The size of the weights in their files, which are mapped while they are uploaded, in bytes.
    pub mapped_bytes: u64,
    /// The weights.
    pub tensors: Vec<PlannedTensor>,
}

/// Plans a checkpoint with its own encodings.
///
/// # Errors
/// A context that exceeds the model's limit.
pub fn plan(checkpoint: &Checkpoint, work: &Workload) -> Result<Plan, PlanError> {
    let stored = |slot| Ok(checkpoint.encoding(slot)?);
    plan_encodings(checkpoint.blueprint(), &stored, &|slot| checkpoint.name_of(slot), work)
}

/// Plans a model with other encodings: `encoding` returns the encoding of a weight, `name` its name in the plan.
///
/// # Errors
/// An error of `encoding`, a context that exceeds the model's limit.
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
        let has_types = blueprint.tree.token_types().is_some();
        let tensor = planned(name(slot), module, encoding(slot)?, work.place, has_types);
        weights.insert(slot, declare(&recorder, module, tensor.memory_bytes));
        tensors.push(tensor);
    }
    let options = LoadOptions { context: work.context, cache_type: work.cache_type, ..LoadOptions::default() };
    let device: Device = Rc::clone(&recorder) as Device;
    let mut model = Model::new(blueprint, weights, device, &options)?;
    let context = model.context();
    let spec = blueprint.cache_spec(work.cache_type);
    let filled = context.min(linear_from(&spec));
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

/// The number of tokens that are planned step by step. Most contexts are shorter; longer ones may be of any length.
const STEP_BY_STEP: usize = 1 << 17;

/// Returns the number of tokens from which the cache grows linearly, because sliding windows are full.
fn linear_from(spec: &CacheSpec) -> usize {
    let long = |kind: &CacheKind| matches!(kind, CacheKind::Window(window) if *window > STEP_BY_STEP / 2);
    if spec.groups.iter().any(long) { usize::MAX } else { STEP_BY_STEP }
}

/// Returns the bytes by which a cache grows from `filled` to `context` tokens, where it grows linearly.
fn beyond(spec: &CacheSpec, filled: usize, context: usize) -> u64 {
    let pages = context.div_ceil(spec.page_len) - filled.div_ceil(spec.page_len);
    let full = (0..spec.groups.len()).filter(|&group| !matches!(spec.groups[group], CacheKind::Window(_)));
    let page_bytes: u64 = full.map(|group| spec.page_bytes(group) as u64).sum();
    page_bytes.saturating_mul(pages as u64)
}

/// Fills one sequence with `context` tokens, in the largest steps. An encoder reads all in one step, and returns hidden states.
fn run(model: &mut Model, work: &Workload, context: usize) -> Result<(), PlanError> {
    let encoder = model.facts().encoder;
    let rows = if encoder { context } else { work.step_rows.clamp(1, model.step_rows()) };
    let id = model.open();
    let mut done = 0;
    while done < context {
        let tokens = vec![0; rows.min(context - done)];
        let mut batch = Batch::default();
        batch.extend(id, &tokens, Want::NOTHING);
        let first = if encoder { 0 } else { tokens.len().saturating_sub(work.logit_rows) };
        batch.want[first..].fill(if encoder { Want::HIDDEN } else { Want::LOGITS });
        let ticket = model.step(&batch)?;
        // Reading frees the outputs, which are zeros of full size.
        drop(model.read(ticket));
        done += tokens.len();
    }
    Ok(())
}

fn declare(recorder: &RefCell<Recorder>, module: &Module, bytes: u64) -> Weight {
    recorder.borrow_mut().declare(module.shape[0], module.shape[1], bytes as usize)
}

/// Returns the entry of a module; `has_types` is `true` if its model has token types, which are added to the positions.
fn planned(name: String, module: &Module, encoding: StoredEncoding, place: Place, has_types: bool) -> PlannedTensor {
    let [rows, cols] = module.shape;
    let bias = module.bias_len() as u64 * 4;
    let (memory, rounded) = match place {
        _ if module.kind == Kind::TokenTypes => (0, false),
        _ if module.kind == Kind::Norm || (module.kind == Kind::Positions && has_types) => {
            ((rows * cols * size_of::<f32>()) as u64, false)
        }
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

/// Returns `true` if the CPU multiplies weights of an encoding with `cols` columns in 8-bit integers ([`Compute::Fast`]).
#[must_use]
pub fn has_int8_kernel(encoding: StoredEncoding, cols: usize) -> bool {
    packed_bytes(kind(encoding, cols), 1, cols).is_some()
}

/// Converts an encoding to that of the CPU back end.
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
