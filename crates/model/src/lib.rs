//! One definition of every model: architectures, name maps, loading, running and exporting.
//!
//! An architecture is one file in `arch/`. Its [`Module`] tree says for every weight its names, shape,
//! quantisation order and pruning axes; the loader, the quantisers and the exporters all read it.
#![forbid(unsafe_code)]

mod architecture;
mod module;
mod parameters;
mod runner;

pub use architecture::{Architecture, Facts};
pub use module::{Kind, Module, RowOrder, Slot, Tree};
pub use parameters::{Parameter, Parameters};
pub use runner::{Runner, StepOutput};

/// Why a model cannot be opened, run or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The back end refused.
    #[error(transparent)]
    Backend(#[from] honelm_backend::BackendError),
}
