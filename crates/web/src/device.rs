//! The choice of the device that a model runs on.

use std::cell::RefCell;
use std::future::ready;
use std::rc::Rc;

use honelm_cpu::{CpuBackend, CpuOptions};
use honelm_model::Checkpoint;

use crate::chosen::{Chosen, DeviceMemory, Kind};
use crate::options::{DeviceName, LoadSettings};
use crate::{WebError, gpu};

/// The number of rows per prefill step on the CPU: few, so that an abort takes effect soon.
const CPU_PREFILL_ROWS: usize = 32;

impl LoadSettings {
    /// Returns `true` if the CPU may replace `chosen`.
    pub fn may_fall_back(&self, chosen: &Chosen) -> bool {
        self.device == DeviceName::Auto && matches!(chosen.kind, Kind::Gpu(_))
    }
}

/// Chooses the device for `wanted`, and tests a GPU's kernels for the weights of `checkpoint`. `testing` receives the
/// progress of the test.
pub async fn choose(
    wanted: &LoadSettings,
    checkpoint: &Checkpoint,
    testing: &dyn Fn(usize, usize),
) -> Result<Chosen, WebError> {
    if wanted.device == DeviceName::Cpu {
        return Ok(cpu(wanted, None));
    }
    match gpu::open(checkpoint, wanted, testing).await {
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
