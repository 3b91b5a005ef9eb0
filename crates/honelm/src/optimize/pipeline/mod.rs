//! Jobs of several steps: pruning, healing, quantisation with an encoding for each tensor, tuning and drafts, each with a
//! gate. The ablation measures each step alone as well.

mod ablation;
mod chart;
mod drafts;
mod makers;
mod options;
mod other_engine;
mod pays;
mod report;
mod run;
mod smaller;
mod tables;

pub use drafts::{DraftClass, DraftFigures};
pub use other_engine::OtherEngine;
pub use report::{EqualBytes, PipelineReport, StepResult};

pub(super) use chart::chart;
pub(super) use drafts::DRAFT_MODEL;
pub(super) use options::split;
pub(super) use run::{PUBLISHED, run};
