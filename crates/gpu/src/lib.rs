//! The GPU back end on wgpu: Vulkan, Metal and DX12 natively, WebGPU in the browser, with the same Rust and WGSL code.

mod backend;
mod builders;
mod cache;
mod device;
mod driver;
mod error;
mod kernel;
mod known_answer;
mod memory;
pub mod pack;
mod pipelines;
mod ranges;
mod readback;
mod recording;
mod report;
mod shaders;
mod timing;
mod weights;

pub use backend::{DeviceBytes, GpuBackend};
pub use device::{Built, Gpu};
pub use error::GpuError;
pub use known_answer::{Demotion, Needed, Sums, Trust, Variants, known_answers};
pub use report::{AdapterKind, AdapterReport};
pub use timing::KernelTime;
