//! The smaller model that pruning and healing make, and its comparison with quantisation alone at equal bytes.

use std::path::Path;
use std::time::Instant;

use honelm_compress::CompressError;
use honelm_eval::Budget;
use honelm_model::Checkpoint;

use super::makers;
use super::pays::{self, Paid};
use super::report::StepResult;
use super::run::{Quantised, Run, is_there};
use crate::open::{digest_of_all, open_quietly};
use crate::optimize::candidate::{Judged, entry, slug};
use crate::optimize::state::{Source, published_digest};
use crate::optimize::{Goal, Measure, Row};
use crate::{Error, Events};

/// A model that pruning, or pruning and healing made.
pub(super) struct Base {
    /// The steps that made it: `prune`, `prune+heal`.
    pub name: String,
    checkpoint: Checkpoint,
    digest: String,
    pub row: Row,
    judged: Judged,
}

impl Base {
    /// Returns the model as the one that candidates are made of.
    pub(super) fn source(&self) -> Source<'_> {
        Source { checkpoint: &self.checkpoint, digest: &self.digest }
    }

    /// Returns the beginning of the names of models that are made of this one.
    pub(super) fn prefix(&self) -> String {
        format!("{} ", self.name)
    }

    /// Returns `true` if a quantised model was made of this one.
    pub(super) fn made(&self, quantised: &Quantised) -> bool {
        quantised.candidate.name.starts_with(&self.prefix())
    }
}

/// The result of the steps that make the model smaller.
pub(super) struct Smaller {
    /// The smaller model; `None` without one.
    pub base: Option<Base>,
    /// `true` if a step that is not optional exceeds its budget.
    pub is_refused: bool,
}

impl Run<'_> {
    /// Prunes and heals, as far as the gates accept.
    pub(super) fn smaller(&mut self, events: Events<'_>, measure: Measure<'_>) -> Result<Smaller, Error> {
        let (pipeline, model) = (self.pipeline, self.job.options.model.clone());
        let Some(prune) = &pipeline.prune else { return Ok(Smaller { base: None, is_refused: false }) };
        let options = self.job.options;
        let budget = prune.budget;
        let mut make = |out: &Path, events: Events<'_>| makers::prune(&model, &prune.settings, options, out, events);
        let pruned = match self.whole("prune", budget, &mut make, &mut *events, &mut *measure) {
            Err(error @ Error::Compress(CompressError::Unsupported(_))) if prune.optional => {
                self.steps.push(StepResult::impossible("prune", &error));
                return Ok(Smaller { base: None, is_refused: false });
            }
            made => made?,
        };
        let holds = self.publishes(budget, &pruned.judged);
        let Paid { reason: told, .. } = pays::saving(&pruned.row, self.original_bytes);
        self.steps.push(StepResult::gated(
            "prune",
            &pruned.row,
            self.budget(budget),
            holds,
            &Paid::new(holds, told),
            holds,
        ));
        if !holds {
            return Ok(Smaller { base: None, is_refused: !prune.optional });
        }
        let Some(heal) = &pipeline.heal else { return Ok(Smaller { base: Some(pruned), is_refused: false }) };
        let budget = heal.budget;
        let student = self.job.folder.work("prune");
        let mut make =
            |out: &Path, events: Events<'_>| makers::heal(&model, &student, &heal.settings, options, out, events);
        let healed = self.whole("prune+heal", budget, &mut make, events, measure)?;
        let (holds, paid) = (self.publishes(budget, &healed.judged), pays::lowering(&healed.row, &pruned.row));
        let kept = if heal.optional { holds && paid.pays } else { holds };
        self.steps.push(StepResult::gated("heal", &healed.row, self.budget(budget), holds, &paid, kept));
        Ok(match (kept, heal.optional) {
            (true, _) => Smaller { base: Some(healed), is_refused: false },
            (false, true) => Smaller { base: Some(pruned), is_refused: false },
            (false, false) => Smaller { base: None, is_refused: true },
        })
    }

    /// Makes a folder with a whole model, judges and measures it, and adds its row. A finished folder is not made again.
    fn whole(
        &mut self,
        name: &str,
        budget: Option<Budget>,
        make: &mut dyn FnMut(&Path, Events<'_>) -> Result<(), Error>,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Base, Error> {
        let options = self.options(budget, None);
        let mut part = self.job.part(&options, self.job.source, &[]);
        let path = part.folder.work(name);
        let saved = part.saved::<Judged>(&entry(name))?;
        let is_same =
            |judged: &Judged| Ok::<_, Error>(published_digest(&path, &options.run)?.as_ref() == Some(&judged.digest));
        let judged = match saved {
            Some(judged) if is_same(&judged)? => judged,
            _ => {
                let spent = format!("seconds-{}", slug(name));
                let (earlier, start) = (part.saved::<f64>(&spent)?.unwrap_or(0.0), Instant::now());
                if !is_there(&path) {
                    let made = part.timed(name, |_| make(&path, &mut *events));
                    part.save(&spent, &(earlier + start.elapsed().as_secs_f64()))?;
                    made?;
                }
                let seconds = part.saved::<f64>(&spent)?.unwrap_or(0.0);
                part.appraise(name, &path, seconds, &self.baseline, events, measure)?
            }
        };
        let row = part.row_of(name, &judged, self.original_bytes);
        let warnings = part.warnings;
        self.add(row.clone(), judged.clone(), warnings);
        let checkpoint = open_quietly(&path, &options.run)?;
        let digest = digest_of_all(&checkpoint)?;
        Ok(Base { name: name.to_owned(), checkpoint, digest, row, judged })
    }

    /// Quantises the smaller model to the bytes of the original that is quantised alone, and returns the one that the rule
    /// prefers. A smaller model that cannot win is refused before.
    pub(super) fn compared(
        &mut self,
        base: &Base,
        alone: &Quantised,
        budget: Option<Budget>,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Quantised, Error> {
        let is_optional = self.pipeline.prune.as_ref().is_some_and(|prune| prune.optional);
        let refused = pays::is_hopeless(&base.row, &alone.row).filter(|_| is_optional && !self.job.options.ablation);
        if let Some(reason) = refused {
            self.leave_out_smaller(&Paid::new(false, reason), is_optional);
            return Ok(alone.clone());
        }
        let recipe = &self.pipeline.quantise.settings;
        let goal = Goal::Bytes(alone.row.size_bytes);
        let made = self.quantise(base.source(), &base.prefix(), (goal, recipe, budget), events, measure)?;
        let paid = pays::pruning(&made.row, &alone.row);
        self.leave_out_smaller(&paid, is_optional);
        Ok(if paid.pays || !is_optional { made } else { alone.clone() })
    }

    /// Notes on the steps that made the smaller model whether they pay. Where they do not and are optional, they are left out.
    fn leave_out_smaller(&mut self, paid: &Paid, is_optional: bool) {
        for step in self.steps.iter_mut().filter(|step| step.kept) {
            (step.pays, step.kept) = (paid.pays, paid.pays || !is_optional);
            step.reason = format!("{}; {}", step.reason, paid.reason);
        }
    }
}
