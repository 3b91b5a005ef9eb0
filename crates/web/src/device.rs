//! The choice of the device that a model runs on.

use std::cell::RefCell;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;

use honelm_cpu::{CpuBackend, CpuOptions};
use honelm_gpu::Gpu;
use honelm_model::{Checkpoint, Device};
use serde::Serialize;
use serde_json::Value;

use crate::options::{DeviceName, LoadSettings};
use crate::{WebError, gpu};

/// The number of rows per prefill step on the CPU: few, so that an abort takes effect soon.
const CPU_PREFILL_ROWS: usize = 32;

/// The bytes in use on a device, by purpose.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct DeviceMemory {
    /// Weights.
    pub weights: u64,
    /// Pages of the key-value cache.
    pub cache: u64,
    /// Activations and working memory.
    pub scratch: u64,
}

/// The kind of a device.
pub enum Kind {
    /// The CPU.
    Cpu,
    /// The browser's GPU.
    Gpu(Gpu),
}

/// The result of the known-answer test of a GPU's kernels.
#[derive(Debug, Clone, Serialize)]
pub struct Tested {
    /// The key of the adapter and driver.
    pub key: String,
    /// The kernel variants that are not used, with the reasons.
    pub demoted: Vec<String>,
    /// The result to store under the key.
    pub trust: Value,
}

/// A future that is ready when the device has received all uploads.
pub type Settled = Pin<Box<dyn Future<Output = ()>>>;

/// A device, and the information about it for users.
pub struct Chosen {
    pub device: Device,
    pub kind: Kind,
    /// The reason why it is not a better device.
    pub fallback: Option<String>,
    /// The number of rows per prefill step.
    pub prefill_rows: usize,
    pub tested: Option<Tested>,
    pub memory: Box<dyn Fn() -> DeviceMemory>,
    pub settle: Box<dyn Fn() -> Settled>,
}

impl Chosen {
    /// Returns `cpu` or `gpu`.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Cpu => "cpu",
            Kind::Gpu(_) => "gpu",
        }
    }
}

impl LoadSettings {
    /// Returns `true` if the CPU may replace `chosen`.
    pub fn may_fall_back(&self, chosen: &Chosen) -> bool {
        self.device == DeviceName::Auto && matches!(chosen.kind, Kind::Gpu(_))
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        // In a browser, dropping a device frees nothing.
        if let Kind::Gpu(gpu) = &self.kind {
            gpu.destroy();
        }
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
