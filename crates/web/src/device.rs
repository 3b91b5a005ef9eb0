//! The one place that chooses where a model runs.

use std::cell::RefCell;
use std::rc::Rc;

use honelm_cpu::{CpuBackend, CpuOptions};
use honelm_model::Device;
use serde::Serialize;

use crate::WebError;
use crate::options::{DeviceName, LoadSettings};

/// Rows of a prefill step on the processor: few, so that an abort is heard soon.
const CPU_PREFILL_ROWS: usize = 32;

/// Bytes that a device holds, by what for.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct DeviceMemory {
    /// Weights.
    pub weights: usize,
    /// Pages of the key-value cache.
    pub cache: usize,
    /// Activations and working memory.
    pub scratch: usize,
}

/// A device, and what users should know of it.
pub struct Chosen {
    pub device: Device,
    /// `cpu`.
    pub kind: &'static str,
    /// Why it is not a better one.
    pub fallback: Option<String>,
    /// Rows of a prefill step.
    pub prefill_rows: usize,
    memory: Box<dyn Fn() -> DeviceMemory>,
}

impl Chosen {
    /// Bytes that it holds now.
    pub fn memory(&self) -> DeviceMemory {
        (self.memory)()
    }
}

/// The device that `wanted` asks for.
pub async fn choose(wanted: &LoadSettings) -> Result<Chosen, WebError> {
    match wanted.device {
        DeviceName::Auto | DeviceName::Cpu => Ok(cpu(wanted, None)),
    }
}

fn cpu(wanted: &LoadSettings, fallback: Option<String>) -> Chosen {
    let backend = CpuBackend::new(CpuOptions { threads: Some(1), compute: wanted.compute(), isa: wanted.isa() });
    let backend = Rc::new(RefCell::new(backend));
    let held = Rc::clone(&backend);
    let memory = move || {
        let bytes = held.borrow_mut().allocated_bytes();
        DeviceMemory { weights: bytes.weights, cache: bytes.cache, scratch: bytes.activations + bytes.scratch }
    };
    Chosen { device: backend, kind: "cpu", fallback, prefill_rows: CPU_PREFILL_ROWS, memory: Box::new(memory) }
}
