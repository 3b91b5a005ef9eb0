//! The operator table on the machine's adapters.

use honelm_backend::{Backend, block_on};
use honelm_gpu::{Gpu, GpuBackend};
use honelm_testing::{Tolerance, run_operator_table, skip};

/// Every adapter, in its own test device.
fn adapters() -> Vec<Gpu> {
    let reports = block_on(Gpu::adapters());
    reports.iter().map(|report| block_on(Gpu::open(Some(report.index))).unwrap()).collect()
}

#[test]
fn operators_match_their_definitions() {
    let adapters = adapters();
    if adapters.is_empty() {
        skip!("operators_match_their_definitions", "a GPU adapter");
    }
    for gpu in adapters {
        eprintln!("{:?}", gpu.report());
        let mut make = || Box::new(GpuBackend::new(&gpu).unwrap()) as Box<dyn Backend>;
        run_operator_table(&mut make, &Tolerance::F32);
        eprintln!("{} kernels", gpu.pipelines());
    }
}
