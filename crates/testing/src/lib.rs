//! Helpers of the tests in all crates: test data, tolerances, a slow back end that is correct, the table of
//! operator tests that every back end and instruction set runs, a Hub that simulates faults, and a search
//! for secrets in what was sent.
#![forbid(unsafe_code)]

mod close;
mod data;
pub mod egress;
pub mod hub;
mod naive;
pub mod operators;
mod small;
mod values;

/// The reader of Hugging Face. It must accept every file that ours accepts, and read the same bytes.
pub use ::safetensors::SafeTensors;
pub use close::{assert_close, deviation, worst};
pub use data::{pocket_dir, test_data};
pub use naive::Naive;
pub use operators::{
    OperatorCase, Tolerance, invariance_cases, operator_cases, run_invariance_table, run_operator_table,
};
pub use small::write_small_model;
pub use values::{gaussian, matrix};

/// Reports on stderr that a test is skipped, and returns from it. `skip!("matches_llama_cpp")` is for a test that
/// needs larger test data; `skip!("matches_llama_cpp", "a CPU with AVX-512")` states another need.
#[macro_export]
macro_rules! skip {
    ($test:expr) => {
        $crate::skip!($test, "HONELM_TEST_DATA")
    };
    ($test:expr, $need:expr) => {{
        eprintln!("SKIPPED {}: needs {}", $test, $need);
        return;
    }};
}
