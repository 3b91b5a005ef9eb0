//! What wgpu does not pass on of what the driver knows.

#[cfg(any(target_os = "linux", target_os = "android", windows))]
pub(crate) use vulkan::own_memory;

/// Bytes of the adapter's own memory: only Vulkan is asked.
#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
pub(crate) fn own_memory(_: &wgpu::Adapter) -> Option<u64> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android", windows))]
#[allow(unsafe_code, reason = "the only way to what wgpu knows and does not tell")]
mod vulkan {
    use ash::vk::MemoryHeapFlags;
    use wgpu::hal::api::Vulkan;

    /// Bytes of the adapter's own memory: its largest heap, as cards have a small window for the processor beside it.
    pub(crate) fn own_memory(adapter: &wgpu::Adapter) -> Option<u64> {
        // SAFETY: nothing is destroyed or changed through it, and it ends before the adapter does.
        let adapter = unsafe { adapter.as_hal::<Vulkan>() }?;
        let instance = adapter.shared_instance().raw_instance();
        // SAFETY: the device is one of this instance's, which wgpu keeps alive as long as the adapter.
        let memory = unsafe { instance.get_physical_device_memory_properties(adapter.raw_physical_device()) };
        let heaps = memory.memory_heaps_as_slice().iter();
        heaps.filter(|heap| heap.flags.contains(MemoryHeapFlags::DEVICE_LOCAL)).map(|heap| heap.size).max()
    }

    #[cfg(test)]
    mod tests {
        use honelm_backend::block_on;

        #[test]
        fn a_driver_tells_how_much_memory_there_is() {
            let backends = wgpu::Backends::VULKAN;
            let descriptor =
                wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
            let adapters = block_on(wgpu::Instance::new(descriptor).enumerate_adapters(backends));
            let Some(adapter) = adapters.first() else {
                honelm_testing::skip!("a_driver_tells_how_much_memory_there_is", "a Vulkan adapter");
            };
            let memory = super::own_memory(adapter).expect("every adapter has a heap of its own");
            assert!((1 << 28..1 << 50).contains(&memory), "{memory}");
        }
    }
}
