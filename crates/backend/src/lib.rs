//! The interface of back ends: operations, ragged steps and sequence state.
//!
//! A model's forward pass only **records**: an operation takes handles, returns a handle at once, and never reads a
//! value. Only [`Backend::read`] waits. The CPU executes while recording; a GPU records commands and encodes them
//! in [`Backend::submit`].
//!
//! [`Sequences`] turns a [`Batch`] (tokens with their sequences and parents) into a [`Step`] (positions, cache
//! cells and page tables) that a back end executes. This state consists of integers and is the same on every
//! device.
#![forbid(unsafe_code)]

mod backend;
mod batch;
mod check;
mod error;
pub mod fused;
mod hadamard;
mod handle;
mod mask;
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
pub use hadamard::{hadamard, hadamard_len};
pub use handle::{Cache, Guard, Slots, Tensor, Weight};
pub use mask::TokenMask;
pub use observe::Observe;
pub use profile::{Clock, OperationCost, Placement, Profile};
pub use random::uniform;
pub use recorder::{Recorded, Recorder};
pub use sampling::{Sampling, choose, choose_allowed};
pub use sequences::{SavedSequence, Sequences, Truncated};
pub use step::{CacheKind, CacheSpec, CacheType, Edit, LayerCache, Seen, Segment, Step, StepGroup};
#[cfg(not(target_arch = "wasm32"))]
pub use wait::block_on;
