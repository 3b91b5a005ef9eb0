//! The ablation: each step alone, and pruning beside quantisation at three sizes.

use honelm_compress::{Recipe, TUNE};

use super::pays;
use super::report::{EqualBytes, StepResult};
use super::run::{Quantised, Run, with_recipe};
use super::smaller::Base;
use crate::optimize::{Goal, Measure};
use crate::{Error, Events};

/// The sizes at which pruning is compared with quantisation, relative to that of the quantised original.
const SIZES: [f64; 3] = [0.85, 1.0, 1.2];

impl Run<'_> {
    /// Measures each step but drafts on the original alone. Healing has no meaning without pruning.
    pub(super) fn measure_alone(
        &mut self,
        alone: &Quantised,
        base: Option<&Base>,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<(), Error> {
        if let Some(pruned) = self.rows.iter().find(|row| row.name == "prune") {
            let budget = self.budget(self.pipeline.prune.as_ref().and_then(|prune| prune.budget));
            let paid = pays::saving(pruned, self.original_bytes);
            self.alone.push(StepResult::gated("prune", pruned, budget, true, &paid, false));
        }
        let budget = self.budget(self.pipeline.quantise.budget);
        let paid = pays::saving(&alone.row, self.original_bytes);
        self.alone.push(StepResult::gated("quantise", &alone.row, budget, true, &paid, false));
        if let Some(base) = base {
            self.at_equal_bytes(alone, base, &mut *events, &mut *measure)?;
        }
        self.tune_alone(alone, events, measure)
    }

    /// Tunes a model that is only rounded to nearest.
    fn tune_alone(&mut self, alone: &Quantised, events: Events<'_>, measure: Measure<'_>) -> Result<(), Error> {
        let Some(tune) = &self.pipeline.tune else { return Ok(()) };
        let (rtn, source, budget) = (Recipe::rtn(), self.job.source, tune.budget);
        let mut tuned = rtn.clone();
        tuned.steps.extend(tune.settings.steps.iter().filter(|step| step.kind == TUNE).cloned());
        let rounded = with_recipe(&alone.candidate, "rtn", &rtn);
        let tuned = with_recipe(&rounded, "tuned", &tuned);
        let rounded = self.made(source, rounded, budget, &mut *events, &mut *measure)?;
        let tuned = self.made(source, tuned, budget, events, measure)?;
        let paid = pays::lowering(&tuned.row, &rounded.row);
        self.alone.push(StepResult::gated("tune", &tuned.row, self.budget(budget), true, &paid, false));
        Ok(())
    }

    /// Compares the smaller model with the original, both quantised to the same bytes.
    fn at_equal_bytes(
        &mut self,
        alone: &Quantised,
        base: &Base,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<(), Error> {
        let recipe = &self.pipeline.quantise.settings;
        let budget = self.pipeline.quantise.budget;
        for share in SIZES {
            let bytes = (alone.row.size_bytes as f64 * share) as u64;
            let how = (Goal::Bytes(bytes), recipe, budget);
            let quantised = match share {
                1.0 => Ok(alone.clone()),
                _ => self.quantise(self.job.source, "", how, &mut *events, &mut *measure),
            };
            let quantised = match quantised {
                // No choice of encodings is that small.
                Err(Error::Usage(problem)) => {
                    self.job.warnings.push(format!("{share} of the size is not compared: {problem}"));
                    continue;
                }
                made => made?,
            };
            let pruned = self.quantise(base.source(), &base.prefix(), how, &mut *events, &mut *measure)?;
            let paid = pays::pruning(&pruned.row, &quantised.row);
            self.equal_bytes.push(EqualBytes {
                target_bytes: bytes,
                pruned: pruned.row.name,
                quantised: quantised.row.name,
                pays: paid.pays,
                reason: paid.reason,
            });
        }
        Ok(())
    }
}
