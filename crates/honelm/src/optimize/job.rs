//! The job from the first check to the report.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use honelm_bench::Speed;
use honelm_engine::{Cancel, FinishReason, Generation, Update};
use honelm_eval::{Baseline, perplexity};
use honelm_formats::{FormatError, write_atomic};
use honelm_store::Journal;
use honelm_text::Message;

use super::allocate::{self, Allocation};
use super::candidate::Judged;
use super::folder::{self, Earlier, Folder, WORK};
use super::machine::Circumstances;
use super::plan::Plan;
use super::speed::{SpeedRatio, busy, typical};
use super::state::{Job, Source};
use super::{
    CalibrationChoice, Candidate, Drift, Measure, OptimizeOptions, Outcome, PipelineReport, Published, Quality, REPORT,
    REPORT_PLOT, REPORT_TEXT, Report, Row, Sample, containers, pipeline,
};
use crate::measure::Lazy;
use crate::open::{open, weight_bytes};
use crate::quantize::gguf_vocab;
use crate::work::gate_of;
use crate::{Error, Event, Events, Model};

/// The prompt of the demonstration, and the number of tokens of each answer.
const PROMPT: &str = "Tell me a story.";
const SAMPLE_TOKENS: usize = 64;
/// The folder of the sealed copies of the report, in the work folder.
const SEALED: &str = "report";

/// Finds the smallest candidate whose quality is within the budget, and publishes it.
///
/// Tries the candidates in order of size, the smallest first. Writes each to a file, reloads it from there, and
/// compares it with the original on held-out text, on the device and with the kernels that users run. Publishes the
/// first one whose perplexity difference has an upper bound (95%) within the budget. Saves finished work in the output
/// folder: the next run with the same inputs resumes there.
///
/// With several recipes, each compresses the model to the smallest encoding, or to every width of
/// [`OptimizeOptions::ladder`]. All candidates are judged on the whole text, and of those within the budget and of the
/// smallest width the one with the lowest KL divergence is published. With several containers, all of this is done for
/// each of them.
///
/// `measure` is called several times for each model, alternately for the original and a candidate.
///
/// # Errors
/// An invalid model, text or option; an output folder with other work; [`Error::Interrupted`] if `events` returns
/// `false`. A budget that no candidate holds is not an error: see [`Report::chosen`].
pub fn optimize(options: &OptimizeOptions, events: Events<'_>, measure: Measure<'_>) -> Result<Outcome, Error> {
    let whole = &OptimizeOptions { run: options.run.steady(), ..options.clone() };
    let (options, pipeline) = &pipeline::split(whole)?;
    let wanted = containers::wanted(options)?;
    let checkpoint = open(&options.model, &options.run, &mut *events)?;
    let texts = options.calibrations.iter().chain([&options.text]).chain(&options.gates.texts);
    let gate = gate_of(&checkpoint, texts, options.force);
    folder::check(&options.out, &gate)?;
    let (candidates, skipped) = wanted.fitting(options, &checkpoint)?;
    let plan = Plan::new(options, pipeline.as_ref(), &checkpoint)?;
    let loss = match options.containers.iter().any(|container| container.groups.is_none()) {
        true => gguf_vocab(&checkpoint, &plan.tokenizer, options.force)?.1,
        false => None,
    };
    let earlier = match (options.force, options.restart) {
        (true, _) => Earlier::Replaced,
        (false, true) => Earlier::Restarted,
        (false, false) => Earlier::Resumed,
    };
    if earlier == Earlier::Resumed
        && let Some(report) = finished(options, &plan.card.key)?
    {
        return Ok(Outcome { report, was_done: true });
    }
    let mut folder = Folder::claim(&options.out, &gate, &plan.card, earlier)?;
    let journal = Journal::new(&folder.work("journal"), &plan.card.key);
    let mut warnings = checkpoint.warnings().to_vec();
    for warning in &plan.warnings {
        events(&Event::Warning(warning));
    }
    warnings.extend(plan.warnings.iter().cloned().chain(loss).chain(skipped));
    let (checkpoint, plan, folder_ref) = (&checkpoint, &plan, &folder);
    let mut job = Job {
        options,
        checkpoint,
        source: Source { checkpoint, digest: &plan.card.model_digest },
        plan,
        folder: folder_ref,
        candidates: &candidates,
        journal,
        calibration: 0,
        judges: Rc::default(),
        keeps_work: pipeline.is_some(),
        warnings,
    };
    job.check_results()?;
    if let Some(pipeline) = pipeline {
        let report = pipeline::run(job, pipeline, events, measure)?;
        folder.finish();
        return Ok(Outcome { report, was_done: false });
    }
    let allocations = match options.allocation.goal {
        Some(_) => job.timed("choosing encodings", |job| job.allocations(events))?,
        None => Vec::new(),
    };
    let chosen = allocations.iter().map(|one| allocate::candidate(one, checkpoint.tree(), options));
    let all = candidates.iter().cloned().map(Ok).chain(chosen).collect::<Result<Vec<Candidate>, Error>>()?;
    let report = Job { candidates: &all, ..job }.run(allocations, events, measure)?;
    folder.finish();
    Ok(Outcome { report, was_done: false })
}

/// Returns the report of an earlier run of the same job, if all that it published is still there and intact. The files
/// of the report are copies of sealed entries.
fn finished(options: &OptimizeOptions, key: &str) -> Result<Option<Report>, Error> {
    let sealed = Journal::new(&options.out.join(WORK).join(SEALED), key);
    let mut report = None;
    for name in [REPORT_TEXT, REPORT_PLOT, REPORT] {
        let Some(entry) = sealed.get(name)? else { return Ok(None) };
        if std::fs::read(options.out.join(name)).ok().as_ref() != Some(&entry) {
            return Ok(None);
        }
        report = serde_json::from_slice::<Report>(&entry).ok();
    }
    match report {
        Some(report) if containers::are_intact(&report.published, options)? => Ok(Some(report)),
        _ => Ok(None),
    }
}

/// The findings of a job beside its circumstances.
pub(super) struct Found {
    pub calibrations: Option<CalibrationChoice>,
    pub drift: Option<Drift>,
    pub chosen: Option<String>,
    pub comparison: Option<String>,
    pub allocations: Vec<Allocation>,
    pub rows: Vec<Row>,
    pub sample: Option<Sample>,
    pub published: Vec<Published>,
    pub pipeline: Option<PipelineReport>,
}

impl Job<'_> {
    fn run(&mut self, allocations: Vec<Allocation>, events: Events<'_>, measure: Measure<'_>) -> Result<Report, Error> {
        let (baseline, circumstances) = self.timed("original: scoring", |job| job.baseline(events))?;
        let original_bytes = weight_bytes(&self.options.model)?;
        let enough = self.has_enough_text(events);
        let drift_of = perplexity(&baseline.scores).value;
        let calibrations = if enough { self.choose_calibration(events)? } else { None };
        let drift = self.drift(drift_of, events)?;
        let mut tried: Vec<(&Candidate, Judged)> = Vec::new();
        for candidate in self.candidates.iter().take(if enough { self.candidates.len() } else { 0 }) {
            if self.is_settled(candidate, &tried) {
                continue;
            }
            let judged = self.candidate(candidate, &baseline, events, measure)?;
            tried.push((candidate, judged));
        }
        let picks = containers::picks(self.options, &tried);
        let published: Vec<Published> = picks
            .iter()
            .filter_map(|&at| tried.get(at))
            .map(|(candidate, judged)| self.publish(candidate, judged))
            .collect::<Result<_, _>>()?;
        let originals = self.original_speeds(tried.iter().map(|(_, judged)| judged), events, measure)?;
        let row = |(at, (candidate, judged)): (usize, &(&Candidate, Judged))| {
            self.row(candidate, judged, picks.contains(&at), original_bytes)
        };
        let candidates: Vec<Row> = tried.iter().enumerate().map(row).collect();
        let comparison = self.options.compares().then(|| containers::sentences(self.options, &candidates));
        let ratios: Vec<SpeedRatio> = candidates.iter().filter_map(|row| row.speed_ratio).collect();
        if let Some(warning) = busy(&originals, &ratios) {
            events(&Event::Warning(&warning));
            self.warnings.push(warning);
        }
        let original = self.original_row(&baseline, original_bytes, typical(&originals));
        let sample = self.sample_of(&published, events)?;
        let chosen = picks.first().and_then(|&at| Some(tried.get(at)?.0.name.clone()));
        let found = Found {
            calibrations,
            drift,
            chosen,
            comparison,
            allocations,
            rows: std::iter::once(original).chain(candidates).collect(),
            sample,
            published,
            pipeline: None,
        };
        self.report(circumstances, found)
    }

    /// Writes the report of a job that is done.
    pub(super) fn report(&self, circumstances: Circumstances, found: Found) -> Result<Report, Error> {
        let Found { calibrations, drift, chosen, comparison, allocations, rows, sample, published, pipeline } = found;
        let Circumstances { date, command, machine, back_end } = circumstances;
        let report = Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            date,
            command,
            machine,
            key: self.plan.card.key.clone(),
            model: self.checkpoint.facts().name.clone(),
            model_digest: self.plan.card.model_digest.clone(),
            parameters: self.checkpoint.facts().parameters,
            container: containers::only(&self.options.containers).map(|container| container.name.to_owned()),
            budget: self.options.budget,
            size_decides: self.options.size_decides,
            protocol: self.plan.heldout.protocol.to_string(),
            context: self.plan.context,
            bos: self.plan.heldout.bos,
            tokenizer_digest: self.plan.tokenizer_digest.clone(),
            compute: back_end,
            evaluation: self.plan.evaluation_card.clone(),
            calibration: self.plan.calibrations[self.calibration].card.clone(),
            calibrations,
            drift,
            chosen,
            comparison,
            allocations,
            not_enough_text: self.plan.shortage(&self.options.gates).is_some(),
            rows,
            sample,
            published,
            pipeline,
            stages: self.times()?,
            warnings: self.warnings.clone(),
        };
        // The report must be of the model that was opened at the start.
        self.checkpoint.check_files()?;
        self.finish(&report)?;
        Ok(report)
    }

    /// Scores the original, whose states go into the work folder. The circumstances are those of the first run.
    pub(super) fn baseline(&mut self, events: Events<'_>) -> Result<(Baseline, Circumstances), Error> {
        let run = &self.options.run;
        let mut lazy = Lazy::new(self.checkpoint, run);
        let baseline = self.score_original(&mut lazy, &mut *events)?;
        let circumstances = match self.saved("circumstances")? {
            Some(circumstances) => circumstances,
            None => {
                let back_end = honelm_model::Runner::describe(lazy.runner(events)?);
                self.save("circumstances", &Circumstances::now(run, self.options.command.clone(), back_end))?
            }
        };
        Ok((baseline, circumstances))
    }

    /// Returns `true` if the texts suffice for a verdict, and warns otherwise.
    pub(super) fn has_enough_text(&mut self, events: Events<'_>) -> bool {
        let shortage = self.plan.shortage(&self.options.gates);
        if let Some(text) = &shortage {
            events(&Event::Warning(text));
            self.warnings.push(text.clone());
        }
        shortage.is_none()
    }

    /// Returns all measurements of the original: those beside the candidates or, without candidates, one of its own.
    pub(super) fn original_speeds<'j>(
        &self,
        tried: impl Iterator<Item = &'j Judged>,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Vec<Speed>, Error> {
        let speeds: Vec<Speed> = tried.flat_map(|judged| &judged.pairs).map(|pair| pair.original).collect();
        if !speeds.is_empty() {
            return Ok(speeds);
        }
        if let Some(speed) = self.saved("speed-original")? {
            return Ok(vec![speed]);
        }
        if !events(&Event::Stage { name: "original: measuring speed", detail: "", done: 0, total: 1 }) {
            return Err(Error::Interrupted);
        }
        let speed = measure(&self.options.model)?;
        Ok(vec![self.save("speed-original", &speed)?])
    }

    pub(super) fn original_row(&self, baseline: &Baseline, size_bytes: u64, speed: Option<Speed>) -> Row {
        Row {
            name: "original".to_owned(),
            container: None,
            bits: None,
            recipe: None,
            chosen: false,
            verdict: None,
            rejected_early: false,
            size_bytes,
            size_ratio: 1.0,
            bits_per_weight: self.bits_per_weight(size_bytes),
            wanted_bits_per_weight: None,
            tensor_types: BTreeMap::new(),
            fallbacks: Vec::new(),
            quality: Quality::of_original(baseline.scores.nll.len(), perplexity(&baseline.scores)),
            findings: self.original_findings(),
            quantise_seconds: None,
            speed,
            speed_ratio: None,
        }
    }

    /// Returns the answers of the original and the first published model; `None` if nothing was published.
    pub(super) fn sample_of(&mut self, published: &[Published], events: Events<'_>) -> Result<Option<Sample>, Error> {
        let Some(first) = published.first() else { return Ok(None) };
        let path = self.options.out.join(&first.path);
        self.timed("writing a sample", |job| job.sample(&path, events)).map(Some)
    }

    /// Lets the original and the published model answer the demonstration prompt.
    fn sample(&self, published: &Path, events: Events<'_>) -> Result<Sample, Error> {
        let total = 2 * SAMPLE_TOKENS;
        let mut answers = Vec::new();
        for (index, path) in [self.options.model.as_path(), published].into_iter().enumerate() {
            let mut model = Model::open(path, &self.options.run, &mut |_| true)?;
            let settings = Generation { max_tokens: SAMPLE_TOKENS, temperature: 0.0, ..model.generation() };
            let mut pieces = 0;
            let cancel = Cancel::new();
            let mut on_update = |_: &Update| {
                let done = index * SAMPLE_TOKENS + pieces;
                pieces = (pieces + 1).min(SAMPLE_TOKENS);
                if !events(&Event::Stage { name: "writing a sample", detail: "", done, total }) {
                    cancel.cancel();
                }
            };
            // Without a chat template, or with one that rejects the question, the model continues the text.
            let prompt = model.chat_template().map(|_| model.prompt(&[Message::new("user", PROMPT)]));
            let answer = match prompt {
                Some(Ok(prompt)) => model.generate(&prompt, &settings, &cancel, &mut on_update)?,
                _ => model.complete(PROMPT, &settings, &cancel, &mut on_update)?,
            };
            if answer.finish_reason == FinishReason::Cancelled {
                return Err(Error::Interrupted);
            }
            answers.push(answer.text);
        }
        let chosen = answers.pop().unwrap_or_default();
        let original = answers.pop().unwrap_or_default();
        Ok(Sample { prompt: PROMPT.to_owned(), original, chosen })
    }

    /// Writes the report and removes the work.
    fn finish(&self, report: &Report) -> Result<(), Error> {
        let json =
            serde_json::to_vec_pretty(report).map_err(|source| Error::Serialise { what: "the report", source })?;
        let sealed = Journal::new(&self.folder.work(SEALED), &self.plan.card.key);
        let (text, plot) = (report.markdown(), report.plot());
        for (name, contents) in [(REPORT_TEXT, text.as_bytes()), (REPORT_PLOT, plot.as_bytes()), (REPORT, &json)] {
            sealed.put(name, contents)?;
            write_atomic(self.folder.path(name), |file| {
                let io = |e| FormatError::io("write", name, e);
                std::io::Write::write_all(file, contents).map_err(io)
            })?;
        }
        self.folder.tidy(&[SEALED])
    }
}
