//! Compute pipelines, built when a kernel is first needed and kept for the device's life.

use std::cell::RefCell;
use std::collections::HashMap;

use wgpu::{BindGroupLayout, BufferBindingType, ComputePipeline, PipelineLayout, ShaderStages};

use crate::shaders::{Variant, assemble};

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
    built: RefCell<HashMap<Variant, ComputePipeline>>,
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
        Self { step, weight, cache, layouts, built: RefCell::default() }
    }

    /// The pipeline of a variant.
    pub(crate) fn get(&self, device: &wgpu::Device, variant: Variant, extra: Extra) -> ComputePipeline {
        if let Some(pipeline) = self.built.borrow().get(&variant) {
            return pipeline.clone();
        }
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(variant.op),
            source: wgpu::ShaderSource::Wgsl(assemble(&variant).into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(variant.op),
            layout: Some(&self.layouts[extra as usize]),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: None,
        });
        self.built.borrow_mut().insert(variant, pipeline.clone());
        pipeline
    }

    /// How many were built so far.
    pub(crate) fn count(&self) -> usize {
        self.built.borrow().len()
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
