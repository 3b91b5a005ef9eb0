//! The one place that chooses where a model runs.

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

/// Rows of a prefill step on the processor: few, so that an abort is heard soon.
const CPU_PREFILL_ROWS: usize = 32;

/// Bytes that a device holds, by what for.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct DeviceMemory {
    /// Weights.
    pub weights: u64,
    /// Pages of the key-value cache.
    pub cache: u64,
    /// Activations and working memory.
    pub scratch: u64,
}

/// What a device is.
pub enum Kind {
    /// The processor.
    Cpu,
    /// The browser's GPU.
    Gpu(Gpu),
}

/// What the test of a GPU's kernels found.
#[derive(Debug, Clone, Serialize)]
pub struct Tested {
    /// Names adapter and driver.
    pub key: String,
    /// Kernel variants that are not used, and why.
    pub demoted: Vec<String>,
    /// To be remembered under the key.
    pub trust: Value,
}

/// Ends when the device has taken what it was given.
pub type Settled = Pin<Box<dyn Future<Output = ()>>>;

/// A device, and what users should know of it.
pub struct Chosen {
    pub device: Device,
    pub kind: Kind,
    /// Why it is not a better one.
    pub fallback: Option<String>,
    /// Rows of a prefill step.
    pub prefill_rows: usize,
    pub tested: Option<Tested>,
    pub memory: Box<dyn Fn() -> DeviceMemory>,
    pub settle: Box<dyn Fn() -> Settled>,
}

impl Chosen {
    /// `cpu` or `gpu`.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Cpu => "cpu",
            Kind::Gpu(_) => "gpu",
        }
    }
}

impl LoadSettings {
    /// Whether the processor may take the place of `chosen`.
    pub fn may_fall_back(&self, chosen: &Chosen) -> bool {
        self.device == DeviceName::Auto && matches!(chosen.kind, Kind::Gpu(_))
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        // In a browser nothing is freed by dropping it.
        if let Kind::Gpu(gpu) = &self.kind {
            gpu.destroy();
        }
    }
}

/// The device that `wanted` asks for, with the GPU's kernels tested for the weights of `checkpoint`; `testing` is told how far the test is.
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

/// The processor; `fallback` says why it is not the GPU.
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
