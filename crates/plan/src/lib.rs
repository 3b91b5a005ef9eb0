//! How many bytes a model needs before anything is loaded.
//!
//! [`plan`] runs a model's own forward pass on a back end without a device and without values
//! ([`honelm_backend::Recorder`]), so that it sees what the real one would hold: the weights in the device's layout, the
//! cache of a full context, and the most that activations ever take. [`plan_eval`] and [`plan_compression`] give the
//! peaks of measuring and compressing. What a plan counts is memory of the program's own; files that are mapped can
//! be in memory besides, and the system takes them back when it needs the room ([`Plan::mapped_bytes`]).
#![forbid(unsafe_code)]

mod gpu;
mod jobs;
mod model;

pub use gpu::gpu_layouts;
pub use jobs::{Compression, Evaluation, Peak, plan_compression, plan_eval};
pub use model::{Place, Plan, PlannedTensor, Workload, plan, plan_encodings};

/// Why a plan cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The model refused.
    #[error(transparent)]
    Model(#[from] honelm_model::ModelError),
}

impl PlanError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model(source) => source.code(),
        }
    }
}
