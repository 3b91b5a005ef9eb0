//! The steps of a pipeline, one after the other.

use std::path::{Path, PathBuf};

use honelm_bench::Speed;
use honelm_compress::{Gated, Pipeline, Recipe};
use honelm_eval::{Baseline, Budget};
use honelm_formats::FormatError;

use super::drafts::{DRAFT_MODEL, DraftFigures};
use super::pays;
use super::report::{EqualBytes, PipelineReport, StepResult};
use super::smaller::Smaller;
use crate::open::weight_bytes;
use crate::optimize::candidate::Judged;
use crate::optimize::job::Found;
use crate::optimize::machine::Circumstances;
use crate::optimize::speed::{SpeedRatio, busy, typical};
use crate::optimize::state::{Job, Source, published_digest};
use crate::optimize::{
    Allocation, Candidate, Goal, Measure, NamedRecipe, OptimizeOptions, Published, Report, Row, allocate,
};
use crate::{Error, Event, Events};

/// The journal entry of what is published, written before it is.
pub(in crate::optimize) const PUBLISHED: &str = "published";

/// A quantised model.
#[derive(Clone)]
pub(super) struct Quantised {
    pub candidate: Candidate,
    pub judged: Judged,
    pub row: Row,
}

/// A pipeline at work.
pub(super) struct Run<'a> {
    pub job: Job<'a>,
    pub pipeline: &'a Pipeline,
    pub baseline: Baseline,
    pub original_bytes: u64,
    /// The rows of all models that were measured, without the original's.
    pub rows: Vec<Row>,
    pub judged: Vec<Judged>,
    pub allocations: Vec<Allocation>,
    pub steps: Vec<StepResult>,
    pub alone: Vec<StepResult>,
    pub equal_bytes: Vec<EqualBytes>,
    pub drafts: Vec<DraftFigures>,
    /// The model that writes drafts, if that pays.
    pub draft_model: Option<Published>,
}

/// Runs the steps of a pipeline, publishes what is left of them, and writes the report.
pub(in crate::optimize) fn run(
    mut job: Job<'_>,
    pipeline: &Pipeline,
    events: Events<'_>,
    measure: Measure<'_>,
) -> Result<Report, Error> {
    let (baseline, circumstances) = job.timed("original: scoring", |job| job.baseline(events))?;
    let original_bytes = weight_bytes(&job.options.model)?;
    let enough = job.has_enough_text(events);
    let mut run = Run {
        job,
        pipeline,
        baseline,
        original_bytes,
        rows: Vec::new(),
        judged: Vec::new(),
        allocations: Vec::new(),
        steps: Vec::new(),
        alone: Vec::new(),
        equal_bytes: Vec::new(),
        drafts: Vec::new(),
        draft_model: None,
    };
    run.check_results()?;
    let last = if enough { run.steps(events, measure)? } else { None };
    run.finish(circumstances, last, events, measure)
}

impl Run<'_> {
    /// Returns an error if there is a model under a final name that this job did not publish.
    fn check_results(&self) -> Result<(), Error> {
        let ours = self.job.saved::<Vec<Published>>(PUBLISHED)?.unwrap_or_default();
        let path = self.job.folder.path(DRAFT_MODEL);
        match published_digest(&path, &self.job.options.run)? {
            Some(found) if ours.iter().all(|published| published.sha256 != found) => {
                Err(FormatError::OutputExists { path: path.display().to_string() }.into())
            }
            _ => Ok(()),
        }
    }

    /// Runs all steps. Returns the model to publish; `None` where a step that is not optional exceeds its budget.
    fn steps(&mut self, events: Events<'_>, measure: Measure<'_>) -> Result<Option<Quantised>, Error> {
        let Smaller { base, is_refused } = self.smaller(&mut *events, &mut *measure)?;
        if is_refused {
            return Ok(None);
        }
        let pipeline = self.pipeline;
        let budget = pipeline.quantise.budget;
        let goal = self.job.options.allocation.goal.unwrap_or(Goal::Budget);
        let recipe = &pipeline.quantise.settings;
        let alone = self.quantise(self.job.source, "", (goal, recipe, budget), &mut *events, &mut *measure)?;
        let made = match &base {
            Some(base) => self.compared(base, &alone, budget, &mut *events, &mut *measure)?,
            None => alone.clone(),
        };
        let holds = self.publishes(budget, &made.judged);
        let paid = pays::saving(&made.row, self.original_bytes);
        self.steps.push(StepResult::gated("quantise", &made.row, self.budget(budget), holds, &paid, holds));
        if self.job.options.ablation {
            self.measure_alone(&alone, base.as_ref(), &mut *events, &mut *measure)?;
        }
        if !holds {
            return Ok(None);
        }
        let last = match &pipeline.tune {
            Some(tune) => {
                let source =
                    base.as_ref().filter(|base| base.made(&made)).map_or(self.job.source, |base| base.source());
                self.tuned(source, made, tune, &mut *events, &mut *measure)?
            }
            None => Some(made),
        };
        if let (Some(last), Some(draft)) = (&last, &pipeline.draft) {
            self.drafted(last, base.as_ref(), draft, events)?;
        }
        Ok(last)
    }

    /// Returns the budget of a step: its own, or that of the job.
    pub(super) fn budget(&self, own: Option<Budget>) -> Budget {
        own.unwrap_or(self.job.options.budget)
    }

    /// Returns the options of a part of the job. `own` is the budget of the step.
    pub(super) fn options(&self, own: Option<Budget>, how: Option<(Goal, &Recipe)>) -> OptimizeOptions {
        let mut options = OptimizeOptions { budget: self.budget(own), ..self.job.options.clone() };
        // A size that was asked for does not set aside what a step of the recipe says.
        options.size_decides &= own.is_none();
        if let Some((goal, recipe)) = how {
            options.allocation.goal = Some(goal);
            options.recipes = vec![NamedRecipe::new(options.recipes[0].name.clone(), recipe.clone())];
        }
        options
    }

    /// Returns `true` if the gate accepts a model under a budget, or the job publishes whatever its size.
    pub(super) fn publishes(&self, own: Option<Budget>, judged: &Judged) -> bool {
        self.options(own, None).publishes(judged.verdict)
    }

    /// Quantises a model with an encoding for each tensor. Of several choices of encodings, the smaller ones come first, and
    /// the first one that the gate accepts is returned, or else the last one.
    pub(super) fn quantise(
        &mut self,
        source: Source<'_>,
        prefix: &str,
        (goal, recipe, budget): (Goal, &Recipe, Option<Budget>),
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Quantised, Error> {
        let options = self.options(budget, Some((goal, recipe)));
        let mut part = self.job.part(&options, source, &[]);
        let mut allocations = part.timed("choosing encodings", |part| part.allocations(&mut *events))?;
        let mut last = None;
        for allocation in &mut allocations {
            let mut candidate = allocate::candidate(allocation, source.checkpoint.tree(), &options)?;
            candidate.name = format!("{prefix}{}", candidate.name);
            allocation.name.clone_from(&candidate.name);
            self.allocations.push(allocation.clone());
            let made = self.made(source, candidate, budget, &mut *events, &mut *measure)?;
            let holds = self.publishes(budget, &made.judged);
            last = Some(made);
            if holds {
                break;
            }
        }
        last.ok_or_else(|| Error::Usage("--text: too short for a choice of encodings".to_owned()))
    }

    /// Makes, judges and measures a candidate, and adds its row.
    pub(super) fn made(
        &mut self,
        source: Source<'_>,
        candidate: Candidate,
        budget: Option<Budget>,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Quantised, Error> {
        let options = self.options(budget, None);
        let list = [candidate];
        let mut part = self.job.part(&options, source, &list);
        let judged = part.candidate(&list[0], &self.baseline, events, measure)?;
        let row = part.row(&list[0], &judged, false, self.original_bytes);
        let warnings = part.warnings;
        self.add(row.clone(), judged.clone(), warnings);
        let [candidate] = list;
        Ok(Quantised { candidate, judged, row })
    }

    /// Adds the row of a model.
    pub(super) fn add(&mut self, row: Row, judged: Judged, warnings: Vec<String>) {
        self.job.warnings.extend(warnings);
        if self.rows.iter().all(|other| other.name != row.name) {
            self.rows.push(row);
            self.judged.push(judged);
        }
    }

    /// Tunes a quantised model. Returns the better one; `None` if tuning is not optional and exceeds its budget.
    fn tuned(
        &mut self,
        source: Source<'_>,
        made: Quantised,
        tune: &Gated<Recipe>,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Option<Quantised>, Error> {
        let budget = tune.budget;
        let tuned =
            self.made(source, with_recipe(&made.candidate, "tuned", &tune.settings), budget, events, measure)?;
        let (holds, paid) = (self.publishes(budget, &tuned.judged), pays::lowering(&tuned.row, &made.row));
        let kept = if tune.optional { holds && paid.pays } else { holds };
        self.steps.push(StepResult::gated("tune", &tuned.row, self.budget(budget), holds, &paid, kept));
        Ok(match (kept, tune.optional) {
            (true, _) => Some(tuned),
            (false, true) => Some(made),
            (false, false) => None,
        })
    }

    /// Returns the path of a quantised model.
    pub(super) fn path(&self, made: &Quantised) -> Result<PathBuf, Error> {
        let published = self.job.folder.path(made.candidate.container.output);
        let is_published = self.job.is_published(&made.candidate, &made.judged)?;
        Ok(if is_published { published } else { self.job.candidate_path(&made.candidate) })
    }

    /// Publishes the model that is left, and writes the report.
    fn finish(
        mut self,
        circumstances: Circumstances,
        last: Option<Quantised>,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Report, Error> {
        let mut published = Vec::new();
        if let Some(last) = &last {
            let sha256 = last.judged.digest.clone();
            let (container, path) = (last.candidate.container.name.to_owned(), last.candidate.container.output.into());
            let draft = self.draft_model.take();
            published.extend([Some(Published { container, path, sha256 }), draft].into_iter().flatten());
            self.job.save(PUBLISHED, &published)?;
            self.job.publish(&last.candidate, &last.judged)?;
            if let Some(draft) = published.get(1) {
                self.publish_draft(draft)?;
            }
        }
        let originals = self.job.original_speeds(self.judged.iter(), &mut *events, measure)?;
        self.warn_if_busy(&originals, &mut *events);
        let original = self.job.original_row(&self.baseline, self.original_bytes, typical(&originals));
        let chosen = last.map(|last| last.candidate.name);
        self.rows.iter_mut().for_each(|row| row.chosen = Some(&row.name) == chosen.as_ref());
        let rows: Vec<Row> = std::iter::once(original).chain(self.rows).collect();
        let pipeline = PipelineReport::new(
            (&rows, chosen.as_deref(), self.job.options.budget),
            (self.steps, self.alone),
            self.equal_bytes,
            self.drafts,
            self.job.options.other_engine.clone(),
        );
        let sample = self.job.sample_of(&published, events)?;
        let found = Found {
            calibrations: None,
            drift: None,
            chosen,
            comparison: None,
            allocations: self.allocations,
            rows,
            sample,
            published,
            pipeline: Some(pipeline),
        };
        self.job.report(circumstances, found)
    }

    fn warn_if_busy(&mut self, originals: &[Speed], events: Events<'_>) {
        let ratios: Vec<SpeedRatio> = self.rows.iter().filter_map(|row| row.speed_ratio).collect();
        if let Some(warning) = busy(originals, &ratios) {
            events(&Event::Warning(&warning));
            self.job.warnings.push(warning);
        }
    }
}

/// Returns a candidate with the same encodings by another recipe. `name` is added to its name.
pub(super) fn with_recipe(candidate: &Candidate, name: &str, recipe: &Recipe) -> Candidate {
    let mut other = candidate.clone();
    other.name = format!("{} {name}", candidate.name);
    other.scheme.recipe = recipe.clone();
    other
}

/// Returns `true` if `path` is there.
pub(super) fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}
