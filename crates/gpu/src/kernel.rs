//! A kernel and its pipeline, which is built once.

use std::sync::OnceLock;

use wgpu::{ComputePipeline, PipelineLayout};

use crate::shaders::{SUBGROUPS, Variant, assemble};

/// The beginning of the label of a kernel that a browser is to build for later.
const LATER: &str = "later: ";

/// A kernel, built in the background or when it is first needed. If the device rejects it, the device reports a fault.
#[derive(Debug)]
pub(crate) struct Kernel {
    variant: Variant,
    layout: PipelineLayout,
    pipeline: OnceLock<ComputePipeline>,
}

impl Kernel {
    pub(crate) fn new(variant: Variant, layout: PipelineLayout) -> Self {
        Self { variant, layout, pipeline: OnceLock::new() }
    }

    /// Returns the kernel's name.
    pub(crate) fn op(&self) -> &'static str {
        self.variant.op
    }

    /// Returns the pipeline, waiting for a build in progress.
    pub(crate) fn pipeline(&self, device: &wgpu::Device) -> &ComputePipeline {
        self.pipeline.get_or_init(|| self.build(device, self.variant.op))
    }

    /// Asks a browser to build the pipeline for later. wgpu has no such call, so the label says it to the worker's
    /// `createComputePipeline` (`web/src/honelm/kernels.ts`). Its result is not a pipeline.
    pub(crate) fn request(&self, device: &wgpu::Device) {
        drop(self.build(device, &format!("{LATER}{}", self.variant.op)));
    }

    /// Returns `true` once the pipeline is built.
    #[cfg(test)]
    pub(crate) fn is_built(&self) -> bool {
        self.pipeline.get().is_some()
    }

    fn build(&self, device: &wgpu::Device, label: &str) -> ComputePipeline {
        let mut text = assemble(&self.variant);
        // The directive of the standard, which wgpu's own parser does not know.
        if cfg!(target_arch = "wasm32") && self.variant.constants.contains(&SUBGROUPS) {
            text.insert_str(0, "enable subgroups;\n");
        }
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(self.variant.op),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
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
