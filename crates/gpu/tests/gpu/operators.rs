use honelm_backend::Backend;
use honelm_gpu::GpuBackend;
use honelm_testing::{Tolerance, run_operator_table};

use crate::on_every_adapter;

#[test]
fn operators_match_their_definitions() {
    on_every_adapter("operators_match_their_definitions", |gpu| {
        // Lavapipe rounds every operation like a CPU; a hardware GPU divides and rounds less exactly.
        let tolerance = match gpu.report().software {
            true => Tolerance::F32,
            false => Tolerance { attention: 1e-3, ..Tolerance::F32 },
        };
        run_operator_table(&mut || Box::new(GpuBackend::new(gpu).unwrap()) as Box<dyn Backend>, &tolerance);
    });
}
