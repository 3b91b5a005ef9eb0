//! The GPU back end over wgpu: Vulkan, Metal and DX12 natively, WebGPU in the browser; the same Rust and the same WGSL.
#![forbid(unsafe_code)]

mod device;
mod error;
mod known_answer;
pub mod pack;
mod report;
mod shaders;

pub use device::Gpu;
pub use error::GpuError;
pub use known_answer::{Demotion, Trust, Variants, known_answers};
pub use report::{AdapterKind, AdapterReport};
