//! The step that measures drafts: proposals from the text, and of the smaller model if the pipeline made one.

use std::path::Path;

use honelm_blocks::Encoding;
use honelm_compress::{DraftStep, Gated, Recipe};
use honelm_engine::Speculate;
use honelm_formats::publish;
use honelm_model::export::Container;
use serde::{Deserialize, Serialize};

use super::pays::{self, Paid};
use super::report::StepResult;
use super::run::{Quantised, Run, is_there};
use super::smaller::Base;
use super::tables::ORIGINAL;
use crate::measure::{SpeculationOptions, SpeculationRow, speculation};
use crate::optimize::candidate::slug;
use crate::optimize::candidates::in_blocks;
use crate::optimize::state::published_digest;
use crate::optimize::{NamedRecipe, Published};
use crate::{Error, Events, RunOptions};

/// The name of a published model that writes drafts.
pub(in crate::optimize) const DRAFT_MODEL: &str = "draft.gguf";
/// The file of the same model before it is published.
const DRAFT_WORK: &str = "draft-model.gguf";

/// The speed of a model's answers with drafts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DraftFigures {
    /// The row of the model.
    pub model: String,
    /// The source of the drafts: `ngram`, or `draft`, a smaller model.
    pub speculate: String,
    /// The geometric mean of the speedups over the classes of prompts.
    pub speedup: f64,
    /// The speedup in the slowest class.
    pub lowest: f64,
    /// `true` if these drafts pay.
    pub pays: bool,
    /// The classes of prompts.
    pub classes: Vec<DraftClass>,
}

/// The speed with drafts on one class of prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DraftClass {
    /// `story`, `repetition`, `code` or `extraction`.
    pub class: String,
    /// The rate without drafts.
    pub plain_tokens_per_second: f64,
    /// The rate with drafts.
    pub tokens_per_second: f64,
    /// The quotient of the two.
    pub speedup: f64,
    /// Its one-sided 95% lower bound.
    pub speedup_lower95: f64,
    /// The number of pairs of answers.
    pub rounds: usize,
    /// The number of pairs of which both answers have the same tokens.
    pub equal: usize,
}

impl DraftFigures {
    fn new(model: &str, speculate: Speculate, rows: &[SpeculationRow]) -> Self {
        let class = |row: &SpeculationRow| DraftClass {
            class: row.class.to_owned(),
            plain_tokens_per_second: row.plain_tokens_per_second,
            tokens_per_second: row.tokens_per_second,
            speedup: row.speedup,
            speedup_lower95: row.speedup_lower95,
            rounds: row.rounds,
            equal: row.equal,
        };
        let logarithms: f64 = rows.iter().map(|row| row.speedup.ln()).sum();
        let speedup = (logarithms / rows.len().max(1) as f64).exp();
        let lowest = rows.iter().map(|row| row.speedup).fold(f64::INFINITY, f64::min);
        let pays = pays::drafting(speedup, lowest).pays;
        let (model, speculate) = (model.to_owned(), speculate.name().to_owned());
        Self { model, speculate, speedup, lowest, pays, classes: rows.iter().map(class).collect() }
    }

    /// Returns a reason after the source of the drafts.
    fn told(&self, reason: &str) -> String {
        let source = if self.speculate == Speculate::Ngram.name() { "from the text" } else { "of the smaller model" };
        format!("with drafts {source}, {reason}")
    }
}

impl Run<'_> {
    /// Measures drafts from the text and of the smaller model, and keeps the faster source if it pays.
    pub(super) fn drafted(
        &mut self,
        last: &Quantised,
        base: Option<&Base>,
        draft: &Gated<DraftStep>,
        events: Events<'_>,
    ) -> Result<(), Error> {
        let model = self.path(last)?;
        let found = self.sources(&last.row.name, &model, base, &draft.settings, &mut *events);
        let found = match found {
            Ok(found) => found,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) if draft.optional => {
                self.steps.push(StepResult::impossible("draft", &error));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let faster = |a: &&DraftFigures, b: &&DraftFigures| a.speedup.total_cmp(&b.speedup);
        let best = found.iter().filter(|one| one.pays).max_by(faster).or(found.iter().max_by(faster));
        if let Some(best) = best {
            let Paid { pays, reason } = pays::drafting(best.speedup, best.lowest);
            let paid = Paid::new(pays, best.told(&reason));
            self.steps.push(StepResult::drafts(&last.row.name, best.speedup, &paid));
            if pays && best.speculate == Speculate::Draft.name() {
                let path = self.job.folder.work(DRAFT_WORK);
                let digest = published_digest(&path, &self.job.options.run)?;
                let published = |sha256| Published {
                    container: Container::gguf().name.to_owned(),
                    path: DRAFT_MODEL.into(),
                    sha256,
                };
                self.draft_model = digest.map(published);
            }
        }
        self.drafts.extend(found);
        if self.job.options.ablation {
            let original = self.job.options.model.clone();
            let found = self.speed_with(ORIGINAL, &original, (Speculate::Ngram, None), &draft.settings, events)?;
            let Paid { pays, reason } = pays::drafting(found.speedup, found.lowest);
            let paid = Paid::new(pays, found.told(&reason));
            self.alone.push(StepResult::drafts(ORIGINAL, found.speedup, &paid));
            self.drafts.push(found);
        }
        Ok(())
    }

    /// Measures every source of drafts.
    fn sources(
        &mut self,
        name: &str,
        model: &Path,
        base: Option<&Base>,
        settings: &DraftStep,
        events: Events<'_>,
    ) -> Result<Vec<DraftFigures>, Error> {
        let mut found = vec![self.speed_with(name, model, (Speculate::Ngram, None), settings, &mut *events)?];
        if let Some(base) = base {
            let path = self.draft_of(base, &mut *events)?;
            found.push(self.speed_with(name, model, (Speculate::Draft, Some(&path)), settings, events)?);
        }
        Ok(found)
    }

    /// Measures a model with one source of drafts.
    fn speed_with(
        &mut self,
        name: &str,
        model: &Path,
        (speculate, draft): (Speculate, Option<&Path>),
        settings: &DraftStep,
        events: Events<'_>,
    ) -> Result<DraftFigures, Error> {
        let entry = format!("drafts-{}-{}", slug(name), speculate.name());
        if let Some(found) = self.job.saved(&entry)? {
            return Ok(found);
        }
        let run = RunOptions { speculate, draft: draft.map(Path::to_owned), ..self.job.options.run.clone() };
        let DraftStep { tokens, rounds } = *settings;
        let options = SpeculationOptions { model: model.to_owned(), run, tokens, rounds, temperature: 0.0 };
        let stage = format!("{name}: measuring drafts");
        let rows = self.job.timed(&stage, |_| speculation(&options, events, &mut |_| true))?;
        self.job.save(&entry, &DraftFigures::new(name, speculate, &rows))
    }

    /// Writes the smaller model at 4 bits, rounded to nearest: only its speed and its likeness count.
    fn draft_of(&mut self, base: &Base, events: Events<'_>) -> Result<std::path::PathBuf, Error> {
        let path = self.job.folder.work(DRAFT_WORK);
        if is_there(&path) {
            return Ok(path);
        }
        let recipe = NamedRecipe::new("rtn", Recipe::rtn());
        let mut candidate = in_blocks(Container::gguf(), Encoding::Q4_0, &recipe);
        candidate.name = format!("{}draft", base.prefix());
        let options = self.options(None, None);
        let list = [candidate];
        let mut part = self.job.part(&options, base.source(), &list);
        part.make(&list[0], &path, &list[0].name, events)?;
        Ok(path)
    }

    /// Moves the model that writes drafts to its final name.
    pub(super) fn publish_draft(&self, draft: &Published) -> Result<(), Error> {
        let (from, to) = (self.job.folder.work(DRAFT_WORK), self.job.folder.path(DRAFT_MODEL));
        let run = &self.job.options.run;
        if published_digest(&to, run)?.as_ref() != Some(&draft.sha256) {
            publish(&from, &to, false)?;
        }
        Ok(())
    }
}
