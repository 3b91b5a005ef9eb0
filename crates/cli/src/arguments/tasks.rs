//! The options about tasks, which `eval` and `optimize` share, and the table of their results.

use std::path::PathBuf;

use clap::Args;
use honelm::tasks::{TaskDifferences, TaskFigures, TaskResults};
use honelm::{TaskOptions, Tasks};

use crate::failure::Failure;
use crate::output;

/// The options about tasks.
#[derive(Debug, Clone, Args)]
pub struct TaskArguments {
    /// Tasks to answer, JSON lines: choices, cloze and generated answers (see docs/tasks.md)
    #[arg(long, value_name = "FILE")]
    tasks: Option<PathBuf>,

    /// Format the context of every task with the chat template [default: only `messages`]
    #[arg(long, requires = "tasks")]
    chat: bool,
}

impl TaskArguments {
    /// Reads the task file, if there is one.
    pub fn read(&self) -> Result<Option<TaskOptions>, Failure> {
        let Some(path) = &self.tasks else { return Ok(None) };
        Ok(Some(TaskOptions { tasks: Tasks::read(path)?, chat: self.chat }))
    }
}

/// Returns a table with a row per task, and one for all of them if there are several.
pub fn results(found: &TaskResults) -> String {
    let is_against = found.all.against.is_some();
    let mut titles = vec!["task", "kind", "items", "accuracy", "acc_norm"];
    if is_against {
        titles.extend(["original", "retained", "95% bounds"]);
    }
    let mut rows: Vec<Vec<String>> =
        found.tasks.iter().map(|task| row(&task.task, &task.kinds.join(", "), &task.figures)).collect();
    if rows.len() > 1 {
        rows.push(row("all", "", &found.all));
    }
    output::fitted(output::table(&titles, &rows))
}

fn row(name: &str, kinds: &str, figures: &TaskFigures) -> Vec<String> {
    let dash = || "-".to_owned();
    let stderr = figures.accuracy_stderr_percent.map_or_else(String::new, |e| format!(" ± {e:.1}"));
    let mut cells = vec![
        name.to_owned(),
        kinds.to_owned(),
        figures.items.to_string(),
        format!("{:.1}%{stderr}", figures.accuracy_percent),
        figures.accuracy_norm_percent.map_or_else(dash, |percent| format!("{percent:.1}%")),
    ];
    if let Some(against) = &figures.against {
        let kept = against.accuracy_retained_percent;
        cells.extend([
            format!("{:.1}%", against.base_accuracy_percent),
            kept.map_or_else(dash, |percent| format!("{percent:.1}%")),
            bounds(against).unwrap_or_else(dash),
        ]);
    }
    cells
}

/// Returns the bounds of the share of the accuracy that is retained.
fn bounds(found: &TaskDifferences) -> Option<String> {
    let upper = found.accuracy_retained_percent_upper95.map_or_else(String::new, |upper| format!(" to {upper:.1}%"));
    found.accuracy_retained_percent_lower95.map(|lower| format!("{lower:.1}%{upper}"))
}
