//! The accuracy on a task file, as data.

use honelm_eval::{Accuracy, accuracy, retained};
use serde::{Deserialize, Serialize};

use super::file::{Kind, Tasks};
use super::run::Outcome;

/// The accuracy of a model on a task file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResults {
    /// The path of the file.
    pub tasks_file: String,
    /// The SHA-256 digest of the file.
    pub tasks_sha256: String,
    /// The accuracy over all items.
    #[serde(flatten)]
    pub all: TaskFigures,
    /// The accuracy of each task, in the order of the file.
    pub tasks: Vec<TaskResult>,
}

/// The accuracy on one task: the items of a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The name.
    pub task: String,
    /// The kinds of its items: `choice`, `cloze`, `generate`.
    pub kinds: Vec<String>,
    /// The accuracy.
    #[serde(flatten)]
    pub figures: TaskFigures,
}

/// Figures of accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TaskFigures {
    /// The number of items.
    pub items: usize,
    /// The percentage of items with a correct answer.
    pub accuracy_percent: f64,
    /// Its standard error; `None` for one item.
    pub accuracy_stderr_percent: Option<f64>,
    /// For choices: the percentage if the choice with the largest log-likelihood per byte counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_norm_percent: Option<f64>,
    /// The differences from the original, if there is one.
    #[serde(flatten)]
    pub against: Option<TaskDifferences>,
}

/// The accuracy of a model relative to the original's, on the same items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TaskDifferences {
    /// The original's accuracy.
    pub base_accuracy_percent: f64,
    /// The accuracy as a percentage of the original's; `None` if the original answered nothing correctly.
    pub accuracy_retained_percent: Option<f64>,
    /// The one-sided 95% lower bound; `None` for fewer than [`honelm_eval::MIN_ITEMS`] items.
    pub accuracy_retained_percent_lower95: Option<f64>,
    /// The one-sided 95% upper bound; `None` for fewer than [`honelm_eval::MIN_ITEMS`] items.
    pub accuracy_retained_percent_upper95: Option<f64>,
}

impl TaskResults {
    /// Summarises verdicts, which are in the order of the items.
    pub(crate) fn new(tasks: &Tasks, found: &[Outcome], original: Option<&[Outcome]>) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for item in &tasks.items {
            if !names.contains(&item.task.as_str()) {
                names.push(&item.task);
            }
        }
        let of = |name: &&str| {
            let chosen = |i: &usize| tasks.items[*i].task == **name;
            let at: Vec<usize> = (0..tasks.items.len()).filter(chosen).collect();
            let mut kinds: Vec<String> = Vec::new();
            for &i in &at {
                let kind = tasks.items[i].kind.name();
                if !kinds.iter().any(|known| known == kind) {
                    kinds.push(kind.to_owned());
                }
            }
            TaskResult { task: (*name).to_owned(), kinds, figures: TaskFigures::new(tasks, &at, found, original) }
        };
        let all: Vec<usize> = (0..tasks.items.len()).collect();
        Self {
            tasks_file: tasks.name.clone(),
            tasks_sha256: tasks.digest.clone(),
            all: TaskFigures::new(tasks, &all, found, original),
            tasks: names.iter().map(of).collect(),
        }
    }
}

impl TaskFigures {
    /// Computes the figures of the items at these indices.
    fn new(tasks: &Tasks, at: &[usize], found: &[Outcome], original: Option<&[Outcome]>) -> Self {
        let correct = |outcomes: &[Outcome]| at.iter().map(|&i| outcomes[i].correct).collect::<Vec<bool>>();
        let own = correct(found);
        let Accuracy { items, percent, stderr } = accuracy(&own);
        let is_choice = at.iter().all(|&i| matches!(tasks.items[i].kind, Kind::Choice { .. }));
        let per_byte = || at.iter().map(|&i| found[i].per_byte == Some(true)).collect::<Vec<bool>>();
        let against = original.map(|original| {
            let base = correct(original);
            let kept = retained(&base, &own);
            TaskDifferences {
                base_accuracy_percent: accuracy(&base).percent,
                accuracy_retained_percent: kept.percent,
                accuracy_retained_percent_lower95: kept.lower95,
                accuracy_retained_percent_upper95: kept.upper95,
            }
        });
        Self {
            items,
            accuracy_percent: percent,
            accuracy_stderr_percent: stderr,
            accuracy_norm_percent: is_choice.then(|| accuracy(&per_byte()).percent),
            against,
        }
    }
}
