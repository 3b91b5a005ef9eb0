//! The cost of the first use of every adapter: the time of the known-answer test for the weights of a model, and the number of kernels
//! that it builds: `cargo run --release -p honelm-gpu --example first_use [MODEL]`. A driver's own cache of kernels hides the cost;
//! `MESA_SHADER_CACHE_DISABLE=true` disables that of Mesa.
#![allow(clippy::unwrap_used, reason = "a measurement, stopped by anything unexpected")]

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use honelm_backend::{CacheType, block_on};
use honelm_gpu::{Gpu, GpuBackend, Needed, known_answers};
use honelm_model::{Checkpoint, LoadOptions, Model};

fn main() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/pocket");
    let path = std::env::args().nth(1).map_or_else(|| PathBuf::from(shipped), PathBuf::from);
    let checkpoint = Checkpoint::open(path).unwrap();
    for adapter in block_on(Gpu::adapters()) {
        let gpu = block_on(Gpu::open(Some(adapter.index))).unwrap();
        let backend = Rc::new(RefCell::new(GpuBackend::new(&gpu).unwrap()));
        let model = Model::load(checkpoint.blueprint(), &checkpoint, backend.clone(), &LoadOptions::default()).unwrap();
        let needed = Needed { layouts: backend.borrow().layouts(), caches: vec![CacheType::F16] };
        drop(model);
        let start = Instant::now();
        let mut progress = |done, total| println!("  {done} of {total}: {:.2} s", start.elapsed().as_secs_f64());
        let clock = || start.elapsed().as_secs_f64();
        let trust = block_on(known_answers(&gpu, &needed, None, &clock, &mut progress)).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        println!("{}: {seconds:.2} s for {} answers of {} kernels", gpu.describe(), trust.answers, gpu.pipelines());
        println!("  {:?}, {:?}, {:?}", trust.variants, trust.sums, trust.demoted);
    }
}
