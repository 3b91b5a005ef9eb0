use honelm_backend::Backend;
use honelm_cpu::{Compute, Isa};
use honelm_testing::{Tolerance, run_invariance_table, run_operator_table};

use crate::common::{backend, instruction_sets};

#[test]
fn operators_match_their_definitions() {
    // On the float path all instruction sets give the same bits; the fast path also has float products.
    let isa = Isa::detect();
    run_operator_table(&mut || Box::new(backend(isa, 2, Compute::F32)) as Box<dyn Backend>, &Tolerance::F32);
}

#[test]
fn rounded_operators_match_their_definitions() {
    for isa in instruction_sets() {
        run_operator_table(&mut || Box::new(backend(isa, 2, Compute::Fast)) as Box<dyn Backend>, &Tolerance::FAST);
    }
}

#[test]
fn neighbours_and_threads_change_no_bit_of_a_row() {
    for isa in instruction_sets().into_iter().filter(|&isa| isa != Isa::Generic) {
        for compute in [Compute::F32, Compute::Fast] {
            run_invariance_table(&mut || Box::new(backend(isa, 3, compute)) as Box<dyn Backend>);
        }
    }
}
