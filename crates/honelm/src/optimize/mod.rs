//! The main job: finds the smallest file of a model that holds a quality budget, and proves it.

mod allocate;
mod calibrations;
mod candidate;
mod candidates;
mod comparison;
mod containers;
mod drift;
mod dry_run;
mod folder;
mod gates;
mod job;
mod ladder;
mod machine;
mod markdown;
mod pipeline;
mod plan;
mod plot;
mod report;
mod speed;
mod state;
mod tables;

use std::path::{Path, PathBuf};

use honelm_bench::Speed;
use honelm_compress::Recipe;
use honelm_eval::{Budget, Protocol, Verdict};
use honelm_model::export::{CONTAINERS, Container};

pub use allocate::{Allocation, AllocationOptions, FrontierPoint, Goal, Group, StepTo, Strategy};
pub use calibrations::{CalibrationChoice, CalibrationTrial};
pub use candidates::{Candidate, candidates};
pub use drift::Drift;
pub use dry_run::{JobPlan, plan_optimize};
pub use gates::{Findings, GateKind, GateResult, Gates, TextQuality};
pub use job::optimize;
pub use machine::Machine;
pub use pipeline::{DraftClass, DraftFigures, EqualBytes, OtherEngine, PipelineReport, StepResult};
pub use report::{Published, Quality, Report, Row, Sample, TextCard};
pub use speed::{SpeedRatio, Spread};
pub use tables::{Column, Table};

use crate::{Error, RunOptions, TextSource};

/// The name of the report for programs.
pub const REPORT: &str = "report.json";
/// The name of the report for people.
pub const REPORT_TEXT: &str = "report.md";
/// The name of the plot beside it.
pub const REPORT_PLOT: &str = "report.svg";
/// Returns the names of everything that a job publishes in its output folder.
fn results() -> impl Iterator<Item = &'static str> {
    let models = CONTAINERS.iter().map(|container| container.output);
    models.chain([pipeline::DRAFT_MODEL, REPORT, REPORT_TEXT, REPORT_PLOT])
}

/// The settings of [`optimize`].
#[derive(Debug, Clone)]
pub struct OptimizeOptions {
    /// The model: a folder or a GGUF file.
    pub model: PathBuf,
    /// The output folder.
    pub out: PathBuf,
    /// The containers to write, at least one. Each has candidates of its own, and the gate judges each by itself.
    pub containers: Vec<&'static Container>,
    /// The only width to try, in bits; `None` tries all.
    pub bits: Option<u8>,
    /// The only group size to try, for containers of integer groups; `None` tries the usual ones.
    pub group_size: Option<usize>,
    /// Several widths to compare, in bits, each compressed by every recipe; empty compares at the smallest encoding.
    pub ladder: Vec<u8>,
    /// Options about the encodings of single tensors.
    pub allocation: AllocationOptions,
    /// The recipe by which candidates are compressed. Several recipes are compared: each compresses the smallest
    /// encoding of the container, and all are judged on the whole text.
    pub recipes: Vec<NamedRecipe>,
    /// `true` to measure every step of a pipeline alone as well, and pruning at three sizes.
    pub ablation: bool,
    /// The speed of another engine on this machine, which the report of a pipeline shows beside this one's.
    pub other_engine: Option<OtherEngine>,
    /// The largest perplexity increase allowed.
    pub budget: Budget,
    /// `true` to publish a candidate of the size that was asked for whatever the verdict, which the report still tells.
    pub size_decides: bool,
    /// The limits of a candidate beside the budget.
    pub gates: Gates,
    /// The calibration texts, at least one. Of several, each is tried on the smallest candidate, and the one with the lowest
    /// divergence on one half of the held-out text is taken; the gate judges on the other half.
    pub calibrations: Vec<TextSource>,
    /// The largest number of calibration samples.
    pub calibration_samples: usize,
    /// The number of tokens per sample.
    pub calibration_length: usize,
    /// The held-out text, which decides.
    pub text: TextSource,
    /// The protocol of the evaluation.
    pub protocol: Protocol,
    /// `true` to begin again, even if work on the same model could be resumed or is done.
    pub restart: bool,
    /// `true` to begin again and replace the results of earlier runs in the folder, whatever their model.
    pub force: bool,
    /// The command line that the report shows; it does not change the result.
    pub command: Option<String>,
    /// The device and threads. With [`crate::DeviceChoice::Auto`] models run on the CPU.
    pub run: RunOptions,
}

/// A recipe and its name in the report.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedRecipe {
    /// The name: that of a built-in recipe, or a file name.
    pub name: String,
    /// The recipe.
    pub recipe: Recipe,
}

impl NamedRecipe {
    /// Creates a recipe with a name.
    #[must_use]
    pub fn new(name: impl Into<String>, recipe: Recipe) -> Self {
        Self { name: name.into(), recipe }
    }
}

impl OptimizeOptions {
    /// Returns `true` if a candidate with this verdict may be published.
    pub(crate) fn publishes(&self, verdict: Verdict) -> bool {
        verdict == Verdict::Accepted || (self.size_decides && verdict == Verdict::Rejected)
    }

    /// Returns the budget beyond which a candidate need not be scored to the end.
    pub(crate) fn early_budget(&self) -> Option<Budget> {
        (!self.compares() && !self.size_decides && !self.ablation).then_some(self.budget)
    }

    /// Returns `true` if recipes or widths are compared.
    pub(crate) fn compares(&self) -> bool {
        self.recipes.len() > 1 || !self.ladder.is_empty()
    }

    /// Returns the default settings: GGUF candidates of all widths, a budget of 0.5 perplexity, the shipped texts.
    #[must_use]
    pub fn new(model: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            out: out.into(),
            containers: vec![Container::gguf()],
            ladder: Vec::new(),
            recipes: vec![NamedRecipe::new("best", Recipe::best())],
            bits: None,
            group_size: None,
            allocation: AllocationOptions::default(),
            ablation: false,
            other_engine: None,
            budget: Budget::Absolute(0.5),
            size_decides: false,
            gates: Gates::default(),
            calibrations: vec![TextSource::Shipped],
            calibration_samples: 256,
            calibration_length: 512,
            text: TextSource::Shipped,
            protocol: Protocol::LlamaCpp(512),
            restart: false,
            force: false,
            command: None,
            run: RunOptions::default(),
        }
    }
}

/// Measures the speed and memory of the model at a path. A process of its own gives the right peak memory.
pub type Measure<'a> = &'a mut dyn FnMut(&Path) -> Result<Speed, Error>;

/// The result of [`optimize`].
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The findings.
    pub report: Report,
    /// `true` if an earlier run had finished the same job, so that nothing was done.
    pub was_done: bool,
}
