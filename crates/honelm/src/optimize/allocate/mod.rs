//! The encodings of single tensors: rules, named mixes, and the choice of an encoding for each tensor.

mod allocation;
mod allocator;
mod evaluate;
mod evolution;
mod knapsack;
mod options;
mod search;
#[cfg(test)]
mod search_tests;
mod table;
mod units;

use honelm_blocks::Encoding;
use honelm_compress::{Recipe, Scheme, Target};
use honelm_eval::MIN_CHUNKS;
use honelm_model::export::Container;
use honelm_model::{Checkpoint, StoredEncoding};

pub use allocation::{Allocation, FrontierPoint, Group, StepTo};
pub(super) use allocator::{Allocator, candidate, candidate_names};
pub use options::{AllocationOptions, Goal, Strategy};

use super::candidate::slug;
use super::state::Job;
use super::{Candidate, OptimizeOptions};
use crate::fallback::{self, fallback_lines};
use crate::{Error, Events, TypeName};

/// Returns the candidates under the options about single tensors: those named in the options, the smallest first, or else
/// `candidates`.
///
/// # Errors
/// [`Error::Usage`] for a container that cannot have them, and for a rule that no matrix matches; [`Error::Fallback`] with
/// [`AllocationOptions::strict`].
pub(super) fn typed(
    options: &OptimizeOptions,
    candidates: Vec<Candidate>,
    checkpoint: &Checkpoint,
) -> Result<Vec<Candidate>, Error> {
    let AllocationOptions { goal, types, candidates: names, .. } = &options.allocation;
    if options.containers.iter().any(|container| container.groups.is_some()) {
        if goal.is_some() || !types.is_empty() || !names.is_empty() {
            let problem = "--target-size, --allocate, fractional --bits, --candidates, --pure and --tensor-type: need \
                           --container gguf";
            return Err(Error::Usage(problem.to_owned()));
        }
        let schemes: Vec<Scheme> = candidates.iter().map(|candidate| candidate.scheme.clone()).collect();
        strict(options, &schemes, checkpoint)?;
        return Ok(candidates);
    }
    if goal.is_some() {
        if options.compares() {
            return Err(Error::Usage(
                "--compare: cannot be combined with a choice of encodings for each tensor".to_owned(),
            ));
        }
        // Every other encoding of the choice fits.
        let rules = types.applied(Scheme::pure(Encoding::F32, Recipe::rtn()), checkpoint.tree())?;
        strict(options, &[rules], checkpoint)?;
        return Ok(Vec::new());
    }
    let tree = checkpoint.tree();
    let mut candidates = candidates;
    if !names.is_empty() {
        let recipe = &options.recipes[0];
        let candidate = |name: &TypeName| {
            let scheme = types.scheme(*name, tree, recipe.recipe.clone(), false)?;
            let name = name.display_name().to_owned();
            Ok(Candidate { name, container: Container::gguf(), bits: None, recipe: recipe.name.clone(), scheme })
        };
        candidates = names.iter().map(candidate).collect::<Result<_, Error>>()?;
        candidates.sort_by_key(|candidate| matrix_bytes(checkpoint, &candidate.scheme));
        candidates.dedup_by(|a, b| a.name == b.name);
    } else if !types.is_empty() {
        for candidate in &mut candidates {
            let Target::Block(encoding) = candidate.scheme.linear else { continue };
            let recipe = candidate.scheme.recipe.clone();
            candidate.scheme = types.scheme(TypeName::Encoding(encoding), tree, recipe, false)?;
        }
    }
    let schemes: Vec<Scheme> = candidates.iter().map(|candidate| candidate.scheme.clone()).collect();
    strict(options, &schemes, checkpoint)?;
    Ok(candidates)
}

/// Returns an error if a scheme has a fallback and the options forbid that.
fn strict(options: &OptimizeOptions, schemes: &[Scheme], checkpoint: &Checkpoint) -> Result<(), Error> {
    let fallbacks: Vec<_> = schemes.iter().flat_map(|scheme| fallback::of(checkpoint, scheme)).collect();
    if options.allocation.strict && !fallbacks.is_empty() {
        return Err(Error::Fallback { problems: fallback_lines(&fallbacks) });
    }
    Ok(())
}

impl Job<'_> {
    /// Returns the choices of encodings, or none where the options ask for none or there is too little text to judge them.
    pub(super) fn allocations(&self, events: Events<'_>) -> Result<Vec<Allocation>, Error> {
        let Some(goal) = self.options.allocation.goal else { return Ok(Vec::new()) };
        if self.plan.heldout.chunks.len() < MIN_CHUNKS {
            return Ok(Vec::new());
        }
        let of: String = self.source.digest.chars().take(16).collect();
        let entry = format!("allocations-{of}-{}", slug(&candidate_names(goal).join(" ")));
        if let Some(saved) = self.saved(&entry)? {
            return Ok(saved);
        }
        let work = self.folder.work(&format!("allocation-{of}"));
        let allocations =
            Allocator::new(self.options, self.source.checkpoint, self.plan, &work).allocate(goal, events)?;
        let saved = self.save(&entry, &allocations)?;
        if !self.keeps_work {
            self.folder.remove(&work)?;
        }
        Ok(saved)
    }
}

/// Returns the size in bytes of all matrices under a scheme.
fn matrix_bytes(checkpoint: &Checkpoint, scheme: &Scheme) -> u64 {
    let bytes = |(slot, target)| {
        let module = checkpoint.tree().module(slot)?;
        let encoding = match (target, checkpoint.encoding(slot).ok()?) {
            (Target::Block(encoding), _) | (_, StoredEncoding::Blocks(encoding)) => encoding,
            _ => return None,
        };
        Some(encoding.row_bytes(module.shape[1]).ok()? as u64 * module.shape[0] as u64)
    };
    scheme.targets(checkpoint.tree()).into_iter().filter_map(bytes).sum()
}
