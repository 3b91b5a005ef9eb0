//! The fuzzer. Takes libFuzzer's options; `HONELM_FUZZ_TARGET` names the target.
#![no_main]

use std::sync::LazyLock;

use honelm_fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("HONELM_FUZZ_TARGET").unwrap_or_default();
    let known: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("HONELM_FUZZ_TARGET is {name:?}, expected one of {}", known.join(", ")))
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
