//! Every operation against its reference, on every instruction set of the machine.
//!
//! The tests stand outside the crate, so that its kernels are compiled once. Modules that only the crate knows are
//! compiled again here, with the tests inside them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod attention;
mod common;
mod int8;
mod lifecycle;
mod linear;
mod output;
mod pool;
mod rows;
mod table;

#[path = "../../src/cache.rs"]
#[allow(dead_code, reason = "its own tests use a part")]
mod cache;
#[path = "../../src/isa.rs"]
#[allow(dead_code, unused_imports, unused_macros, reason = "its own tests use a part")]
mod isa;
#[path = "../../src/math/mod.rs"]
#[allow(dead_code, unused_imports, reason = "its own tests use a part")]
mod math;

use honelm_cpu::TILE;
