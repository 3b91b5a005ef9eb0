//! The CPU back end: reference kernels, vector kernels and a thread pool.
//!
//! Each kernel is compiled once per instruction set ([`Isa`]) and is a safe function. Two things are unsafe: the call of a
//! copy that needs CPU features, which a token proves that only detection creates, and a few helpers that check the
//! bounds of their slices before they use pointers.
#![allow(unsafe_code, reason = "vector kernels and the thread pool; each unsafe block states its condition")]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod activation;
mod attention;
mod backend;
mod cache;
mod cells;
mod cores;
pub mod int8;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod intrinsics;
mod isa;
mod kernel;
mod linear;
mod math;
mod output;
pub mod peak;
mod pool;
#[cfg(feature = "ndarray")]
mod product;
pub mod reference;
mod rope;
mod storage;
mod values;
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use backend::{AllocatedBytes, Compute, CpuBackend, CpuOptions};
pub use cores::default_threads;
pub use isa::Isa;
#[cfg(target_arch = "wasm32")]
pub use isa::Simd128;
#[cfg(target_arch = "x86_64")]
pub use isa::{Avx2, Avx512};
#[cfg(target_arch = "aarch64")]
pub use isa::{DotProd, I8mm, Neon};
pub use output::{Output, OutputTile};
pub use pool::{MOST_THREADS, Pool};
#[cfg(feature = "ndarray")]
pub use product::multiply;
pub use weights::weight_bytes;

/// The number of output rows in a weight tile, which is the number of `f32` lanes of the widest vector.
pub const TILE: usize = 16;
