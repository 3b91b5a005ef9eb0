//! A candidate: made, written, reloaded from its file, judged and measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use honelm_bench::Speed;
use honelm_eval::{Baseline, Verdict, figures};
use honelm_model::Checkpoint;
use honelm_store::Journal;
use serde::{Deserialize, Serialize};

use super::gates::{Findings, Judgement};
use super::speed::{PAIRS, PAIRS_OF_REJECTED, Pair, SpeedRatio, pairs, typical};
use super::state::{Job, published_digest};
use super::{Candidate, Measure, Quality, Row};
use crate::device::load;
use crate::fallback;
use crate::measure::Original;
use crate::open::{digest_of_all, open_quietly, weight_bytes};
use crate::quantize::{make, write};
use crate::times::Times;
use crate::types::tensor_types;
use crate::{Error, Event, Events};

/// The journal entry of a judged candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Judged {
    pub quality: Quality,
    pub verdict: Verdict,
    rejected_early: bool,
    findings: Findings,
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
pub(super) fn entry(name: &str) -> String {
    format!("judged-{}", slug(name))
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
        if let Some(judged) = self.saved::<Judged>(&entry(&candidate.name))?
            && (!self.options.publishes(judged.verdict)
                || self.is_candidate(candidate, &judged)?
                || self.is_published(candidate, &judged)?)
        {
            return Ok(judged);
        }
        let file = self.candidate_path(candidate);
        let quantise_seconds = self.make(candidate, &file, &candidate.name, &mut *events)?;
        let judged = self.appraise(&candidate.name, &file, quantise_seconds, baseline, events, measure)?;
        if !self.options.publishes(judged.verdict) {
            self.folder.remove(&file)?;
        }
        if !self.is_needed_again(candidate) {
            self.layers(candidate).clear()?;
        }
        Ok(judged)
    }

    /// Reloads a model from its files, compares it with the original, measures its speed, and saves what was found under its
    /// name.
    pub(super) fn appraise(
        &mut self,
        name: &str,
        file: &Path,
        quantise_seconds: f64,
        baseline: &Baseline,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Judged, Error> {
        let reloaded = open_quietly(file, &self.options.run)?;
        let digest = digest_of_all(&reloaded)?;
        let mut times = Times::default();
        times.begin(&format!("{name}: scoring"));
        let judgement = self.judge(name, &reloaded, baseline, events)?;
        let stage = format!("{name}: measuring speed");
        times.begin(&stage);
        let count = if self.options.publishes(judgement.verdict) { PAIRS } else { PAIRS_OF_REJECTED };
        let judged = Judged {
            quality: Quality::from(&judgement.figures),
            verdict: judgement.verdict,
            rejected_early: judgement.rejected_early,
            findings: judgement.findings,
            size_bytes: weight_bytes(file)?,
            quantise_seconds,
            digest,
            pairs: pairs(&self.options.model, file, &stage, count, measure, events)?,
        };
        // The verdict is on the file whose digest was taken, and against the original that was opened at the start.
        reloaded.check_files()?;
        self.checkpoint.check_unchanged()?;
        times.end();
        self.spend(&times.stages)?;
        self.save(&entry(name), &judged)
    }

    /// Returns the journal of a candidate's compressed layers.
    pub(super) fn layers(&self, candidate: &Candidate) -> Journal {
        let grid = self.grid(candidate);
        Journal::new(&self.folder.work(&format!("layers-{grid}")), &format!("{} {grid}", self.plan.card.key))
    }

    /// Compresses a candidate with the calibration text in use, as far as its layers are not saved yet, and writes `file`.
    /// Returns the time that the compression took, over all runs of the job.
    pub(super) fn make(
        &mut self,
        candidate: &Candidate,
        file: &Path,
        stage: &str,
        events: Events<'_>,
    ) -> Result<f64, Error> {
        let work = self.layers(candidate);
        let spent = format!("seconds-{}", self.grid(candidate));
        let (earlier, start) = (self.saved::<f64>(&spent)?.unwrap_or(0.0), Instant::now());
        let mut times = Times::default();
        let calibration = &self.plan.calibrations[self.calibration].calibration;
        let made = {
            let warnings = &mut self.warnings;
            make(
                self.source.checkpoint,
                &candidate.scheme,
                Some(calibration),
                &work,
                (&format!("{stage}: quantising"), &mut times),
                &self.options.run,
                &mut |event| {
                    if let Event::Warning(text) = event {
                        warnings.push(format!("{stage}: {text}"));
                    }
                    events(event)
                },
            )
        };
        let quantise_seconds = self.save(&spent, &(earlier + start.elapsed().as_secs_f64()))?;
        times.stages.iter_mut().for_each(|part| part.name = format!("{stage}: {}", part.name));
        self.spend(&times.stages)?;
        let made = made?;
        self.folder.remove(file)?;
        let lossy = self.options.force;
        write(
            candidate.container,
            self.source.checkpoint,
            &self.plan.tokenizer,
            &made,
            &candidate.scheme,
            file,
            (None, lossy),
        )?;
        Ok(quantise_seconds)
    }

    /// Compares a candidate, reloaded from its file, with the original, and applies the gates.
    fn judge(
        &self,
        name: &str,
        reloaded: &Checkpoint,
        baseline: &Baseline,
        events: Events<'_>,
    ) -> Result<Judgement, Error> {
        let mut original = Original::new(self.checkpoint, &self.options.run)?;
        let mut runner = load(reloaded, &self.options.run, &mut *events)?;
        let chunks = &self.plan.heldout.chunks;
        let stage = format!("{name}: scoring");
        // Recipes are compared on the same chunks: all of them.
        let early = self.options.early_budget();
        let compared = original.compare(baseline, &mut runner, chunks, &stage, early, &mut *events)?;
        let early = compared.scores.nll.len() < chunks.len();
        self.gates(name, (figures(&compared), early), reloaded, &mut original, Box::new(runner), events)
    }

    /// Returns the row of a judged candidate.
    pub(super) fn row(&self, candidate: &Candidate, judged: &Judged, chosen: bool, original_bytes: u64) -> Row {
        let source = self.source.checkpoint;
        let above = fallback::bits_above(source, &candidate.scheme) / self.checkpoint.facts().parameters as f64;
        Row {
            container: Some(candidate.container.name.to_owned()),
            bits: candidate.bits,
            recipe: Some(candidate.recipe.clone()),
            chosen,
            wanted_bits_per_weight: Some(self.bits_per_weight(judged.size_bytes) - above),
            tensor_types: tensor_types(source, &candidate.scheme, candidate.container.groups.is_none()),
            fallbacks: fallback::of(source, &candidate.scheme),
            ..self.row_of(&candidate.name, judged, original_bytes)
        }
    }

    /// Returns the row of a judged model that is no candidate.
    pub(super) fn row_of(&self, name: &str, judged: &Judged, original_bytes: u64) -> Row {
        let speeds: Vec<Speed> = judged.pairs.iter().map(|pair| pair.candidate).collect();
        Row {
            name: name.to_owned(),
            container: None,
            bits: None,
            recipe: None,
            chosen: false,
            verdict: Some(judged.verdict),
            rejected_early: judged.rejected_early,
            size_bytes: judged.size_bytes,
            size_ratio: judged.size_bytes as f64 / original_bytes as f64,
            bits_per_weight: self.bits_per_weight(judged.size_bytes),
            wanted_bits_per_weight: None,
            tensor_types: BTreeMap::new(),
            fallbacks: Vec::new(),
            quality: judged.quality,
            findings: judged.findings.clone(),
            quantise_seconds: Some(judged.quantise_seconds),
            speed: typical(&speeds),
            speed_ratio: SpeedRatio::of(&judged.pairs),
        }
    }

    pub(super) fn candidate_path(&self, candidate: &Candidate) -> PathBuf {
        let suffix = if candidate.container.groups.is_some() { "" } else { ".gguf" };
        self.folder.work(&format!("{}{suffix}", slug(&candidate.name)))
    }

    /// Returns `true` if the candidate's file is the one that was judged.
    pub(super) fn is_candidate(&self, candidate: &Candidate, judged: &Judged) -> Result<bool, Error> {
        Ok(published_digest(&self.candidate_path(candidate), &self.options.run)?.as_ref() == Some(&judged.digest))
    }
}
