//! Several containers from one job: their candidates, their picks, and what is published of each.

use std::collections::HashSet;
use std::path::PathBuf;

use honelm_formats::{FormatError, publish};
use honelm_model::Checkpoint;
use honelm_model::export::Container;
use honelm_store::Digest;

use super::allocate;
use super::candidate::{Judged, entry};
use super::candidates::candidates as all_of;
use super::state::{Job, published_digest};
use super::{Candidate, OptimizeOptions, Published, Report, Row, candidates, comparison, ladder, pipeline};
use crate::Error;

/// The candidates of a job before the model is known, container by container.
#[derive(Debug)]
pub(super) struct Wanted {
    lists: Vec<Vec<Candidate>>,
    /// A sentence for each width that a container does not have.
    skipped: Vec<String>,
}

/// Returns the candidates of every container.
///
/// # Errors
/// [`Error::Usage`] for options that contradict each other, or that a container does not have.
pub(super) fn wanted(options: &OptimizeOptions) -> Result<Wanted, Error> {
    let OptimizeOptions { containers, bits, group_size, ladder, .. } = options;
    let recipe = comparison::check(&options.recipes)?;
    let mut seen = HashSet::new();
    if let Some(twice) = containers.iter().find(|container| !seen.insert(container.name)) {
        return Err(Error::Usage(format!("--container: found {twice} twice, expected different containers")));
    }
    if containers.is_empty() {
        return Err(Error::Usage("--container: found none, expected at least one".to_owned()));
    }
    ladder::check(ladder, *bits)?;
    let mut wanted = Wanted { lists: Vec::new(), skipped: Vec::new() };
    for container in containers {
        // The group size is that of the folders among several containers.
        let group_size = group_size.filter(|_| container.groups.is_some() || containers.len() == 1);
        let list = if ladder.is_empty() {
            all_of(container, *bits, group_size, recipe)?
        } else {
            let (list, skipped) = ladder::rungs(container, ladder, group_size, recipe)?;
            wanted.skipped.extend(skipped);
            list
        };
        wanted.lists.push(list);
    }
    Ok(wanted)
}

impl Wanted {
    /// Returns the candidates that can hold a model, by every recipe where recipes are compared, and a sentence for each
    /// candidate that cannot.
    ///
    /// # Errors
    /// The reason why no candidate of a container can hold the model.
    pub(super) fn fitting(
        self,
        options: &OptimizeOptions,
        checkpoint: &Checkpoint,
    ) -> Result<(Vec<Candidate>, Vec<String>), Error> {
        let Self { lists, mut skipped } = self;
        let mut all = Vec::new();
        for list in lists {
            let list = allocate::typed(options, list, checkpoint)?;
            let (mut list, unfit) = candidates::fitting(list, checkpoint)?;
            skipped.extend(unfit);
            if !options.ladder.is_empty() {
                list = ladder::by_recipes(list, &options.recipes);
            } else if options.compares() {
                list = candidates::compared(list, &options.recipes);
            }
            all.extend(list);
        }
        if options.containers.len() > 1 {
            for candidate in all.iter_mut().filter(|candidate| candidate.container.groups.is_some()) {
                candidate.name = format!("{} {}", candidate.container, candidate.name);
            }
        }
        Ok((all, skipped))
    }
}

/// Returns the only element.
pub(super) fn only<T>(list: &[T]) -> Option<&T> {
    match list {
        [one] => Some(one),
        _ => None,
    }
}

/// Returns the indices of the candidates to publish: of each container the pick among those that may be published. Where
/// widths are compared, those of the smallest such width.
pub(super) fn picks(options: &OptimizeOptions, tried: &[(&Candidate, Judged)]) -> Vec<usize> {
    let pick = |container: &&'static Container| {
        let own = tried.iter().enumerate().filter(|(_, (candidate, _))| candidate.container == *container);
        let mut own: Vec<_> = own.filter(|(_, (_, judged))| options.publishes(judged.verdict)).collect();
        let width = own.iter().map(|(_, (candidate, _))| candidate.bits).min()?;
        own.retain(|(_, (candidate, _))| candidate.bits == width);
        comparison::pick(own.iter().map(|(at, (_, judged))| (*at, judged)))
    };
    options.containers.iter().filter_map(pick).collect()
}

/// Returns the result of a comparison, in one sentence per container.
pub(super) fn sentences(options: &OptimizeOptions, rows: &[Row]) -> String {
    let sentence = |container: &&'static Container| {
        let own: Vec<&Row> = rows.iter().filter(|row| row.container.as_deref() == Some(container.name)).collect();
        match options.ladder.is_empty() {
            true => comparison::sentence(&own, options.budget),
            false => ladder::sentence(&own, options.budget),
        }
    };
    options.containers.iter().map(sentence).collect::<Vec<_>>().join(" ")
}

/// Returns `true` if all that an earlier run published is still there and unchanged.
pub(super) fn are_intact(published: &[Published], options: &OptimizeOptions) -> Result<bool, Error> {
    for Published { path, sha256, .. } in published {
        if published_digest(&options.out.join(path), &options.run)?.as_ref() != Some(sha256) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Job<'_> {
    /// Returns `true` if a candidate need not be tried: one of its container holds the budget, and nothing is compared.
    pub(super) fn is_settled(&self, candidate: &Candidate, tried: &[(&Candidate, Judged)]) -> bool {
        let holds = |(other, judged): &(&Candidate, Judged)| {
            other.container == candidate.container && self.options.publishes(judged.verdict)
        };
        !self.options.compares() && tried.iter().any(holds)
    }

    /// Returns a name for what a candidate's compression depends on within the job. Candidates with the same name have the
    /// same compressed parameters, whatever their container. In a pipeline, tuning goes on from the layers of the candidate
    /// that is not tuned.
    pub(super) fn grid(&self, candidate: &Candidate) -> String {
        let calibration = &self.plan.calibrations[self.calibration].card.sha256;
        let scheme = match self.keeps_work {
            true => candidate.scheme.untuned().describe(),
            false => candidate.scheme.describe(),
        };
        let digest = Digest::default().with(scheme).with(calibration).with(self.source.digest);
        digest.hex().chars().take(16).collect()
    }

    /// Returns `true` if a later candidate has the same compressed parameters.
    pub(super) fn is_needed_again(&self, candidate: &Candidate) -> bool {
        if self.keeps_work {
            return true;
        }
        let mut later = self.candidates.iter().skip_while(|other| *other != candidate).skip(1);
        later.any(|other| self.grid(other) == self.grid(candidate))
    }

    fn published_path(&self, container: &Container) -> PathBuf {
        self.folder.path(container.output)
    }

    /// Returns `true` if the published model is the candidate that was judged.
    pub(super) fn is_published(&self, candidate: &Candidate, judged: &Judged) -> Result<bool, Error> {
        let found = published_digest(&self.published_path(candidate.container), &self.options.run)?;
        Ok(found.as_ref() == Some(&judged.digest))
    }

    /// Returns an error if there is a model under a final name that this job did not publish.
    pub(super) fn check_results(&self) -> Result<(), Error> {
        for container in &self.options.containers {
            let path = self.published_path(container);
            let Some(found) = published_digest(&path, &self.options.run)? else { continue };
            let of_pipeline = self.saved::<Vec<Published>>(pipeline::PUBLISHED)?.unwrap_or_default();
            let mut is_ours = of_pipeline.iter().any(|published| published.sha256 == found);
            let own = self.candidates.iter().filter(|candidate| candidate.container == *container);
            let chosen = self.options.allocation.goal.map(allocate::candidate_names).unwrap_or_default();
            for name in own.map(|candidate| &candidate.name).chain(&chosen) {
                let judged = self.saved::<Judged>(&entry(name))?;
                is_ours |= judged.is_some_and(|judged| judged.digest == found);
            }
            if !is_ours {
                return Err(FormatError::OutputExists { path: path.display().to_string() }.into());
            }
        }
        Ok(())
    }

    /// Moves the accepted candidate to its final name, unless it has changed since it was judged.
    pub(super) fn publish(&self, candidate: &Candidate, judged: &Judged) -> Result<Published, Error> {
        let published = Published {
            container: candidate.container.name.to_owned(),
            path: candidate.container.output.into(),
            sha256: judged.digest.clone(),
        };
        let from = self.candidate_path(candidate);
        if self.is_published(candidate, judged)? {
            self.folder.remove(&from)?;
            return Ok(published);
        }
        if !self.is_candidate(candidate, judged)? {
            let problem = "it has changed since it was judged".to_owned();
            return Err(FormatError::Changed { file: from.display().to_string(), problem }.into());
        }
        self.checkpoint.check_files()?;
        publish(&from, &self.published_path(candidate.container), false)?;
        Ok(published)
    }
}

impl Report {
    /// Returns the rows of each container in the order in which they were tried, with its name where there are several.
    pub(super) fn by_container(&self) -> impl Iterator<Item = (Option<&str>, Vec<&Row>)> {
        let mut lists: Vec<(Option<&str>, Vec<&Row>)> = Vec::new();
        for row in self.rows.iter().skip(1) {
            match lists.iter_mut().find(|(name, _)| *name == row.container.as_deref()) {
                Some((_, rows)) => rows.push(row),
                None => lists.push((row.container.as_deref(), vec![row])),
            }
        }
        let several = lists.len() > 1;
        lists.into_iter().map(move |(name, rows)| (name.filter(|_| several), rows))
    }

    /// Returns `true` if a model was published in every container that was asked for.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.chosen.is_some()
            && (self.pipeline.is_some() || self.by_container().all(|(_, rows)| rows.iter().any(|row| row.chosen)))
    }
}
