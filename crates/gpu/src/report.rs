//! The properties of an adapter that are known before it is opened.

use crate::driver::own_memory;
use serde::Serialize;
use wgpu::{Adapter, AdapterInfo, DeviceType, Features};

/// The kind of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A GPU of a virtual machine.
    Virtual,
    /// A software implementation on the CPU (lavapipe, SwiftShader, WARP).
    Software,
    /// Unknown, because the platform does not report it (as in browsers).
    Unknown,
}

/// An adapter: its names, features, and the limits that matter here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdapterReport {
    /// The number of the adapter, as in `gpu:N`.
    pub index: usize,
    /// The name of the adapter.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `webgpu`.
    pub api: String,
    /// The kind of the adapter.
    pub kind: AdapterKind,
    /// The driver and its version, if the platform reports them.
    pub driver: String,
    /// The PCI bus address, e.g. `0000:01:00.0`, if the platform reports it.
    pub pci: Option<String>,
    /// `true` if it is a software implementation on the CPU.
    pub software: bool,
    /// The bytes of its own memory, if the driver reports them; `None` if it shares the CPU's.
    pub own_memory: Option<u64>,
    /// The largest part of a buffer that a kernel can access, in bytes.
    pub max_binding: u64,
    /// The largest buffer, in bytes.
    pub max_buffer: u64,
    /// The memory that a workgroup shares, in bytes.
    pub workgroup_memory: u32,
    /// The largest number of threads per workgroup.
    pub workgroup_threads: u32,
    /// `true` if shaders may use half precision.
    pub f16: bool,
    /// The smallest and largest number of threads per subgroup, if shaders may use subgroups.
    pub subgroups: Option<(u32, u32)>,
    /// `true` if the shader language has dot products of packed bytes. The device may still be slow at them.
    pub packed_dot: bool,
    /// `true` if compute passes can be timed.
    pub timestamps: bool,
}

impl AdapterReport {
    pub(crate) fn new(index: usize, adapter: &Adapter, packed_dot: bool) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let own_memory = own_memory(adapter).filter(|_| kind(&info) == AdapterKind::Discrete);
        let has_subgroups = features.contains(Features::SUBGROUP);
        Self {
            index,
            software: is_software(&info),
            kind: kind(&info),
            api: api_name(info.backend).to_owned(),
            driver: [info.driver.as_str(), info.driver_info.as_str()].join(" ").trim().to_owned(),
            pci: Some(info.device_pci_bus_id).filter(|id| !id.is_empty()),
            own_memory,
            max_binding: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            max_buffer: limits.max_buffer_size,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            workgroup_threads: limits.max_compute_invocations_per_workgroup,
            f16: features.contains(Features::SHADER_F16),
            subgroups: has_subgroups.then_some((info.subgroup_min_size, info.subgroup_max_size)),
            packed_dot,
            timestamps: features.contains(Features::TIMESTAMP_QUERY),
            name: if info.name.is_empty() { "unnamed adapter".to_owned() } else { info.name },
        }
    }

    /// Returns the same report with properties that the browser knows and wgpu does not: the name, `true` for a fallback
    /// adapter (in software), and the threads per subgroup.
    #[must_use]
    pub fn with_browser_info(self, name: String, is_fallback: bool, subgroups: Option<(u32, u32)>) -> Self {
        Self { software: is_fallback || is_named_as_software(&name), name, subgroups, ..self }
    }

    /// Returns a key that identifies the adapter and its driver. The result of the known-answer test is stored under it.
    #[must_use]
    pub fn key(&self) -> String {
        [self.api.as_str(), &self.name, &self.driver].join(" | ")
    }
}

fn api_name(backend: wgpu::Backend) -> &'static str {
    match backend {
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::BrowserWebGpu => "webgpu",
        _ => "other",
    }
}

fn kind(info: &AdapterInfo) -> AdapterKind {
    match info.device_type {
        _ if is_software(info) => AdapterKind::Software,
        DeviceType::DiscreteGpu => AdapterKind::Discrete,
        DeviceType::IntegratedGpu => AdapterKind::Integrated,
        DeviceType::VirtualGpu => AdapterKind::Virtual,
        _ => AdapterKind::Unknown,
    }
}

fn is_software(info: &AdapterInfo) -> bool {
    let text = format!("{} {} {}", info.name, info.driver, info.driver_info);
    info.device_type == DeviceType::Cpu || is_named_as_software(&text)
}

fn is_named_as_software(text: &str) -> bool {
    let text = text.to_lowercase();
    ["swiftshader", "llvmpipe", "lavapipe", "basic render"].iter().any(|name| text.contains(name))
}

/// Returns the position in the list of adapters: hardware GPUs before software, discrete ones first.
pub(crate) fn rank(info: &AdapterInfo) -> u8 {
    match kind(info) {
        AdapterKind::Discrete => 0,
        AdapterKind::Integrated => 1,
        AdapterKind::Virtual => 2,
        AdapterKind::Unknown => 3,
        AdapterKind::Software => 4,
    }
}

#[cfg(test)]
mod tests {
    use honelm_backend::block_on;

    use crate::Gpu;

    #[test]
    fn a_browser_describes_an_adapter() {
        let Some(report) = block_on(Gpu::adapters()).into_iter().next() else {
            honelm_testing::skip!("a_browser_describes_an_adapter", "a GPU adapter");
        };
        let told =
            |name: &str, is_fallback| report.clone().with_browser_info(name.to_owned(), is_fallback, Some((4, 8)));
        assert!(told("google SwiftShader", false).software && told("something", true).software);
        let real = told("nvidia ampere", false);
        assert!(!real.software && real.name == "nvidia ampere" && real.subgroups == Some((4, 8)), "{real:?}");
    }
}
