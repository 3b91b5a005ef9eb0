//! Opens devices and loads weights onto them.

use std::cell::RefCell;
use std::rc::Rc;

use honelm_backend::{BackendError, block_on};
use honelm_gpu::pack::Fallback;
use honelm_gpu::{Demotion, Gpu, GpuBackend, Needed};
use honelm_model::{Checkpoint, Device, LoadOptions, Loader, Model, Parameters};
use honelm_plan::{Place, Plan, PlannedTensor, Workload, gpu_layouts, plan};

use super::devices::memory_of;
use super::trust::trusted;
use crate::units::bytes;
use crate::{DeviceChoice, Error, Event, Events, RunOptions};

/// A GPU back end, for callers that need more than the [`honelm_backend::Backend`] trait has.
pub(crate) type SharedGpu = Rc<RefCell<GpuBackend>>;

/// Opens the device of this name for a model; [`DeviceChoice::Auto`] counts as the CPU. The second value is the same
/// device if it is a GPU.
///
/// # Errors
/// As [`open_gpu`].
pub fn open_named(
    device: DeviceChoice,
    run: &RunOptions,
    checkpoint: &Checkpoint,
    events: Events<'_>,
) -> Result<(Device, Option<SharedGpu>), Error> {
    match device {
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok((Rc::new(RefCell::new(run.cpu())), None)),
        DeviceChoice::Gpu(index) => {
            let gpu = open_gpu(index, run, checkpoint, events)?;
            Ok((Rc::clone(&gpu) as Device, Some(gpu)))
        }
    }
}

/// Loads a checkpoint onto the device of this name.
pub fn load_named(
    device: DeviceChoice,
    checkpoint: &Checkpoint,
    run: &RunOptions,
    events: Events<'_>,
) -> Result<Model, Error> {
    load_on(open_named(device, run, checkpoint, &mut *events)?.0, checkpoint, run, events)
}

/// Opens a GPU for a model and tests the kernels that its weights need.
///
/// # Errors
/// [`Error::Gpu`] if there is no such GPU or it gives wrong answers, [`Error::Backend`] if the model does not fit,
/// [`Error::Interrupted`] if `events` returns `false`.
fn open_gpu(
    index: Option<usize>,
    run: &RunOptions,
    checkpoint: &Checkpoint,
    events: Events<'_>,
) -> Result<SharedGpu, Error> {
    let gpu = block_on(Gpu::open(index))?;
    let needed = Needed { layouts: gpu_layouts(checkpoint), caches: vec![run.cache_type] };
    let trust = trusted(&gpu, &needed, &mut *events)?;
    for Demotion { what, why } in &trust.demoted {
        events(&Event::Warning(&format!("{what} ({why})")));
    }
    let mut backend = GpuBackend::new(&gpu)?;
    let work = Workload { context: run.context, cache_type: run.cache_type, place: Place::Gpu, ..Workload::default() };
    let planned = plan(checkpoint, &work)?;
    let (fallback, warning) = admit(&planned, memory_of(gpu.report()), &gpu.describe())?;
    backend.set_fallback(fallback);
    if let Some(warning) = warning {
        events(&Event::Warning(&warning));
    }
    Ok(Rc::new(RefCell::new(backend)))
}

/// Checks that a model fits the `memory` of a GPU, if that is known. Returns what to do with weights that no layout of
/// the GPU holds exactly, and a warning about them.
///
/// # Errors
/// [`BackendError::OutOfMemory`] if the weights and the working memory of one step do not fit.
fn admit(planned: &Plan, memory: Option<u64>, device: &str) -> Result<(Fallback, Option<String>), BackendError> {
    let least = planned.weights_bytes + planned.scratch_bytes;
    if memory.is_some_and(|memory| least > memory) {
        let what = "the weights and the working memory of a step".to_owned();
        return Err(BackendError::OutOfMemory { device: device.to_owned(), wanted: least as usize, what });
    }
    let rounded: Vec<_> = planned.tensors.iter().filter(|tensor| tensor.rounded).collect();
    let Some(first) = rounded.first() else { return Ok((Fallback::Refuse, None)) };
    let sum = |of: &dyn Fn(&PlannedTensor) -> u64| bytes(rounded.iter().map(|tensor| of(tensor)).sum());
    let warning = format!(
        "{} of {} weights (the first is {}, {}) have no exact layout on the GPU and are rounded to F16: {} instead of {}",
        rounded.len(),
        planned.tensors.len(),
        first.name,
        first.encoding,
        sum(&|tensor| tensor.memory_bytes),
        sum(&|tensor| tensor.file_bytes),
    );
    Ok((Fallback::F16, Some(warning)))
}

/// Loads a checkpoint onto a device.
pub fn load_on(device: Device, checkpoint: &Checkpoint, run: &RunOptions, events: Events<'_>) -> Result<Model, Error> {
    let options = LoadOptions { context: run.context, cache_type: run.cache_type, ..LoadOptions::default() };
    options.context_of(checkpoint.facts())?;
    let mut loader = Loader::new(checkpoint.blueprint());
    loop {
        let (done, total) = loader.progress();
        if !events(&Event::Stage { name: "loading", detail: "", done, total }) {
            return Err(Error::Interrupted);
        }
        let advanced = loader.advance(checkpoint, &mut *device.borrow_mut())?;
        // The device holds its own copy in its own layout.
        checkpoint.forget();
        if !advanced {
            return Ok(loader.finish(device, &options)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_does_not_fit_is_an_error_and_rounding_a_warning() {
        let tensor = |name: &str, rounded| PlannedTensor {
            name: name.to_owned(),
            shape: [64, 96],
            encoding: "int4 g12".to_owned(),
            file_bytes: 4_000,
            memory_bytes: 12_000,
            rounded,
        };
        let plan = |tensors| Plan {
            context: 8,
            weights_bytes: 24_000,
            cache_bytes: 1 << 40,
            scratch_bytes: 1_000,
            total_bytes: 25_000 + (1 << 40),
            mapped_bytes: 8_000,
            tensors,
        };
        let exact = plan(vec![tensor("a", false), tensor("b", false)]);
        for memory in [None, Some(25_000)] {
            assert_eq!(admit(&exact, memory, "gpu").expect("it fits"), (Fallback::Refuse, None));
        }
        let error = admit(&exact, Some(24_999), "gpu (x)").expect_err("too large");
        assert_eq!(error.code(), "out-of-memory");
        assert!(error.to_string().contains("gpu (x) is out of memory: it cannot allocate 25000 bytes"), "{error}");
        let (fallback, warning) =
            admit(&plan(vec![tensor("a", false), tensor("b", true)]), None, "gpu").expect("it fits");
        assert_eq!(fallback, Fallback::F16);
        let warning = warning.expect("a warning");
        assert!(
            warning.starts_with("1 of 2 weights (the first is b, int4 g12)")
                && warning.ends_with("12.0 kB instead of 4.0 kB"),
            "{warning}"
        );
    }
}
