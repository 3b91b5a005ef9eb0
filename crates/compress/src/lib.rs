#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod activations;
mod calibration;
mod database;
mod error;
mod factor;
mod hessian;
mod importance;
mod linalg;
mod methods;
mod mixes;
mod model_steps;
mod overlay;
mod parallel;
mod pipeline;
mod polish;
mod prune;
mod recipe;
mod rounding;
mod saved;
mod scaling;
mod settle;
mod stage;
mod superblocks;
mod tables;
mod target;
mod tune;
mod units;
mod written;

pub use activations::{KEPT_BYTES, STEP_ROWS};
pub use calibration::Calibration;
pub use database::{Database, Encodings, Mixed};
pub use error::CompressError;
pub use factor::{Damping, Factor, Order};
pub use hessian::{Cross, Hessian};
pub use importance::{Importance, input_squares};
pub use methods::{Asymmetric, Awq, Clip, Gptq, Method, Needs, Rtn, Scales};
pub use mixes::{MIXES, Mix};
pub use model_steps::{DRAFT, DraftStep, Gated, HEAL, HealStep, PRUNE, Pipeline, PruneStep};
pub use overlay::{Change, Compressed};
pub use pipeline::{ADVANCE, INPUTS, Progress, Report, compress};
pub use prune::{
    Kept, LayerFigures, Pattern, Prune, PruneFigures, Pruned, SparseMethod, Sparsity, UnitFigures, UnitImportance,
    prune,
};
pub use recipe::{BuiltIn, RECIPES, Recipe, Step};
pub use stage::{Stage, Statistics};
pub use target::{Fallback, GroupNumbers, Scheme, Target};
pub use tune::{TUNE, Tune, TuneFigures};
pub use written::check_written;
