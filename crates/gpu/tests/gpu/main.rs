//! The GPU back end on the machine's adapters: operators, whole models, what goes wrong.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../model/tests/model/common.rs"]
#[allow(dead_code, reason = "shared with the tests of models, which use more of it")]
mod common;
mod lifecycle;
mod models;
mod operators;
mod sampling;
#[path = "../../../model/tests/model/tiny.rs"]
mod tiny;

use honelm_backend::block_on;
use honelm_gpu::Gpu;

/// Every adapter, opened; none where the machine has none.
fn adapters() -> Vec<Gpu> {
    let reports = block_on(Gpu::adapters());
    reports.iter().map(|report| block_on(Gpu::open(Some(report.index))).unwrap()).collect()
}

/// Runs `test` on every adapter, or says that there is none.
fn on_every_adapter(name: &str, test: impl Fn(&Gpu)) {
    let adapters = adapters();
    if adapters.is_empty() {
        honelm_testing::skip!(name, "a GPU adapter");
    }
    adapters.iter().for_each(test);
}
