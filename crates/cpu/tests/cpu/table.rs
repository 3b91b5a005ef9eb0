use honelm_backend::Backend;
use honelm_cpu::{Compute, Isa};
use honelm_testing::{Tolerance, run_invariance_table, run_operator_table};

use crate::common::backend;

#[test]
fn operators_match_their_definitions() {
    for isa in Isa::available() {
        for (compute, tolerance) in [(Compute::F32, Tolerance::F32), (Compute::Fast, Tolerance::FAST)] {
            // On the float path all give the same bits; the fast path also has float products.
            if compute == Compute::Fast || isa == Isa::detect() {
                run_operator_table(&mut || Box::new(backend(isa, 2, compute)) as Box<dyn Backend>, &tolerance);
            }
        }
    }
}

#[test]
fn neighbours_and_threads_change_no_bit_of_a_row() {
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Generic) {
        for compute in [Compute::F32, Compute::Fast] {
            run_invariance_table(&mut || Box::new(backend(isa, 3, compute)) as Box<dyn Backend>);
        }
    }
}
