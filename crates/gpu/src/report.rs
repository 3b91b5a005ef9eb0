//! What is known of an adapter before it is opened.

use crate::driver::own_memory;
use serde::Serialize;
use wgpu::{Adapter, AdapterInfo, DeviceType, Features};

/// What kind of device an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU of a virtual machine.
    Virtual,
    /// A processor in disguise (lavapipe, SwiftShader, WARP).
    Software,
    /// The platform does not say, as in browsers.
    Unknown,
}

/// An adapter: its names, the limits that matter, its features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdapterReport {
    /// Its number, as in `gpu:N`.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `webgpu`.
    pub api: String,
    /// What kind of device it is.
    pub kind: AdapterKind,
    /// Driver and version, as far as the platform tells.
    pub driver: String,
    /// Where it is on the PCI bus, e.g. `0000:01:00.0`, where the platform tells.
    pub pci: Option<String>,
    /// Whether it is a processor in disguise.
    pub software: bool,
    /// Bytes of memory of its own, where the driver tells; none where it shares the processor's.
    pub own_memory: Option<u64>,
    /// Largest part of a buffer that a kernel sees, in bytes.
    pub max_binding: u64,
    /// Largest buffer, in bytes.
    pub max_buffer: u64,
    /// Memory that a workgroup shares, in bytes.
    pub workgroup_memory: u32,
    /// Threads a workgroup, at most.
    pub workgroup_threads: u32,
    /// Whether shaders may use half precision.
    pub f16: bool,
    /// Threads of a subgroup, least and most, where shaders may use them.
    pub subgroups: Option<(u32, u32)>,
    /// Whether the shader language has dot products of packed bytes; whether the device is fast at them it does not say.
    pub packed_dot: bool,
    /// Whether passes can be timed.
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

    /// The same with what a browser's own interface says of the adapter, of which wgpu tells nothing: its name, whether it is a fallback
    /// for a GPU, and the threads of a subgroup.
    #[must_use]
    pub fn told_by_browser(self, name: String, is_fallback: bool, subgroups: Option<(u32, u32)>) -> Self {
        Self { software: is_fallback || is_named_as_software(&name), name, subgroups, ..self }
    }

    /// What tells this adapter with this driver from all others: under it the result of the known-answer test is kept.
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

/// Real GPUs before software, discrete ones first.
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
    fn a_browser_tells_what_an_adapter_is() {
        let Some(report) = block_on(Gpu::adapters()).into_iter().next() else {
            honelm_testing::skip!("a_browser_tells_what_an_adapter_is", "a GPU adapter");
        };
        let told = |name: &str, is_fallback| report.clone().told_by_browser(name.to_owned(), is_fallback, Some((4, 8)));
        assert!(told("google SwiftShader", false).software && told("something", true).software);
        let real = told("nvidia ampere", false);
        assert!(!real.software && real.name == "nvidia ampere" && real.subgroups == Some((4, 8)), "{real:?}");
    }
}
