//! The candidates that a job would try, without the work.

use serde::Serialize;

use super::allocate::{self, Allocator};
use super::plan::Plan;
use super::{Allocation, OptimizeOptions, containers};
use crate::open::{open, tokenizer_of, weight_bytes};
use crate::{Error, Events, Planned};

/// The plan of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobPlan {
    /// The files that would be tried, the smallest first.
    pub candidates: Vec<Planned>,
    /// The choices of an encoding for each tensor; empty for a job without any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allocations: Vec<Allocation>,
}

/// Returns what [`super::optimize`] would try. Writes nothing but temporary files. A choice of an encoding for each tensor
/// takes the time that it takes there.
///
/// # Errors
/// An invalid model, text or option; [`Error::Usage`] for a container of integer groups.
pub fn plan_optimize(options: &OptimizeOptions, events: Events<'_>) -> Result<JobPlan, Error> {
    if options.containers.iter().any(|container| container.groups.is_some()) {
        return Err(Error::Usage("--dry-run: needs --container gguf".to_owned()));
    }
    if options.recipes.iter().any(|recipe| recipe.recipe.is_pipeline()) {
        let problem = "--dry-run: a pipeline makes the models that later steps depend on: found one, expected a recipe \
                       that only quantises";
        return Err(Error::Usage(problem.to_owned()));
    }
    let wanted = containers::wanted(options)?;
    let checkpoint = open(&options.model, &options.run, &mut *events)?;
    let (mut tried, _) = wanted.fitting(options, &checkpoint)?;
    let mut allocations = Vec::new();
    if let Some(goal) = options.allocation.goal {
        let plan = Plan::new(options, None, &checkpoint)?;
        let work = tempfile::tempdir().map_err(|source| Error::Io { path: std::env::temp_dir(), source })?;
        allocations = Allocator::new(options, &checkpoint, &plan, work.path()).allocate(goal, events)?;
        for allocation in &allocations {
            tried.push(allocate::candidate(allocation, checkpoint.tree(), options)?);
        }
    }
    let (tokenizer, original_bytes) = (tokenizer_of(&checkpoint)?, weight_bytes(&options.model)?);
    let planned = |candidate: &super::Candidate| {
        Planned::new(Some(candidate.name.clone()), &checkpoint, &tokenizer, &candidate.scheme, original_bytes)
    };
    Ok(JobPlan { candidates: tried.iter().map(planned).collect::<Result<_, Error>>()?, allocations })
}
