//! The memory that a model needs, computed before anything is loaded.
//!
//! [`plan`] runs the model's forward pass on a back end that has no device and computes no values
//! ([`honelm_backend::Recorder`]), but records the memory that a real one would use: the weights in the device's layout,
//! the cache of a full context, and the peak of the activations. [`plan_eval`] and [`plan_compression`] return the peaks
//! of evaluation and compression. Plans count only the program's own memory. Mapped files can be in memory as well, but
//! the system can drop them at any time ([`Plan::mapped_bytes`]).
#![forbid(unsafe_code)]

mod gpu;
mod jobs;
mod kernels;
mod model;

pub use gpu::gpu_layouts;
pub use jobs::{Compression, Evaluation, Peak, plan_compression, plan_eval};
pub use kernels::request_kernels;
pub use model::{Place, Plan, PlannedTensor, Workload, has_int8_kernel, plan, plan_encodings};

/// The error of making a plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// An error of the model.
    #[error(transparent)]
    Model(#[from] honelm_model::ModelError),
}

impl PlanError {
    /// Returns a stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model(source) => source.code(),
        }
    }
}
