//! Requests for the kernels that a model will use.

use std::cell::RefCell;
use std::rc::Rc;

use honelm_backend::{Backend, Batch, CacheType, Sampling, Want, Weight};
use honelm_gpu::pack::{Fallback, packed_bytes};
use honelm_gpu::{Gpu, GpuBackend};
use honelm_model::{Checkpoint, Device, Kind, LoadOptions, Model, ModelError, Module, Runner, Weights};

use crate::PlanError;
use crate::gpu::kinds;

/// Requests the kernels of a model on `gpu`, before its weights are there: the device builds them while the weights are read. The
/// kernels are those of steps of `rows` rows, each of which draws a token as `sampling` says from its last one.
///
/// The variants must be chosen before ([`honelm_gpu::known_answers`]). A kernel that cannot be predicted, because it depends on the
/// values of a weight (GPTQ's order of columns), is built when it is first needed, as all are without this call.
///
/// # Errors
/// An invalid checkpoint, or a device without room for the smallest buffers.
pub fn request_kernels(
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    cache_type: CacheType,
    rows: &[usize],
    sampling: Sampling,
) -> Result<(), PlanError> {
    let mut backend = GpuBackend::for_kernels(gpu).map_err(ModelError::from)?;
    let blueprint = checkpoint.blueprint();
    let mut weights = Weights::default();
    for slot in blueprint.tree.slots() {
        if let Some(weight) = declared(checkpoint, &mut backend, blueprint.module(slot)?, slot)? {
            weights.insert(slot, weight);
        }
    }
    let device: Device = Rc::new(RefCell::new(backend));
    let options = LoadOptions { cache_type, ..LoadOptions::default() };
    let mut model = Model::new(blueprint, weights, device, &options)?;
    for &rows in rows {
        record(&mut model, rows, sampling)?;
    }
    Ok(())
}

/// Returns a weight without contents; `None` for the types of tokens, which are uploaded with the positions.
fn declared(
    checkpoint: &Checkpoint,
    backend: &mut GpuBackend,
    module: &Module,
    slot: honelm_model::Slot,
) -> Result<Option<Weight>, PlanError> {
    let [rows, cols] = module.shape;
    if module.kind == Kind::TokenTypes {
        return Ok(None);
    }
    if module.kind == Kind::Norm {
        let ones = vec![1.0; cols];
        let bias = module.bias.then_some(&ones[..]);
        return Ok(Some(backend.upload_norm(&ones, bias).map_err(ModelError::from)?));
    }
    let stored = checkpoint.encoding(slot)?;
    let layout = kinds(stored).into_iter().find_map(|kind| Some(packed_bytes(kind, rows, cols, Fallback::F16).ok()?.0));
    Ok(layout.map(|layout| backend.declare(layout, [rows, cols])))
}

/// Records a step of `rows` rows, or of as many as fit the context.
fn record(model: &mut Model, rows: usize, sampling: Sampling) -> Result<(), PlanError> {
    let (encoder, most) = (model.facts().encoder, model.step_rows().min(model.context()));
    let last = if encoder { Want::HIDDEN } else { Want { sample: Some(sampling), ..Want::NOTHING } };
    let tokens = vec![0; rows.clamp(1, most.max(1))];
    let id = model.open();
    let mut batch = Batch::default();
    batch.extend(id, &tokens, last);
    model.step(&batch)?;
    Ok(model.close(id)?)
}
