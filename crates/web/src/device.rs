//! The choice of the device that a model runs on.

use std::cell::RefCell;
use std::future::ready;
use std::rc::Rc;

use honelm_backend::Sampling;
use honelm_cpu::{CpuBackend, CpuOptions};
use honelm_gpu::Gpu;
use honelm_model::Checkpoint;

use crate::chosen::{Chosen, DeviceMemory, Kind};
use crate::gpu::NoGpu;
use crate::options::{DeviceName, LoadSettings};
use crate::{WebError, gpu};

/// The number of rows per prefill step on the CPU: few, so that an abort takes effect soon.
pub const CPU_PREFILL_ROWS: usize = 32;

impl LoadSettings {
    /// Returns `true` if the CPU may replace `chosen`.
    pub fn may_fall_back(&self, chosen: &Chosen) -> bool {
        self.device == DeviceName::Auto && matches!(chosen.kind, Kind::Gpu(_))
    }
}

/// Opens the GPU for `wanted`; `None` if none is wanted.
pub async fn open(wanted: &LoadSettings) -> Option<Result<Gpu, NoGpu>> {
    if wanted.device == DeviceName::Cpu { None } else { Some(gpu::open(wanted).await) }
}

/// Chooses the device for `wanted`, and tests the kernels of the GPU that was opened for the weights of `checkpoint`. Its
/// kernels for answers with `sampling` are requested. `testing` receives the progress of the test.
pub async fn choose(
    wanted: &LoadSettings,
    checkpoint: &Checkpoint,
    opened: Option<Result<Gpu, NoGpu>>,
    sampling: &Sampling,
    testing: &dyn Fn(usize, usize),
) -> Result<Chosen, WebError> {
    let tested = match opened {
        None => return Ok(cpu(wanted, None)),
        Some(Ok(opened)) => gpu::tested(&opened, checkpoint, wanted, sampling, testing).await,
        Some(Err(problem)) => Err(problem),
    };
    match tested {
        Ok(chosen) => Ok(chosen),
        Err(problem) if wanted.device == DeviceName::Auto => Ok(cpu(wanted, Some(problem.to_string()))),
        Err(problem) => Err(problem.into()),
    }
}

/// Returns the CPU. `fallback` is the reason why it is not the GPU.
pub fn cpu(wanted: &LoadSettings, fallback: Option<String>) -> Chosen {
    let backend = CpuBackend::new(CpuOptions { threads: Some(1), compute: wanted.compute(), isa: wanted.isa() });
    let backend = Rc::new(RefCell::new(backend));
    let held = Rc::clone(&backend);
    let memory = move || {
        let bytes = held.borrow_mut().allocated_bytes();
        let [weights, cache, scratch] =
            [bytes.weights, bytes.cache, bytes.activations + bytes.scratch].map(|bytes| bytes as u64);
        DeviceMemory { weights, cache, scratch }
    };
    Chosen {
        device: backend,
        kind: Kind::Cpu,
        fallback,
        prefill_rows: CPU_PREFILL_ROWS,
        tested: None,
        memory: Box::new(memory),
        settle: Box::new(|| Box::pin(ready(()))),
    }
}
