//! Adapters, and devices opened on them.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use wgpu::{Adapter, ExperimentalFeatures, Features, Limits, WgslLanguageFeatures};

use crate::driver::instance;
use crate::pipelines::Pipelines;
use crate::report::rank;
use crate::{AdapterReport, GpuError, Variants};

/// The WebGPU name of a limit, the value that the kernels need, and a function that reads the value of a device.
type Need = (&'static str, u64, fn(&Limits) -> u64);

/// The limits that the kernels need.
const NEEDED: [Need; 6] = [
    ("maxBindGroups", 2, |l| l.max_bind_groups.into()),
    ("maxStorageBuffersPerShaderStage", 6, |l| l.max_storage_buffers_per_shader_stage.into()),
    ("maxComputeInvocationsPerWorkgroup", 256, |l| l.max_compute_invocations_per_workgroup.into()),
    ("maxComputeWorkgroupSizeX", 256, |l| l.max_compute_workgroup_size_x.into()),
    ("maxComputeWorkgroupStorageSize", 16 << 10, |l| l.max_compute_workgroup_storage_size.into()),
    ("maxStorageBufferBindingSize", 64 << 20, |l| l.max_storage_buffer_binding_size),
];

/// A failure of a device outside of any single call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Lost(String),
    OutOfMemory,
    Failed(String),
}

impl From<wgpu::Error> for Fault {
    fn from(error: wgpu::Error) -> Self {
        match error {
            wgpu::Error::OutOfMemory { .. } => Self::OutOfMemory,
            wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                Self::Failed(description)
            }
        }
    }
}

/// The first fault of a device, shared with its callbacks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<Fault>>>);

impl Faults {
    /// Records a fault unless there is one already. A lost device replaces other faults.
    pub(crate) fn report(&self, fault: Fault) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() || matches!(fault, Fault::Lost(_)) {
            *first = Some(fault);
        }
    }

    /// Clears the fault. Returns `false` if the device is lost.
    pub(crate) fn forget(&self) -> bool {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lives = !matches!(*first, Some(Fault::Lost(_)));
        if lives {
            *first = None;
        }
        lives
    }

    pub(crate) fn get(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A future that is ready when the kernels that were requested are built.
pub type Built = Pin<Box<dyn Future<Output = ()>>>;

/// The host's function that waits for requested kernels.
#[derive(Clone)]
struct Waiting(Rc<dyn Fn() -> Built>);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

/// An opened device. Clones share it.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub(crate) inner: Rc<Inner>,
    report: Rc<AdapterReport>,
    max_binding: u64,
    wide_teams: bool,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: Limits,
    pub(crate) faults: Faults,
    pub(crate) pipelines: Pipelines,
    pub(crate) variants: Cell<Variants>,
}

impl Gpu {
    /// Returns the machine's adapters, hardware GPUs first. A browser offers at most one.
    pub async fn adapters() -> Vec<AdapterReport> {
        let (adapters, packed_dot) = enumerate().await;
        adapters.iter().enumerate().map(|(i, adapter)| AdapterReport::new(i, adapter, packed_dot)).collect()
    }

    /// Opens adapter `index` of [`Gpu::adapters`], the first by default.
    ///
    /// # Errors
    /// Fails if there is no adapter or none with this number, if a limit is below the kernels' need, or if the driver fails.
    pub async fn open(index: Option<usize>) -> Result<Self, GpuError> {
        let (adapters, packed_dot) = enumerate().await;
        let last = adapters.len().checked_sub(1).ok_or(GpuError::NoAdapter)?;
        let index = index.unwrap_or(0);
        let adapter = adapters.get(index).ok_or(GpuError::NoSuchAdapter { index, last })?;
        let (report, limits) = (AdapterReport::new(index, adapter, packed_dot), adapter.limits());
        for (limit, needed, of) in NEEDED {
            let found = of(&limits);
            if found < needed {
                return Err(GpuError::LimitTooSmall { adapter: report.name, limit, found, needed });
            }
        }
        let optional = Features::SHADER_F16 | Features::SUBGROUP | Features::TIMESTAMP_QUERY;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("honelm"),
            required_features: adapter.features() & optional,
            required_limits: limits.clone(),
            experimental_features: ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) =
            opened.map_err(|e| GpuError::NotOpened { adapter: report.name.clone(), reason: e.to_string() })?;
        let faults = Faults::default();
        let (of_errors, of_loss) = (faults.clone(), faults.clone());
        device.on_uncaptured_error(Arc::new(move |error| of_errors.report(error.into())));
        device.set_device_lost_callback(move |_, reason| of_loss.report(Fault::Lost(reason)));
        let pipelines = Pipelines::new(&device);
        let (max_binding, wide_teams) = (report.max_binding, !report.software);
        let variants = Cell::default();
        let inner = Inner { device, queue, limits, faults, pipelines, variants };
        Ok(Self { inner: Rc::new(inner), report: Rc::new(report), max_binding, wide_teams, waiting: None })
    }

    /// Returns the variants of the kernels that are in use.
    #[must_use]
    pub fn variants(&self) -> Variants {
        self.inner.variants.get()
    }

    /// Selects the variants of the kernels from the next operation on.
    pub fn use_variants(&self, variants: Variants) {
        self.inner.variants.set(variants);
    }

    /// Returns the same device with another report. wgpu knows neither the name, the kind nor the subgroups of a browser's
    /// adapter; the code that opened the device can ask the browser.
    #[must_use]
    pub fn with_report(self, report: AdapterReport) -> Self {
        Self { wide_teams: !report.software, report: Rc::new(report), ..self }
    }

    /// Returns the same device with a function that waits for requested kernels. A browser builds these in the background, and a
    /// kernel that is needed before would be built twice.
    #[must_use]
    pub fn with_waiting(self, waiting: Rc<dyn Fn() -> Built>) -> Self {
        Self { waiting: Some(Waiting(waiting)), ..self }
    }

    /// Waits until the kernels that were requested are built. Natively, each waits for itself when it is needed.
    pub async fn built(&self) {
        if let Some(Waiting(built)) = &self.waiting {
            built().await;
        }
    }

    /// Returns the same device with buffer bindings limited to `bytes` bytes, to test the behaviour of a smaller device.
    #[must_use]
    pub fn with_max_binding(self, bytes: u64) -> Self {
        Self { max_binding: self.max_binding.min(bytes), ..self }
    }

    /// Returns the same device with another number of threads per row of a weight: many, as on a GPU, or few, as on a CPU.
    /// This tests the behaviour of the other kind of device.
    #[must_use]
    pub fn with_wide_teams(self, wide_teams: bool) -> Self {
        Self { wide_teams, ..self }
    }

    pub(crate) fn wide_teams(&self) -> bool {
        self.wide_teams
    }

    /// Returns the largest part of a buffer that a kernel can access, in bytes.
    pub(crate) fn max_binding(&self) -> u64 {
        self.max_binding
    }

    /// Destroys the device immediately. Every later step fails as on a lost device.
    pub fn destroy(&self) {
        self.inner.faults.report(Fault::Lost("it was destroyed".to_owned()));
        self.inner.device.destroy();
    }

    /// Returns the number of kernels built so far.
    #[must_use]
    pub fn pipelines(&self) -> usize {
        self.inner.pipelines.count()
    }

    /// Returns the report of the device's adapter.
    #[must_use]
    pub fn report(&self) -> &AdapterReport {
        &self.report
    }
}

/// Returns the adapters, and `true` if the shader language has dot products of packed bytes.
async fn enumerate() -> (Vec<Adapter>, bool) {
    let instance = instance();
    let packed_dot = instance.wgsl_language_features().contains(WgslLanguageFeatures::Packed4x8IntegerDotProduct);
    // A browser returns its power-saving adapter unless it is asked for the other.
    if cfg!(target_arch = "wasm32") {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..wgpu::RequestAdapterOptions::default()
        };
        return (instance.request_adapter(&options).await.into_iter().collect(), packed_dot);
    }
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    adapters.sort_by_key(|adapter| rank(&adapter.get_info()));
    (adapters, packed_dot)
}
