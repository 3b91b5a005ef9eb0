//! What the tests of all crates share: test data, tolerances, a slow back end that is right, and the one table of
//! operator tests that every back end and instruction set runs, a Hub that misbehaves.
#![forbid(unsafe_code)]

mod close;
mod data;
pub mod hub;
mod naive;
pub mod operators;
mod small;
mod values;

/// Hugging Face's own reader: it must accept what ours accepts and see the same bytes.
pub use ::safetensors::SafeTensors;
pub use close::{assert_close, deviation, worst};
pub use data::{pocket_dir, test_data};
pub use naive::Naive;
pub use operators::{
    OperatorCase, Tolerance, invariance_cases, operator_cases, run_invariance_table, run_operator_table,
};
pub use small::write_small_model;
pub use values::{gaussian, matrix};

/// Says on stderr that a test is skipped, and returns from it: `skip!("matches_llama_cpp")` for one that needs larger test data,
/// `skip!("matches_llama_cpp", "an AVX-512 processor")` for another need.
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
