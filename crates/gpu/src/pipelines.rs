//! Compute pipelines, built from the moment that a kernel is first asked for, and kept for the device's life.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use wgpu::{BindGroupLayout, BufferBindingType, ComputePipeline, PipelineLayout, ShaderStages};

use crate::builders::Builders;
use crate::shaders::{SUBGROUPS, Variant, assemble};

/// Bytes of the parameters of one dispatch: the least offset that every device accepts.
pub(crate) const SLOT: usize = 256;

/// What a kernel has beside the step's own buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    Nothing,
    /// A buffer of weights, to be read.
    Weight,
    /// A layer of a cache, to be written.
    Cache,
}

/// A kernel that is built in the background, or by whoever needs it before that. A device that refuses it reports a fault.
#[derive(Debug)]
pub(crate) struct Kernel {
    variant: Variant,
    layout: PipelineLayout,
    pipeline: OnceLock<ComputePipeline>,
}

impl Kernel {
    /// The kernel's name.
    pub(crate) fn op(&self) -> &'static str {
        self.variant.op
    }

    /// The pipeline; waits for a build that is under way.
    pub(crate) fn pipeline(&self, device: &wgpu::Device) -> &ComputePipeline {
        self.pipeline.get_or_init(|| self.build(device))
    }

    fn build(&self, device: &wgpu::Device) -> ComputePipeline {
        let mut text = assemble(&self.variant);
        // The standard's directive, which wgpu's own reader does not know.
        if cfg!(target_arch = "wasm32") && self.variant.constants.contains(&SUBGROUPS) {
            text.insert_str(0, "enable subgroups;\n");
        }
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(self.variant.op),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(self.variant.op),
            layout: Some(&self.layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: None,
        })
    }
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
        Self { step, weight, cache, layouts, known: RefCell::default(), builders: Builders::default() }
    }

    /// The kernel of a variant, which is being built from now on.
    pub(crate) fn get(&self, device: &wgpu::Device, variant: Variant, extra: Extra) -> Arc<Kernel> {
        if let Some(kernel) = self.known.borrow().get(&variant) {
            return Arc::clone(kernel);
        }
        let layout = self.layouts[extra as usize].clone();
        #[allow(clippy::arc_with_non_send_sync, reason = "it is both where there are threads")]
        let kernel = Arc::new(Kernel { variant: variant.clone(), layout, pipeline: OnceLock::new() });
        self.builders.ask(device, &kernel);
        self.known.borrow_mut().insert(variant, Arc::clone(&kernel));
        kernel
    }

    /// How many were asked for so far.
    pub(crate) fn count(&self) -> usize {
        self.known.borrow().len()
    }
}

/// A group of buffers, the uniform one with offsets of [`SLOT`].
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
        // Nobody asks for a pipeline here.
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while kernels.iter().any(|kernel| kernel.pipeline.get().is_none()) {
            assert!(std::time::Instant::now() < patience, "nothing is built");
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
        // A workgroup without threads.
        gpu.inner.pipelines.get(&gpu.inner.device, norm(0), Extra::Nothing).pipeline(&gpu.inner.device);
        assert!(matches!(gpu.inner.faults.get(), Some(Fault::Failed(_))), "{:?}", gpu.inner.faults.get());
    }
}
