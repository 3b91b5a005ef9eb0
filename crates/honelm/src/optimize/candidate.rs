//! A candidate: made, written, reloaded from its file, judged and measured.

use std::path::PathBuf;
use std::time::Instant;

use honelm_bench::Speed;
use honelm_eval::{Baseline, Figures, Verdict, figures, judge};
use honelm_formats::{FormatError, publish};
use honelm_model::Checkpoint;
use honelm_store::Journal;
use serde::{Deserialize, Serialize};

use super::speed::{Pair, SpeedRatio, pairs, typical};
use super::state::{Job, published_digest};
use super::{Candidate, Measure, Quality, Row};
use crate::device::load;
use crate::fallback;
use crate::measure::Original;
use crate::open::{digest_of_all, weight_bytes};
use crate::quantize::{make, write};
use crate::{Error, Event, Events};

/// The journal entry of a judged candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Judged {
    pub quality: Quality,
    pub verdict: Verdict,
    rejected_early: bool,
    pub size_bytes: u64,
    /// The time that the compression took, over all runs of the job.
    quantise_seconds: f64,
    pub digest: String,
    pub pairs: Vec<Pair>,
}

/// Returns the name of a candidate as a file name: `int4 g128` becomes `int4-g128`.
pub(super) fn slug(name: &str) -> String {
    name.to_lowercase().replace(|c: char| !c.is_alphanumeric() && c != '_' && c != '.', "-")
}

/// Returns the name of the journal entry of a candidate.
fn entry(candidate: &Candidate) -> String {
    format!("judged-{}", slug(&candidate.name))
}

impl Job<'_> {
    /// Makes, writes, reloads, judges and measures a candidate. Saved work is not done again.
    pub(super) fn candidate(
        &mut self,
        candidate: &Candidate,
        baseline: &Baseline,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Judged, Error> {
        if let Some(judged) = self.saved::<Judged>(&entry(candidate))?
            && (judged.verdict != Verdict::Accepted
                || self.is_candidate(candidate, &judged)?
                || self.is_published(&judged)?)
        {
            return Ok(judged);
        }
        let file = self.candidate_path(candidate);
        let work = Journal::new(&self.folder.work(&format!("layers-{}", slug(&candidate.name))), &self.plan.card.key);
        let spent = format!("seconds-{}", slug(&candidate.name));
        let (earlier, start) = (self.saved::<f64>(&spent)?.unwrap_or(0.0), Instant::now());
        let made = {
            let warnings = &mut self.warnings;
            make(
                self.checkpoint,
                &candidate.scheme,
                Some(&self.plan.calibration),
                &work,
                &format!("{}: quantising", candidate.name),
                &self.options.run,
                &mut |event| {
                    if let Event::Warning(text) = event {
                        warnings.push(format!("{}: {text}", candidate.name));
                    }
                    events(event)
                },
            )
        };
        let quantise_seconds = self.save(&spent, &(earlier + start.elapsed().as_secs_f64()))?;
        let made = made?;
        self.folder.remove(&file)?;
        let (container, lossy) = (self.options.container, self.options.force);
        write(container, self.checkpoint, &self.plan.tokenizer, &made, &candidate.scheme, &file, (None, lossy))?;
        let reloaded = Checkpoint::open(&file)?;
        let digest = digest_of_all(&reloaded)?;
        let (found, rejected_early) = self.judge(candidate, &reloaded, baseline, events)?;
        let stage = format!("{}: measuring speed", candidate.name);
        let judged = Judged {
            quality: Quality::from(&found),
            verdict: judge(&found, self.options.budget),
            rejected_early,
            size_bytes: weight_bytes(&file)?,
            quantise_seconds,
            digest,
            pairs: pairs(&self.options.model, &file, &stage, measure, events)?,
        };
        // The verdict is on the file whose digest was taken, and against the original that was opened at the start.
        reloaded.check_files()?;
        self.checkpoint.check_unchanged()?;
        let judged = self.save(&entry(candidate), &judged)?;
        if judged.verdict != Verdict::Accepted {
            self.folder.remove(&file)?;
        }
        work.clear()?;
        Ok(judged)
    }

    /// Compares a candidate, reloaded from its file, with the original. The second value is `true` if the comparison
    /// ended early.
    fn judge(
        &self,
        candidate: &Candidate,
        reloaded: &Checkpoint,
        baseline: &Baseline,
        events: Events<'_>,
    ) -> Result<(Figures, bool), Error> {
        let mut original = Original::new(self.checkpoint, &self.options.run)?;
        let mut runner = load(reloaded, &self.options.run, &mut *events)?;
        let chunks = &self.plan.heldout.chunks;
        let stage = format!("{}: scoring", candidate.name);
        // Recipes are compared on the same chunks: all of them.
        let budget = (!self.options.compares()).then_some(self.options.budget);
        let compared = original.compare(baseline, &mut runner, chunks, &stage, budget, events)?;
        let early = compared.scores.nll.len() < chunks.len();
        Ok((figures(&compared), early))
    }

    /// Returns the row of a judged candidate.
    pub(super) fn row(&self, candidate: &Candidate, judged: &Judged, chosen: bool, original_bytes: u64) -> Row {
        let above =
            fallback::bits_above(self.checkpoint, &candidate.scheme) / self.checkpoint.facts().parameters as f64;
        let speeds: Vec<Speed> = judged.pairs.iter().map(|pair| pair.candidate).collect();
        Row {
            name: candidate.name.clone(),
            recipe: Some(candidate.recipe.clone()),
            chosen,
            verdict: Some(judged.verdict),
            rejected_early: judged.rejected_early,
            size_bytes: judged.size_bytes,
            size_ratio: judged.size_bytes as f64 / original_bytes as f64,
            bits_per_weight: self.bits_per_weight(judged.size_bytes),
            wanted_bits_per_weight: Some(self.bits_per_weight(judged.size_bytes) - above),
            fallbacks: fallback::of(self.checkpoint, &candidate.scheme),
            quality: judged.quality,
            quantise_seconds: Some(judged.quantise_seconds),
            speed: typical(&speeds),
            speed_ratio: SpeedRatio::of(&judged.pairs),
        }
    }

    fn candidate_path(&self, candidate: &Candidate) -> PathBuf {
        let suffix = if self.options.container.groups.is_some() { "" } else { ".gguf" };
        self.folder.work(&format!("{}{suffix}", slug(&candidate.name)))
    }

    /// Returns `true` if the candidate's file is the one that was judged.
    fn is_candidate(&self, candidate: &Candidate, judged: &Judged) -> Result<bool, Error> {
        Ok(published_digest(&self.candidate_path(candidate), &self.options.run)?.as_ref() == Some(&judged.digest))
    }

    fn is_published(&self, judged: &Judged) -> Result<bool, Error> {
        Ok(published_digest(&self.published_path(), &self.options.run)?.as_ref() == Some(&judged.digest))
    }

    /// Returns an error if there is a model under the final name that this job did not publish.
    pub(super) fn check_result(&self, candidates: &[Candidate]) -> Result<(), Error> {
        let path = self.published_path();
        let Some(found) = published_digest(&path, &self.options.run)? else { return Ok(()) };
        for candidate in candidates {
            let judged = self.saved::<Judged>(&entry(candidate))?;
            if judged.is_some_and(|judged| judged.digest == found) {
                return Ok(());
            }
        }
        Err(FormatError::OutputExists { path: path.display().to_string() }.into())
    }

    /// Moves the accepted candidate to its final name, unless it has changed since it was judged.
    pub(super) fn publish(&self, candidate: &Candidate, judged: &Judged) -> Result<(), Error> {
        let from = self.candidate_path(candidate);
        if self.is_published(judged)? {
            return self.folder.remove(&from);
        }
        if !self.is_candidate(candidate, judged)? {
            let problem = "it has changed since it was judged".to_owned();
            return Err(FormatError::Changed { file: from.display().to_string(), problem }.into());
        }
        self.checkpoint.check_files()?;
        Ok(publish(&from, &self.published_path(), false)?)
    }
}
