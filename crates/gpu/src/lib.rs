//! The GPU back end over wgpu: Vulkan, Metal and DX12 natively, WebGPU in the browser; the same Rust and the same WGSL.
#![forbid(unsafe_code)]

mod device;
mod error;
pub mod pack;
mod shaders;

pub use device::{AdapterReport, Gpu};
pub use error::GpuError;
