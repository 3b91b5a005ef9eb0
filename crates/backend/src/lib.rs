//! The back-end contract: operations, ragged steps and sequence state.
//!
//! A model's forward pass only **records**: an operation takes handles and returns a handle at once, and
//! never reads a value. [`Backend::read`] alone waits. The CPU executes while recording; a GPU
//! records commands and encodes them at [`Backend::submit`].
//!
//! [`Sequences`] turns a [`Batch`] (tokens, their sequences and parents) into a [`Step`] (positions, cache
//! cells, page tables) that a back end executes. All of that is integers and the same everywhere.
#![forbid(unsafe_code)]

mod backend;
mod batch;
mod check;
mod error;
pub mod fused;
mod handle;
mod observe;
mod profile;
mod random;
mod recorder;
mod sampling;
mod sequences;
mod step;
#[cfg(not(target_arch = "wasm32"))]
mod wait;

pub use backend::{Activation, Attention, Backend, Outputs, Read, Rope, Ticket, Value};
pub use batch::{Batch, Parent, SequenceId, Token, Want};
pub use error::BackendError;
pub use handle::{Cache, Guard, Slots, Tensor, Weight};
pub use observe::Observe;
pub use profile::{Clock, OperationCost, Placement, Profile};
pub use random::uniform;
pub use recorder::{Recorded, Recorder};
pub use sampling::{Sampling, choose};
pub use sequences::{Sequences, Truncated};
pub use step::{CacheKind, CacheSpec, CacheType, Edit, LayerCache, Seen, Segment, Step, StepGroup};
#[cfg(not(target_arch = "wasm32"))]
pub use wait::block_on;
