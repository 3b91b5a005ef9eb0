//! Parts of the driver's interface that wgpu does not expose.

#[cfg(any(target_os = "linux", target_os = "android", windows))]
pub(crate) use vulkan::own_memory;

/// Returns the bytes of the adapter's own memory. Only Vulkan reports them.
#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
pub(crate) fn own_memory(_: &wgpu::Adapter) -> Option<u64> {
    None
}

/// Returns an instance for computing alone, which has no connection to a window system.
pub(crate) fn instance() -> wgpu::Instance {
    let backends = wgpu::Backends::all() - wgpu::Backends::GL;
    let descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    #[cfg(target_os = "linux")]
    if let Some(instance) = vulkan::headless(&descriptor) {
        return instance;
    }
    wgpu::Instance::new(descriptor)
}

#[cfg(any(target_os = "linux", target_os = "android", windows))]
#[allow(unsafe_code, reason = "wgpu gives access to its Vulkan objects through unsafe functions alone")]
mod vulkan {
    use ash::vk::MemoryHeapFlags;
    use wgpu::hal::api::Vulkan;

    /// Creates a Vulkan instance without the extensions for X11 and Wayland; `None` where there is no Vulkan.
    ///
    /// wgpu enables these extensions even without a display handle. Mesa's device-selection layer then connects to the
    /// window system, and libwayland writes an error to stderr where `XDG_RUNTIME_DIR` is not set.
    #[cfg(target_os = "linux")]
    pub(super) fn headless(descriptor: &wgpu::InstanceDescriptor) -> Option<wgpu::Instance> {
        use ash::khr::{wayland_surface, xcb_surface, xlib_surface};

        let hal = wgpu::hal::InstanceDescriptor {
            name: "wgpu",
            flags: descriptor.flags,
            memory_budget_thresholds: descriptor.memory_budget_thresholds,
            backend_options: descriptor.backend_options.clone(),
            telemetry: None,
            display: None,
        };
        let windows = [wayland_surface::NAME, xcb_surface::NAME, xlib_surface::NAME];
        // SAFETY: the Vulkan library is loaded as by `wgpu::Instance::new`. The callback adds nothing. No enabled extension
        // requires those that it removes, and wgpu uses them only to create surfaces: it then looks for them in the list
        // and reports an error where they are missing.
        let instance = unsafe {
            wgpu::hal::vulkan::Instance::init_with_callback(
                &hal,
                Some(Box::new(move |arguments| arguments.extensions.retain(|name| !windows.contains(name)))),
            )
        };
        // SAFETY: the instance was just created and is owned by nothing else.
        instance.ok().map(|instance| unsafe { wgpu::Instance::from_hal::<Vulkan>(instance) })
    }

    /// Returns the bytes of the adapter's largest device-local heap. A card may have a second, small heap that the CPU can
    /// map.
    pub(crate) fn own_memory(adapter: &wgpu::Adapter) -> Option<u64> {
        // SAFETY: nothing is destroyed or changed through the guard, which is dropped before the adapter.
        let adapter = unsafe { adapter.as_hal::<Vulkan>() }?;
        let instance = adapter.shared_instance().raw_instance();
        // SAFETY: the device belongs to this instance, which wgpu keeps alive as long as the adapter.
        let memory = unsafe { instance.get_physical_device_memory_properties(adapter.raw_physical_device()) };
        let heaps = memory.memory_heaps_as_slice().iter();
        heaps.filter(|heap| heap.flags.contains(MemoryHeapFlags::DEVICE_LOCAL)).map(|heap| heap.size).max()
    }

    #[cfg(test)]
    mod tests {
        use honelm_backend::block_on;

        use super::*;

        #[test]
        fn a_driver_reports_its_memory() {
            let adapters = block_on(crate::driver::instance().enumerate_adapters(wgpu::Backends::VULKAN));
            let Some(adapter) = adapters.first() else {
                honelm_testing::skip!("a_driver_reports_its_memory", "a Vulkan adapter");
            };
            let memory = own_memory(adapter).expect("every adapter has a heap of its own");
            assert!((1 << 28..1 << 50).contains(&memory), "{memory}");
        }

        #[cfg(target_os = "linux")]
        #[test]
        fn an_instance_does_not_connect_to_a_window_system() {
            let instance = crate::driver::instance();
            // SAFETY: nothing is destroyed or changed through it.
            let Some(vulkan) = (unsafe { instance.as_hal::<Vulkan>() }) else {
                honelm_testing::skip!("an_instance_does_not_connect_to_a_window_system", "Vulkan");
            };
            let mut names = vulkan.shared_instance().extensions().iter().map(|name| name.to_string_lossy());
            let found = names.find(|name| ["wayland", "xcb", "xlib"].iter().any(|system| name.contains(system)));
            assert_eq!(found, None);
        }
    }
}
