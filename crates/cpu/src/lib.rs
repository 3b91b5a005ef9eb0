//! The CPU back end: reference and vector kernels, thread pool.
//!
//! Kernels come in one copy per instruction set ([`Isa`]). They are safe functions; what is unsafe is the call into a copy
//! that needs processor features (proved by a token that only detection makes) and a few helpers that check
//! their slices before they use pointers.
#![allow(unsafe_code, reason = "vector kernels and the thread pool; every block says why it is sound")]

mod activation;
mod attention;
mod backend;
mod cache;
pub mod int8;
mod isa;
mod kernel;
mod linear;
mod math;
mod output;
mod pool;
pub mod reference;
mod rope;
mod storage;
mod values;
mod weights;

pub use backend::{AllocatedBytes, Compute, CpuBackend, CpuOptions};
pub use isa::Isa;
#[cfg(target_arch = "wasm32")]
pub use isa::Simd128;
#[cfg(target_arch = "x86_64")]
pub use isa::{Avx2, Avx512};
pub use output::{Output, OutputTile};
pub use pool::{MOST_THREADS, Pool};
pub use weights::weight_bytes;

/// Output rows of a weight tile: the lanes of the widest vector of f32.
pub const TILE: usize = 16;
