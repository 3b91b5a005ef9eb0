//! The GPU back end on the machine's adapters: operators, whole models, failures.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
#[path = "../../../model/tests/model/common.rs"]
#[allow(dead_code, reason = "shared with the tests of models, which use more of it")]
mod common;
mod lifecycle;
mod models;
mod operators;
mod sampling;
mod teams;
#[path = "../../../model/tests/model/tiny.rs"]
mod tiny;

use honelm_backend::block_on;
use honelm_gpu::Gpu;

/// Returns every adapter, opened.
fn adapters() -> Vec<Gpu> {
    let reports = block_on(Gpu::adapters());
    reports.iter().map(|report| block_on(Gpu::open(Some(report.index))).unwrap()).collect()
}

/// Runs `test` on every adapter, or reports that there is none.
fn on_every_adapter(name: &str, test: impl Fn(&Gpu)) {
    let adapters = adapters();
    if adapters.is_empty() {
        honelm_testing::skip!(name, "a GPU adapter");
    }
    adapters.iter().for_each(test);
}
