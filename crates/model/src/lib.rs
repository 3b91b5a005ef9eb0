//! One definition of every model: architectures, name maps, loading, running and exporting.
//!
//! An architecture is one file in `arch/`. Its [`Module`] tree says for every weight its names, shape,
//! quantisation order and pruning axes; the loader, the quantisers and the exporters all read it.
//!
//! [`Checkpoint::open`] reads and checks a model's files; [`Model::load`] puts its weights on a device and runs
//! it behind [`Runner`]; [`Stream`] and [`OutputLayer`] run it in parts; [`export`] writes it. Weights
//! travel as [`Parameters`] between all of these, so that compressed ones can take the place of a checkpoint's.
#![forbid(unsafe_code)]

mod arch;
mod architecture;
mod checkpoint;
mod decoder;
mod disputed;
mod error;
pub mod export;
mod fields;
mod forms;
mod gguf_config;
mod gguf_sampling;
mod layers;
mod loader;
mod model;
mod module;
mod parameters;
mod rope;
mod runner;
mod step;
mod stream;
mod weights;
mod windows;

pub use arch::architectures;
pub use architecture::{Architecture, Blueprint, CacheShape, Definition, Facts};
pub use checkpoint::{Checkpoint, FolderFiles, OpenOptions, Origin, StoredEncoding};
pub use error::ModelError;
pub use loader::Loader;
pub use model::{DEFAULT_CONTEXT, Device, LoadOptions, Model};
pub use module::{Channels, HfForm, Kind, Module, RowOrder, Slot, Tree};
pub use parameters::{Parameter, Parameters};
pub use rope::{LongRope, RopeConfig, RopeScaling, Rotation, Yarn};
pub use runner::{ReadStep, Runner, StepOutput};
pub use stream::{Bound, OutputLayer, Stream};
pub use weights::{Network, Weights};
