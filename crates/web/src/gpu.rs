//! The browser's GPU, tested before use.

use std::cell::RefCell;
use std::rc::Rc;

use honelm_backend::{BackendError, Sampling};
use honelm_gpu::{Built, Gpu, GpuBackend, GpuError, Needed, Trust, known_answers};
use honelm_model::Checkpoint;
use honelm_plan::{gpu_layouts, request_kernels};

use crate::chosen::{Chosen, DeviceMemory, Kind, Tested};
use crate::options::{DeviceName, LoadSettings};
use crate::platform::{self, BrowserAdapter};

/// The number of rows per prefill step. Many are fast; on a software adapter, few let an abort take effect sooner.
pub const PREFILL_ROWS: usize = 512;
const SOFTWARE_PREFILL_ROWS: usize = 64;

/// The reason why the GPU cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoGpu {
    #[error("this browser has no usable GPU: WebGPU is missing or disabled, or the GPU is blocked")]
    NoAdapter,
    #[error("this browser's GPU is a software implementation ({0}), which is slower than the CPU")]
    Software(String),
    #[error(transparent)]
    Gpu(GpuError),
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl From<GpuError> for NoGpu {
    fn from(error: GpuError) -> Self {
        // The advice for a browser differs from that of the native error.
        if matches!(error, GpuError::NoAdapter) { Self::NoAdapter } else { Self::Gpu(error) }
    }
}

/// Opens the GPU. One in software must be `wanted` by name.
pub async fn open(wanted: &LoadSettings) -> Result<Gpu, NoGpu> {
    let built = || -> Built { Box::pin(platform::kernels_built()) };
    let gpu = described(Gpu::open(None).await?).with_waiting(Rc::new(built));
    let report = gpu.report();
    if report.software && wanted.device == DeviceName::Auto {
        gpu.destroy();
        return Err(NoGpu::Software(report.name.clone()));
    }
    Ok(gpu)
}

/// Tests the kernels of a GPU for the weights of `checkpoint` and the cache that is `wanted`, and requests those that answers with
/// `sampling` need. `progress` receives the number of finished steps and of all steps. A GPU that fails is destroyed.
pub async fn tested(
    gpu: &Gpu,
    checkpoint: &Checkpoint,
    wanted: &LoadSettings,
    sampling: &Sampling,
    progress: &dyn Fn(usize, usize),
) -> Result<Chosen, NoGpu> {
    let chosen = prepared(gpu, checkpoint, wanted, sampling, progress).await;
    if chosen.is_err() {
        gpu.destroy();
    }
    chosen
}

/// Adds the browser's information about the adapter to the device.
fn described(gpu: Gpu) -> Gpu {
    let Some(BrowserAdapter { name, is_fallback, subgroups }) = platform::browser_adapter() else { return gpu };
    let report = gpu.report().clone().with_browser_info(name, is_fallback, subgroups);
    gpu.with_report(report)
}

async fn prepared(
    gpu: &Gpu,
    checkpoint: &Checkpoint,
    wanted: &LoadSettings,
    sampling: &Sampling,
    progress: &dyn Fn(usize, usize),
) -> Result<Chosen, NoGpu> {
    let key = gpu.report().key();
    // A result stored by an older version in another form is discarded.
    let known: Option<Trust> = serde_json::from_value(wanted.trust[&key].clone()).ok();
    let needed = Needed { layouts: gpu_layouts(checkpoint), caches: vec![wanted.cache_type()] };
    let trust =
        known_answers(gpu, &needed, known, &platform::seconds, &mut |done, total| progress(done, total)).await?;
    let prefill_rows = if gpu.report().software { SOFTWARE_PREFILL_ROWS } else { PREFILL_ROWS };
    // A failure is one of the model too, and is reported when that is placed.
    let _ = request_kernels(checkpoint, gpu, wanted.cache_type(), &[prefill_rows, 1], *sampling);
    let backend = Rc::new(RefCell::new(GpuBackend::new(gpu)?));
    let held = Rc::clone(&backend);
    let memory = move || {
        let bytes = held.borrow().device_bytes();
        DeviceMemory { weights: bytes.weights, cache: bytes.cache, scratch: bytes.activations }
    };
    let uploading = Rc::clone(&backend);
    let demoted = trust.demoted.iter().map(|demotion| format!("{} ({})", demotion.what, demotion.why)).collect();
    Ok(Chosen {
        device: backend,
        kind: Kind::Gpu(gpu.clone()),
        fallback: None,
        prefill_rows,
        tested: Some(Tested { key, demoted, trust: serde_json::to_value(&trust).unwrap_or_default() }),
        memory: Box::new(memory),
        settle: Box::new(move || Box::pin(uploading.borrow().uploaded())),
    })
}
