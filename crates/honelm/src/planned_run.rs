use std::path::Path;

use honelm_plan::{Plan, Workload, plan};

use crate::open::open_quietly;
use crate::{Error, RunOptions};

/// Returns the memory that a model needs to write `answers` answers at a time, with the keys and values of one full context.
/// Reads no weights.
///
/// # Errors
/// An invalid file, or a context longer than the model's.
pub fn plan_run(path: &Path, run: &RunOptions, answers: usize) -> Result<Plan, Error> {
    let checkpoint = open_quietly(path, run)?;
    let work = Workload {
        context: run.context,
        cache_type: run.cache_type,
        place: run.place(),
        logit_rows: answers.max(1),
        ..Workload::default()
    };
    Ok(plan(&checkpoint, &work)?)
}
