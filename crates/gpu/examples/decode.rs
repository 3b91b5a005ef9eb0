//! The speed of decoding and prefill of a model on every adapter: one compute pass per step with and without sums by subgroups, one
//! pass per dispatch, and the CPU's generic path: `cargo run --release -p honelm-gpu --example decode [MODEL]`.
#![allow(clippy::unwrap_used, reason = "a measurement, stopped by anything unexpected")]

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use honelm_backend::{Batch, Parent, Sampling, Token, Want, block_on};
use honelm_cpu::{Compute, CpuBackend, CpuOptions, Isa};
use honelm_gpu::{Gpu, GpuBackend, Variants};
use honelm_model::{Checkpoint, Device, LoadOptions, Model, Runner};

const PROMPT: usize = 128;
const TOKENS: usize = 64;
/// The number of steps that are submitted before the first of them is read.
const IN_FLIGHT: usize = 8;

const SAMPLED: Want = Want { sample: Some(Sampling::GREEDY), ..Want::NOTHING };

/// Returns prompt tokens per second and decoded tokens per second.
fn measure(model: &mut Model) -> (f64, f64) {
    let id = model.open();
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|i| 3 + i * 7 % 1000).collect();
    let mut batch = Batch::default();
    batch.extend(id, &prompt, SAMPLED);
    let start = Instant::now();
    let first = model.step(&batch).unwrap();
    block_on(model.read(first)).unwrap();
    let prefill = start.elapsed().as_secs_f64();
    let (mut last, mut row) = (first, PROMPT as u32 - 1);
    let mut tickets = Vec::new();
    let start = Instant::now();
    for _ in 0..TOKENS {
        let mut batch = Batch::default();
        batch.push(id, Token::Sampled(last, row), Parent::Previous, SAMPLED);
        (last, row) = (model.step(&batch).unwrap(), 0);
        tickets.push(last);
        if tickets.len() == IN_FLIGHT {
            block_on(model.read(tickets.remove(0))).unwrap();
        }
    }
    for ticket in tickets {
        block_on(model.read(ticket)).unwrap();
    }
    let decode = start.elapsed().as_secs_f64();
    model.close(id).unwrap();
    (PROMPT as f64 / prefill, TOKENS as f64 / decode)
}

fn report(name: &str, model: &mut Model) {
    measure(model);
    let (prefill, decode) = measure(model);
    println!("{name}: prefill {prefill:.1} tokens/s, decode {decode:.1} tokens/s");
}

fn main() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/pocket");
    let path = std::env::args().nth(1).map_or_else(|| PathBuf::from(shipped), PathBuf::from);
    let checkpoint = Checkpoint::open(path).unwrap();
    let load = |device: Device| {
        let options = LoadOptions { context: Some(512), ..LoadOptions::default() };
        Model::load(checkpoint.blueprint(), &checkpoint, device, &options).unwrap()
    };
    for adapter in block_on(Gpu::adapters()) {
        let gpu = block_on(Gpu::open(Some(adapter.index))).unwrap();
        let backend = Rc::new(RefCell::new(GpuBackend::new(&gpu).unwrap()));
        let mut model = load(backend.clone());
        if gpu.report().subgroups.is_some() {
            gpu.use_variants(Variants { subgroups: true, ..Variants::default() });
            report(&format!("{}, one pass, sums by subgroups", gpu.describe()), &mut model);
            gpu.use_variants(Variants::default());
        }
        report(&format!("{}, one pass", gpu.describe()), &mut model);
        let (dispatches, layers) = (backend.borrow().dispatches(), model.facts().layers);
        println!("  {dispatches} dispatches per token, {layers} layers, {} kernels", gpu.pipelines());
        backend.borrow_mut().set_pass_each(true);
        report(&format!("{}, one pass per dispatch", gpu.describe()), &mut model);
        backend.borrow_mut().time_kernels();
        report(&format!("{}, timed", gpu.describe()), &mut model);
        for (name, time) in backend.borrow().kernel_times() {
            println!("  {name}: {} dispatches, {:.1} ms", time.calls, time.seconds * 1e3);
        }
    }
    for threads in [1, 2] {
        let options = CpuOptions { threads: Some(threads), compute: Compute::F32, isa: Some(Isa::Generic) };
        let cpu = Rc::new(RefCell::new(CpuBackend::new(options)));
        report(&format!("cpu, generic, {threads} threads, f32"), &mut load(cpu));
    }
}
