//! Every operation compared with its reference, on every instruction set of the machine.
//!
//! The tests are outside of the crate, so that its kernels are compiled once. Private modules are compiled again here, with
//! their tests.
#![allow(clippy::unwrap_used, reason = "tests")]

mod attention;
mod common;
mod int8;
mod lifecycle;
mod linear;
mod output;
mod pool;
#[cfg(feature = "ndarray")]
mod product;
mod rows;
mod table;

#[path = "../../src/cache.rs"]
#[allow(dead_code, reason = "its tests use a part")]
mod cache;
#[path = "../../src/cores.rs"]
#[allow(unreachable_pub, unsafe_code, reason = "a private module of the crate")]
mod cores;
#[path = "../../src/isa.rs"]
#[allow(dead_code, unused_imports, unused_macros, reason = "its tests use a part")]
mod isa;
#[path = "../../src/math/mod.rs"]
#[allow(dead_code, unused_imports, reason = "its tests use a part")]
mod math;

use honelm_cpu::TILE;
