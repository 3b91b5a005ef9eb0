//! Accuracy on tasks: multiple choice, cloze and generated answers, after the conventions of lm-evaluation-harness.

mod exact;
mod figures;
mod file;
mod prompt;
mod run;

pub use exact::{ExactMatch, Take};
pub use figures::{TaskDifferences, TaskFigures, TaskResult, TaskResults};
pub use file::{Context, Item, Kind, Tasks};

pub(crate) use prompt::{Reader, TEMPLATE_SECONDS};
pub(crate) use run::{Outcome, Prepared};

/// The tasks of an evaluation.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// The items.
    pub tasks: Tasks,
    /// `true` to make a message of each plain context, which the model's chat template formats.
    pub chat: bool,
}
