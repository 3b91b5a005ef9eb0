//! Compute pipelines, built from the first request for a kernel on, and kept as long as the device.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wgpu::{BindGroupLayout, BufferBindingType, PipelineLayout, ShaderStages};

use crate::builders::Builders;
use crate::kernel::Kernel;
use crate::shaders::Variant;

/// The bytes of one dispatch's parameters: the smallest offset that every device accepts.
pub(crate) const SLOT: usize = 256;

/// The buffer that a kernel uses beside the step's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    Nothing,
    /// A buffer of weights, read-only.
    Weight,
    /// A layer of a cache, writable.
    Cache,
}

/// The kernels of a device.
#[derive(Debug)]
pub(crate) struct Pipelines {
    /// Group 0: activations, parameters, numbers of the step, sampled tokens, vectors.
    pub(crate) step: BindGroupLayout,
    /// Group 1 of [`Extra::Weight`].
    pub(crate) weight: BindGroupLayout,
    /// Group 1 of [`Extra::Cache`].
    pub(crate) cache: BindGroupLayout,
    layouts: [PipelineLayout; 3],
    known: RefCell<HashMap<Variant, Arc<Kernel>>>,
    /// The kernels that a browser was asked for before they were needed.
    requested: RefCell<HashSet<Variant>>,
    builders: Builders,
}

impl Pipelines {
    pub(crate) fn new(device: &wgpu::Device) -> Self {
        let storage = |read_only| BufferBindingType::Storage { read_only };
        let step =
            layout(device, &[storage(false), BufferBindingType::Uniform, storage(true), storage(false), storage(true)]);
        let weight = layout(device, &[storage(true)]);
        let cache = layout(device, &[storage(false)]);
        let layouts = [None, Some(&weight), Some(&cache)].map(|extra| {
            let groups: Vec<_> = [Some(Some(&step)), extra.map(Some)].into_iter().flatten().collect();
            device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &groups,
                immediate_size: 0,
            })
        });
        Self {
            step,
            weight,
            cache,
            layouts,
            known: RefCell::default(),
            requested: RefCell::default(),
            builders: Builders::default(),
        }
    }

    /// Returns the kernel of a variant, and starts to build it.
    pub(crate) fn get(&self, device: &wgpu::Device, variant: Variant, extra: Extra) -> Arc<Kernel> {
        if let Some(kernel) = self.known.borrow().get(&variant) {
            return Arc::clone(kernel);
        }
        let layout = self.layouts[extra as usize].clone();
        #[allow(clippy::arc_with_non_send_sync, reason = "natively, where threads share it, it is both")]
        let kernel = Arc::new(Kernel::new(variant.clone(), layout));
        self.builders.ask(device, &kernel);
        self.known.borrow_mut().insert(variant, Arc::clone(&kernel));
        kernel
    }

    /// Requests a kernel that will be needed ([`Kernel::request`]).
    pub(crate) fn request(&self, device: &wgpu::Device, variant: Variant, extra: Extra) {
        if cfg!(not(target_arch = "wasm32")) {
            self.get(device, variant, extra);
        } else if !self.known.borrow().contains_key(&variant) && self.requested.borrow_mut().insert(variant.clone()) {
            Kernel::new(variant, self.layouts[extra as usize].clone()).request(device);
        }
    }

    /// Returns the number of kernels requested so far.
    pub(crate) fn count(&self) -> usize {
        self.known.borrow().len()
    }
}

/// Creates a layout of buffers; the uniform one has dynamic offsets, multiples of [`SLOT`].
fn layout(device: &wgpu::Device, types: &[BufferBindingType]) -> BindGroupLayout {
    let entry = |(binding, &ty)| {
        let is_uniform = ty == BufferBindingType::Uniform;
        wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: is_uniform,
                min_binding_size: is_uniform.then_some(const { std::num::NonZeroU64::new(SLOT as u64).unwrap() }),
            },
            count: None,
        }
    };
    let entries: Vec<_> = types.iter().enumerate().map(entry).collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use honelm_backend::block_on;

    use super::*;
    use crate::device::Fault;
    use crate::shaders::Constant;
    use crate::{Gpu, GpuBackend};

    fn norm(threads: u32) -> Variant {
        let constants = vec![("THREADS", Constant::U32(threads)), ("CENTRED", Constant::Bool(false))];
        Variant { op: "norm", constants, format: None }
    }

    #[test]
    fn kernels_are_built_in_the_background_once_each() {
        let Ok(gpu) = block_on(Gpu::open(None)) else {
            honelm_testing::skip!("kernels_are_built_in_the_background_once_each", "a GPU adapter");
        };
        let (pipelines, device) = (&gpu.inner.pipelines, &gpu.inner.device);
        let kernels = [16, 32, 64, 128].map(|threads| pipelines.get(device, norm(threads), Extra::Nothing));
        assert_eq!(pipelines.count(), 4);
        assert!(Arc::ptr_eq(&kernels[1], &pipelines.get(device, norm(32), Extra::Nothing)));
        // Nothing waits for a pipeline here.
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while kernels.iter().any(|kernel| !kernel.is_built()) {
            assert!(std::time::Instant::now() < patience, "no kernel was built");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let built = kernels[0].pipeline(device).clone();
        assert_eq!(kernels[0].pipeline(device), &built);
    }

    #[test]
    fn a_kernel_that_cannot_be_built_is_a_fault_of_the_device() {
        let Ok(gpu) = block_on(Gpu::open(None)) else {
            honelm_testing::skip!("a_kernel_that_cannot_be_built_is_a_fault_of_the_device", "a GPU adapter");
        };
        assert!(GpuBackend::new(&gpu).is_ok() && gpu.inner.faults.get().is_none());
        // A workgroup without threads is invalid.
        gpu.inner.pipelines.get(&gpu.inner.device, norm(0), Extra::Nothing).pipeline(&gpu.inner.device);
        assert!(matches!(gpu.inner.faults.get(), Some(Fault::Failed(_))), "{:?}", gpu.inner.faults.get());
    }
}
