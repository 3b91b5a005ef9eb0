//! Models: architectures, opening, loading, running and exporting.
//!
//! Each architecture is one file in `arch/`. Its [`Tree`] of [`Module`]s gives every weight's names in the containers, its
//! shape and its place in the order of quantisation; the loader, the quantisers and the exporters all read the tree.
//!
//! [`Checkpoint::open`] reads and checks a model's files. [`Model::load`] puts its weights on a device and runs it through
//! the trait [`Runner`]; [`Stream`] and [`OutputLayer`] run it in parts; [`export`] writes it. All of these take weights
//! from the trait [`Parameters`], so that compressed weights can replace those of a checkpoint.
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
mod gguf_keys;
mod gguf_sampling;
mod layers;
mod limits;
mod loader;
mod model;
mod module;
mod parameters;
mod pooling;
mod reading;
mod rope;
mod runner;
mod saved;
mod sentence;
mod step;
mod stream;
mod weights;
mod windows;

pub use arch::architectures;
pub use architecture::{Architecture, Blueprint, CacheShape, Definition, Facts};
pub use checkpoint::{Checkpoint, FolderFiles, Origin, Resize, StoredEncoding};
pub use error::ModelError;
pub use loader::Loader;
pub use model::{DEFAULT_CONTEXT, Device, LoadOptions, Model};
pub use module::{Channels, HfForm, Kind, Module, RowOrder, Slot, Tree};
pub use parameters::{Parameter, Parameters};
pub use pooling::{EmbeddingSettings, Pooling};
pub use reading::OpenOptions;
pub use rope::{LongRope, RopeConfig, RopeScaling, Rotation, Yarn};
pub use runner::{CacheUse, ReadStep, Runner, StepOutput};
pub use stream::{Bound, OutputLayer, Stream};
pub use weights::{Network, Weights};
