//! Every format on the machine's first adapter, compared with the encodings' own decoders.

use std::collections::HashMap;

use honelm_backend::block_on;
use honelm_blocks::{ScaleType, WeightData};
use wgpu::util::DeviceExt;

use super::super::{Fallback, GroupLayout, Layout, PackedWeight, pack};
use super::{
    name,
    text::dequantize,
    weights::{Random, of_every_kind},
};
use crate::Gpu;

/// Creates the pipeline that decodes weights of `layout`.
fn pipeline(gpu: &Gpu, layout: Layout, plain_half: bool) -> wgpu::ComputePipeline {
    let source = wgpu::ShaderSource::Wgsl(dequantize(layout, plain_half).into());
    let module = gpu.inner.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    gpu.inner.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    })
}

/// Decodes a packed weight in its packed order, with the shader. // [rows, cols]
fn decode(gpu: &Gpu, pipeline: &wgpu::ComputePipeline, weight: &PackedWeight) -> Vec<f32> {
    let (device, queue) = (&gpu.inner.device, &gpu.inner.queue);
    let [rows, cols] = [weight.rows, weight.cols].map(|n| n as u32);
    let filled = |words: &[u32], usage| {
        let contents = bytemuck::cast_slice(words);
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
    };
    let parameters = [rows, cols, weight.layout.row_words(weight.cols) as u32, 0];
    let parameters = filled(&parameters, wgpu::BufferUsages::UNIFORM);
    let words = filled(&weight.words, wgpu::BufferUsages::STORAGE);
    let size = u64::from(rows * cols * 4);
    let empty =
        |usage| device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    let out = empty(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let read = empty(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let group = |index, buffers: &[&wgpu::Buffer]| {
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let layout = &pipeline.get_bind_group_layout(index);
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    };
    let (base, of_weight) = (group(0, &[&parameters, &out]), group(1, &[&words]));
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, &base, &[]);
    pass.set_bind_group(1, &of_weight, &[]);
    pass.dispatch_workgroups((rows * cols.div_ceil(8)).div_ceil(64), 1, 1);
    drop(pass);
    encoder.copy_buffer_to_buffer(&out, 0, &read, 0, size);
    queue.submit([encoder.finish()]);
    read.slice(..).map_async(wgpu::MapMode::Read, |mapped| mapped.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let values = bytemuck::pod_collect_to_vec(&read.slice(..).get_mapped_range().unwrap());
    read.destroy();
    values
}

/// Returns the allowed error of the shader at a value of a row with `bias`. Product and sum may be fused into one rounding, which
/// matters only if the product is not exact: scales of 24 bits times codes of up to 8.
/// matters where the product is not exact: scales of 24 bits times codes of up to 8. In all other encodings it is.
fn allowed(layout: Layout, expected: f32, bias: Option<f32>) -> f32 {
    match (layout, bias) {
        (Layout::Groups(GroupLayout { scale_type: ScaleType::F32, .. }), Some(bias)) => {
            (expected.abs() + bias.abs()) * f32::EPSILON
        }
        _ => 0.0,
    }
}

#[test]
fn every_format_decodes_on_the_gpu_as_its_definition() {
    let Ok(gpu) = block_on(Gpu::open(None)) else {
        honelm_testing::skip!("every_format_decodes_on_the_gpu_as_its_definition", "a GPU adapter");
    };
    let mut pipelines = HashMap::new();
    for (i, weight) in of_every_kind(&mut Random::new(8)).into_iter().enumerate() {
        // Codes of other widths are stored as 4 or 8 bits.
        if matches!(&weight, WeightData::Groups(m) if ![4, 8].contains(&m.bits)) {
            continue;
        }
        let packed = pack(&weight, Fallback::Refuse).unwrap();
        let layout = packed.layout;
        // Every other weight is decoded by integer operations.
        let plain_half = i % 2 == 1;
        let pipeline = pipelines.entry((layout, plain_half)).or_insert_with(|| pipeline(&gpu, layout, plain_half));
        let found = decode(&gpu, pipeline, &packed);
        let what = format!("{} on {} ({plain_half})", name(&weight, layout), gpu.report().name);
        assert_eq!(gpu.inner.faults.get(), None, "{what}");
        for (i, f) in found.iter().enumerate() {
            let (row, k) = (i / packed.cols, i % packed.cols);
            let column = packed.order.as_ref().map_or(k, |order| order[k] as usize);
            let mut values = vec![0.0; packed.cols];
            weight.dequantize_row(row, &mut values);
            let (e, bias) = (values[column], bias(&weight, row, column));
            let flushed = e.is_subnormal() && *f == 0.0;
            let near = *f == e || (f - e).abs() <= allowed(layout, e, bias);
            let bits = (f.to_bits(), e.to_bits());
            assert!(near || flushed, "{what}: row {row}, column {column} is {f:e}, not {e:e} ({bits:x?})");
        }
    }
}

fn bias(weight: &WeightData, row: usize, column: usize) -> Option<f32> {
    match weight {
        WeightData::Groups(m) => m.bias(row, column),
        WeightData::Blocks(_) => None,
    }
}
