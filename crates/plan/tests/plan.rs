//! Plans compared with the memory that back ends use.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use honelm_backend::{Batch, CacheType, Sampling, Want, block_on};
use honelm_blocks::Encoding;
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_gpu::{Gpu, GpuBackend};
use honelm_model::{Checkpoint, Device, LoadOptions, Model, Runner};
use honelm_plan::{Compression, Evaluation, Place, Workload, plan, plan_compression, plan_eval, request_kernels};

/// Opens a tiny model, of which only the shapes matter.
fn tiny(name: &str) -> Checkpoint {
    tiny_with(name, &[])
}

/// Opens a tiny model with other settings.
fn tiny_with(name: &str, settings: &[(&str, usize)]) -> Checkpoint {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data/tiny").join(name);
    let mut config = honelm_formats::read_json(folder.join("config.json")).unwrap().unwrap();
    for (field, value) in settings {
        config[*field] = (*value).into();
    }
    Checkpoint::made_up(name, &config, Encoding::F32, 0).unwrap()
}

#[test]
fn weights_and_cache_are_planned_to_the_byte() {
    for (name, compute, cache_type) in [
        ("llama-grouped", Compute::F32, CacheType::F32),
        ("llama-biases-tied", Compute::Fast, CacheType::F16),
        ("llama-window", Compute::Fast, CacheType::F16),
        ("gpt2-wide", Compute::Fast, CacheType::F16),
        ("opt-after", Compute::F32, CacheType::F16),
        ("phi3-window", Compute::F32, CacheType::F32),
        ("gemma3-pattern", Compute::Fast, CacheType::Q8_0),
        ("gemma3-pattern", Compute::Fast, CacheType::Q4_0),
    ] {
        // A head of a cache of codes is a multiple of their blocks.
        let head_width = (name == "gemma3-pattern").then_some(("head_dim", cache_type.block_len()));
        let checkpoint = tiny_with(name, head_width.as_slice());
        let context = checkpoint.facts().context.min(100);
        let work =
            Workload { context: Some(context), cache_type, place: Place::Cpu(compute), step_rows: 32, logit_rows: 1 };
        let planned = plan(&checkpoint, &work).unwrap();
        assert_eq!(planned.context, context);
        assert_eq!(planned.total_bytes, planned.weights_bytes + planned.cache_bytes + planned.scratch_bytes);
        assert_eq!(planned.tensors.len(), checkpoint.tree().slots().count());

        let backend = Rc::new(RefCell::new(CpuBackend::new(CpuOptions { threads: Some(1), compute, isa: None })));
        let device: Device = Rc::clone(&backend) as Device;
        let options = LoadOptions { context: Some(context), cache_type, ..LoadOptions::default() };
        let mut model = Model::load(checkpoint.blueprint(), &checkpoint, device, &options).unwrap();
        let id = model.open();
        for tokens in vec![1; context].chunks(32) {
            let mut batch = Batch::default();
            batch.extend(id, tokens, Want::LOGITS);
            let ticket = model.step(&batch).unwrap();
            block_on(model.read(ticket)).unwrap();
        }
        let held = backend.borrow_mut().allocated_bytes();
        assert_eq!(planned.weights_bytes, held.weights as u64, "{name}: weights");
        assert_eq!(planned.cache_bytes, held.cache as u64, "{name}: cache");
        let (scratch, activations) = (planned.scratch_bytes, held.activations as u64);
        eprintln!("{name}: activations planned {scratch}, held {activations}");
        assert!(
            scratch >= activations / 2 && scratch <= activations * 3,
            "{name}: {scratch} planned, {activations} held"
        );
    }
}

#[test]
fn a_gpu_uses_the_planned_memory_and_less_than_one_shared_buffer_more() {
    let Ok(gpu) = block_on(Gpu::open(None)) else {
        honelm_testing::skip!("a_gpu_holds_what_is_planned", "a GPU adapter");
    };
    // The smallest buffer that weights share.
    let shared = 8 << 20;
    let checkpoint = tiny("llama-grouped");
    let work =
        Workload { context: Some(32), cache_type: CacheType::F16, place: Place::Gpu, step_rows: 32, logit_rows: 1 };
    let planned = plan(&checkpoint, &work).unwrap();
    let backend = Rc::new(RefCell::new(GpuBackend::new(&gpu).unwrap()));
    let options = LoadOptions { context: Some(32), cache_type: CacheType::F16, ..LoadOptions::default() };
    let mut model = Model::load(checkpoint.blueprint(), &checkpoint, Rc::clone(&backend) as Device, &options).unwrap();
    let id = model.open();
    let mut batch = Batch::default();
    batch.extend(id, &[1; 32], Want::LOGITS);
    let ticket = model.step(&batch).unwrap();
    block_on(model.read(ticket)).unwrap();
    let held = backend.borrow().device_bytes();
    assert!((planned.weights_bytes..planned.weights_bytes + shared).contains(&held.weights), "{planned:?} {held:?}");
    assert_eq!(planned.cache_bytes, held.cache);
}

#[test]
fn a_published_shape_is_planned_without_its_weights() {
    let checkpoint = Checkpoint::synthetic("llama-3.2-1b", Encoding::Q4_0, 1).unwrap();
    let planned = plan(&checkpoint, &Workload::default()).unwrap();
    // 8192 tokens x 16 layers x 2 x 512 values x 2 bytes.
    assert_eq!((planned.context, planned.cache_bytes), (8192, 8192 * 16 * 2 * 512 * 2));
    // The linear modules have 4.5 bits per weight, the tied embedding 6.5625.
    let linear = 973_078_528.0 * 4.5 / 8.0;
    let expected = linear + 262_668_288.0 * 6.5625 / 8.0;
    assert!((planned.mapped_bytes as f64 / expected - 1.0).abs() < 0.001, "{} of {expected}", planned.mapped_bytes);
    assert!(planned.weights_bytes as f64 > 0.9 * expected && (planned.weights_bytes as f64) < 1.3 * expected);
    let work = Workload { context: Some(131_073), ..Workload::default() };
    assert_eq!(plan(&checkpoint, &work).unwrap_err().code(), "context-too-long");
}

#[test]
fn a_context_of_absurd_length_is_planned_quickly() {
    let cache = |name: &str, context: usize| {
        let checkpoint = tiny_with(name, &[("max_position_embeddings", 1 << 30)]);
        plan(&checkpoint, &Workload { context: Some(context), ..Workload::default() }).unwrap().cache_bytes
    };
    let whole = cache("llama-grouped", 1 << 17);
    assert_eq!(cache("llama-grouped", 1 << 16), whole / 2);
    assert_eq!(cache("llama-grouped", 1 << 30), whole << 13);
    let windows = cache("llama-window", 1 << 12);
    assert_eq!(cache("llama-window", 1 << 30), windows, "windows keep no more");
}

#[test]
fn a_wide_model_runs_in_steps_of_few_rows() {
    let wide = tiny_with("llama-grouped", &[("intermediate_size", 1 << 18), ("max_position_embeddings", 1024)]);
    assert_eq!(wide.blueprint().step_rows(), 64);
    let planned = plan(&wide, &Workload::default()).unwrap();
    // 512 rows would take more than 1 GB.
    assert!(planned.scratch_bytes < 256 << 20, "{}", planned.scratch_bytes);
    let how = Evaluation { chunk: 512, cache_type: CacheType::F32, compute: Compute::F32 };
    assert!(plan_eval(&wide, None, &how).unwrap().peak_bytes < planned.weights_bytes + (256 << 20));
    let usual = tiny_with("llama-grouped", &[("intermediate_size", 28_672)]);
    assert!(usual.blueprint().step_rows() >= 512, "the largest of today's models");
}

#[test]
fn jobs_name_their_largest_phase() {
    let checkpoint = tiny("llama-grouped");
    let how = Evaluation { chunk: 64, cache_type: CacheType::F32, compute: Compute::F32 };
    let alone = plan_eval(&checkpoint, None, &how).unwrap();
    let beside = plan_eval(&checkpoint, Some(&checkpoint), &how).unwrap();
    assert!(beside.peak_bytes > alone.peak_bytes && beside.phases.len() == 2);
    let small = Compression { samples: 4, length: 64, step_rows: 128, kept_bytes: 1 << 20, originals: false };
    let large = Compression { samples: 400, ..small.clone() };
    let both = plan_compression(&checkpoint, &Compression { originals: true, ..small.clone() }).unwrap();
    assert!(both.peak_bytes > plan_compression(&checkpoint, &small).unwrap().peak_bytes);
    let (small, large) =
        (plan_compression(&checkpoint, &small).unwrap(), plan_compression(&checkpoint, &large).unwrap());
    // Every further sample needs memory for its activations once. The inputs of o and down are kept up to the limit.
    let kept = 4 * 64 * (64 + 96) * 4;
    assert_eq!(large.peak_bytes - small.peak_bytes, 396 * 64 * 64 * 4 + (1 << 20) - kept);
    assert!(large.phases.iter().any(|&(_, bytes)| bytes == large.peak_bytes));
}

#[test]
fn the_requested_kernels_are_all_that_a_model_uses() {
    let reports = block_on(Gpu::adapters());
    if reports.is_empty() {
        honelm_testing::skip!("the_requested_kernels_are_all_that_a_model_uses", "a GPU adapter");
    }
    for name in ["llama-grouped", "llama-biases-tied", "gpt2-wide", "phi3-window"] {
        let checkpoint = tiny(name);
        let gpu = block_on(Gpu::open(None)).unwrap();
        request_kernels(&checkpoint, &gpu, CacheType::F16, &[40, 1], Sampling::GREEDY).unwrap();
        let requested = gpu.pipelines();
        assert!(requested > 0);
        let device: Device = Rc::new(RefCell::new(GpuBackend::new(&gpu).unwrap()));
        let mut model = Model::load(checkpoint.blueprint(), &checkpoint, device, &LoadOptions::default()).unwrap();
        let id = model.open();
        for rows in [40, 1] {
            let mut batch = Batch::default();
            batch.extend(id, &vec![1; rows], Want { sample: Some(Sampling::GREEDY), ..Want::NOTHING });
            let ticket = model.step(&batch).unwrap();
            assert_eq!(block_on(model.read(ticket)).unwrap().sampled.len(), 1);
        }
        assert_eq!(gpu.pipelines(), requested, "{name}: kernels that were not requested");
    }
}
