//! Gradients of models that record on a [`honelm_backend::Backend`], and the optimiser that uses them.
//!
//! A [`Tape`] is a back end. It passes the operations of a forward pass on to another back end, records them, and computes
//! the gradient of a loss from the record. The architecture files are the only definition of a model: nothing here knows one.
//!
//! A [`Trainer`] runs a whole model layer by layer. It keeps the input of each layer, computes the layer again on a tape when
//! its gradient is due, and so needs the memory of one layer's activations. [`divergence`] and [`cross_entropy`] are the
//! losses, [`AdamW`] and [`Schedule`] turn gradients into steps.
//!
//! All results depend on the inputs alone, not on the number of threads.

mod backward;
mod error;
mod loss;
mod numbers;
mod optimizer;
mod tape;
mod trainer;

pub use backward::{Gradients, WeightGradient};
pub use error::TrainError;
pub use loss::{Loss, cross_entropy, divergence};
pub use numbers::{Numbers, number_fields};
pub use optimizer::{AdamW, Moments, Schedule, clip, norm};
pub use tape::Tape;
pub use trainer::{LossOf, Sink, Trainer, VisitLogits};
