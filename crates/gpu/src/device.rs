//! Adapters, and a device opened on one of them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use wgpu::{Adapter, ExperimentalFeatures, Features, Limits, WgslLanguageFeatures};

use crate::pipelines::Pipelines;
use crate::report::rank;
use crate::{AdapterReport, GpuError, Variants};

/// WebGPU's name of a limit, what the kernels need of it, and how to find what there is.
type Need = (&'static str, u64, fn(&Limits) -> u64);

/// What the kernels need of a device.
const NEEDED: [Need; 6] = [
    ("maxBindGroups", 2, |l| l.max_bind_groups.into()),
    ("maxStorageBuffersPerShaderStage", 6, |l| l.max_storage_buffers_per_shader_stage.into()),
    ("maxComputeInvocationsPerWorkgroup", 256, |l| l.max_compute_invocations_per_workgroup.into()),
    ("maxComputeWorkgroupSizeX", 256, |l| l.max_compute_workgroup_size_x.into()),
    ("maxComputeWorkgroupStorageSize", 16 << 10, |l| l.max_compute_workgroup_storage_size.into()),
    ("maxStorageBufferBindingSize", 64 << 20, |l| l.max_storage_buffer_binding_size),
];

/// What went wrong on a device, outside of any one call: the first thing stays.
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

/// The first fault, shared with the device's callbacks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<Fault>>>);

impl Faults {
    /// A lost device outranks what follows from it.
    pub(crate) fn report(&self, fault: Fault) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() || matches!(fault, Fault::Lost(_)) {
            *first = Some(fault);
        }
    }

    /// Forgets a fault that the device outlived; false where it did not.
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

/// An opened device. Clones share it.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub(crate) inner: Rc<Inner>,
    report: Rc<AdapterReport>,
    max_binding: u64,
    wide_teams: bool,
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
    /// The machine's adapters, real GPUs first; in a browser at most the one that it offers.
    pub async fn adapters() -> Vec<AdapterReport> {
        let (adapters, packed_dot) = enumerate().await;
        adapters.iter().enumerate().map(|(i, adapter)| AdapterReport::new(i, adapter, packed_dot)).collect()
    }

    /// Opens adapter `index` of [`Gpu::adapters`], the first one by default.
    ///
    /// # Errors
    /// No adapter, none of this number, limits below what the kernels need, a driver that refuses.
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
        Ok(Self { inner: Rc::new(inner), report: Rc::new(report), max_binding, wide_teams })
    }

    /// Which variants of the kernels run.
    #[must_use]
    pub fn variants(&self) -> Variants {
        self.inner.variants.get()
    }

    /// Runs other variants of the kernels from the next operation on.
    pub fn use_variants(&self, variants: Variants) {
        self.inner.variants.set(variants);
    }

    /// The same device, of which more is known than wgpu tells: of a browser's adapter it tells neither name nor kind nor subgroups,
    /// and whoever opened the device has asked for those.
    #[must_use]
    pub fn with_report(self, report: AdapterReport) -> Self {
        Self { wide_teams: !report.software, report: Rc::new(report), ..self }
    }

    /// The same device, of whose buffers kernels see at most `bytes` bytes: how a smaller device behaves.
    #[must_use]
    pub fn with_max_binding(self, bytes: u64) -> Self {
        Self { max_binding: self.max_binding.min(bytes), ..self }
    }

    /// The same device, on which many threads share a row of a weight, as suits a GPU, or few, as suits a processor: how the
    /// other kind behaves.
    #[must_use]
    pub fn with_wide_teams(self, wide_teams: bool) -> Self {
        Self { wide_teams, ..self }
    }

    pub(crate) fn wide_teams(&self) -> bool {
        self.wide_teams
    }

    /// Most bytes of one buffer that a kernel can see.
    pub(crate) fn max_binding(&self) -> u64 {
        self.max_binding
    }

    /// Gives the device back at once; every later step fails as on a lost device.
    pub fn destroy(&self) {
        self.inner.faults.report(Fault::Lost("it was given back".to_owned()));
        self.inner.device.destroy();
    }

    /// Kernels built so far.
    #[must_use]
    pub fn pipelines(&self) -> usize {
        self.inner.pipelines.count()
    }

    /// The adapter that it was opened on.
    #[must_use]
    pub fn report(&self) -> &AdapterReport {
        &self.report
    }
}

/// The adapters, and whether the shader language has dot products of packed bytes.
async fn enumerate() -> (Vec<Adapter>, bool) {
    let backends = wgpu::Backends::all() - wgpu::Backends::GL;
    let descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let instance = wgpu::Instance::new(descriptor);
    let packed_dot = instance.wgsl_language_features().contains(WgslLanguageFeatures::Packed4x8IntegerDotProduct);
    // The browser answers a plain request with its power-saving adapter.
    if cfg!(target_arch = "wasm32") {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..wgpu::RequestAdapterOptions::default()
        };
        return (instance.request_adapter(&options).await.into_iter().collect(), packed_dot);
    }
    let mut adapters = instance.enumerate_adapters(backends).await;
    adapters.sort_by_key(|adapter| rank(&adapter.get_info()));
    (adapters, packed_dot)
}
