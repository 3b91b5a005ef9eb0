//! A device that a model runs on, and what users are told about it.

use std::future::Future;
use std::pin::Pin;

use honelm_gpu::Gpu;
use honelm_model::Device;
use serde::Serialize;
use serde_json::Value;

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
    /// Frees the device, which cannot be used any more.
    pub fn release(&self) {
        // In a browser, dropping a device frees nothing.
        if let Kind::Gpu(gpu) = &self.kind {
            gpu.destroy();
        }
    }

    /// Waits until a GPU has built the kernels that were requested.
    pub async fn built(&self) {
        if let Kind::Gpu(gpu) = &self.kind {
            gpu.built().await;
        }
    }

    /// Returns `cpu` or `gpu`.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Cpu => "cpu",
            Kind::Gpu(_) => "gpu",
        }
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.release();
    }
}
