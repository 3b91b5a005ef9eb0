//! Gradients of models that record on a [`honelm_backend::Backend`], and the optimiser that uses them.
//!
//! A [`Tape`] is a back end. It passes the operations of a forward pass on to another back end, records them, and computes
//! the gradient of a loss from the record. The architecture files are the only definition of a model: nothing here knows one.
//!
//! A [`Trainer`] runs a whole model layer by layer. It keeps the input of each layer, computes the layer again on a tape when
//! its gradient is due, and so needs the memory of one layer's activations. [`divergence`], [`cross_entropy`] and [`distillation`]
//! are the losses, [`AdamW`] and [`Schedule`] turn gradients into steps.
//!
//! A [`Fit`] is the whole training of a student against a teacher: it takes the steps, keeps the best state by held-out samples, and
//! saves its work. What is trained is a [`Trained`]: [`Floats`] are all weights of a model.
//!
//! All results depend on the inputs alone, not on the number of threads.

mod backward;
mod error;
mod fit;
mod floats;
mod loss;
mod numbers;
mod optimizer;
mod random;
mod tape;
mod top;
mod trainer;

pub use backward::{Gradients, WeightGradient};
pub use error::{SaveError, TrainError};
pub use fit::{
    Fit, FitProgress, FitReport, Fitted, LayerPairs, Measured, MemorySaves, Objective, Saves, Settings, Stored,
    Trained, top_of,
};
pub use floats::{Floats, Initial};
pub use loss::{Distilled, Loss, Mix, Target, cross_entropy, distillation, divergence, mean_square};
pub use numbers::{Numbers, number_fields};
pub use optimizer::{AdamW, Fall, Moments, Schedule, clip, norm};
pub use tape::Tape;
pub use top::Top;
pub use trainer::{LayerLossOf, LossOf, Sink, Trainer, VisitLogits};
