use std::path::{Path, PathBuf};

use honelm_bench::Speed;
use honelm_compress::Calibration;
use honelm_engine::{FinishReason, Generation};
use honelm_eval::{
    Baseline, EvalError, Figures, MAX_OVERLAP, MIN_CHUNKS, Scores, Verdict, figures, judge, overlap, perplexity,
};
use honelm_formats::write_atomic;
use honelm_model::{Checkpoint, Runner};
use honelm_store::{Digest, Journal};
use honelm_text::{Message, Tokenizer};
use serde::{Deserialize, Serialize};

use super::folder::{Folder, JobCard};
use super::report::{Quality, Report, Row, Sample, TextCard};
use super::{Container, Measure, OptimizeOptions, Outcome, Rung, ladder};
use crate::evaluate::{Original, Windows, context_of};
use crate::open::{digest_of, load, tokenizer_digest, tokenizer_of, weight_bytes};
use crate::quantize::{calibration_of, make, write};
use crate::texts::Text;
use crate::{Error, Event, Events, Model};

/// What both models are asked to write.
const PROMPT: &str = "Tell me a story.";
/// Tokens they write.
const SAMPLE_TOKENS: usize = 64;

/// Shrinks a model to the smallest candidate that holds the budget, and publishes that one.
///
/// Candidates are tried from the smallest upward. Each is written, reloaded from its file and judged on the path that users
/// run, against the original on held-out text; the first whose upper bound is within the budget is published under its final
/// name. Finished work is kept in the output folder: a killed run goes on where it stopped.
pub fn optimize(options: &OptimizeOptions, events: Events<'_>, measure: Measure<'_>) -> Result<Outcome, Error> {
    let options = &OptimizeOptions { run: options.run.steady(), ..options.clone() };
    let rungs = ladder(options.container, options.bits, options.group_size)?;
    let checkpoint = Checkpoint::open(&options.model)?;
    let plan = Plan::new(options, &checkpoint)?;
    if !options.restart
        && let Some(report) = finished(options, &plan.card.key)?
    {
        return Ok(Outcome { report, was_done: true });
    }
    let folder = Folder::claim(&options.out, &plan.card, options.restart)?;
    let journal = Journal::new(&folder.work("journal"), &plan.card.key);
    let mut job = Job { options, checkpoint: &checkpoint, plan: &plan, folder: &folder, journal, warnings: Vec::new() };
    let report = job.run(&rungs, events, measure)?;
    Ok(Outcome { report, was_done: false })
}

/// The report of an earlier run of the same job, if what it published is still there.
fn finished(options: &OptimizeOptions, key: &str) -> Result<Option<Report>, Error> {
    let path = options.out.join("report.json");
    let Ok(bytes) = std::fs::read(&path) else { return Ok(None) };
    let Ok(report) = serde_json::from_slice::<Report>(&bytes) else { return Ok(None) };
    let intact = match &report.published_sha256 {
        None => true,
        Some(wanted) => published_digest(&options.out.join(result_name(options.container)))?.as_ref() == Some(wanted),
    };
    Ok((report.key == key && intact).then_some(report))
}

fn result_name(container: Container) -> &'static str {
    match container {
        Container::Gguf => "model.gguf",
        Container::Gptq => "gptq",
    }
}

/// Digest of a published model's files; `None` where there is none.
fn published_digest(path: &Path) -> Result<Option<String>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(digest_of(&Checkpoint::open(path)?)?))
}

/// Everything that is fixed before the work begins.
struct Plan {
    tokenizer: Tokenizer,
    calibration: Calibration,
    calibration_card: TextCard,
    windows: Windows,
    evaluation_card: TextCard,
    tokenizer_digest: String,
    context: usize,
    card: JobCard,
}

impl Plan {
    fn new(options: &OptimizeOptions, checkpoint: &Checkpoint) -> Result<Self, Error> {
        let tokenizer = tokenizer_of(checkpoint)?;
        let length = options.calibration_length;
        let limit = checkpoint.facts().context;
        if length == 0 || length > limit {
            return Err(Error::Usage(format!(
                "--calibration-length {length}: expected 1 to {limit}, the model's context"
            )));
        }
        if !options.budget.is_finite() {
            return Err(Error::Usage(format!("--budget {}: expected a number", options.budget)));
        }
        let text = options.calibration.calibration()?;
        let calibration = calibration_of(&tokenizer, &text, options.calibration_blocks, length)?;
        let heldout = options.text.heldout()?;
        let context = context_of(checkpoint, &options.run);
        let windows = Windows::new(checkpoint, &heldout.documents[0], options.protocol, None, context)?;
        let share = overlap(calibration.blocks.iter().map(Vec::as_slice), &windows.tokens);
        if share > MAX_OVERLAP {
            return Err(EvalError::Overlap { share }.into());
        }
        let card_of = |text: &Text, tokens| TextCard { name: text.name.clone(), sha256: text.digest.clone(), tokens };
        let calibration_card = card_of(&text, calibration.tokens());
        let evaluation_card = card_of(&heldout, windows.tokens.len());
        let tokenizer_digest = tokenizer_digest(checkpoint, &tokenizer)?;
        let model_digest = digest_of(checkpoint)?;
        let settings = format!(
            "{:?} {:?} {:?} {} {} {} {} {} {:?} {:?}",
            options.container,
            options.bits,
            options.group_size,
            options.budget,
            options.calibration_blocks,
            length,
            windows.protocol,
            context,
            options.run.compute,
            options.run.cache_type,
        );
        let key = Digest::default()
            .with(env!("CARGO_PKG_VERSION"))
            .with(&model_digest)
            .with(&tokenizer_digest)
            .with(&text.digest)
            .with(&heldout.digest)
            .with(settings)
            .hex();
        let card = JobCard { model: checkpoint.facts().name.clone(), model_digest, key };
        Ok(Self { tokenizer, calibration, calibration_card, windows, evaluation_card, tokenizer_digest, context, card })
    }
}

/// What is kept of a judged candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Judged {
    quality: Quality,
    verdict: Verdict,
    rejected_early: bool,
    size_bytes: u64,
    digest: String,
    speed: Option<Speed>,
}

struct Job<'a> {
    options: &'a OptimizeOptions,
    checkpoint: &'a Checkpoint,
    plan: &'a Plan,
    folder: &'a Folder,
    journal: Journal,
    warnings: Vec<String>,
}

impl Job<'_> {
    fn run(&mut self, rungs: &[Rung], events: Events<'_>, measure: Measure<'_>) -> Result<Report, Error> {
        let scores = self.baseline(events)?;
        let mut rows = vec![self.original_row(&scores, measure)?];
        let enough = self.plan.windows.windows.len() >= MIN_CHUNKS;
        if !enough {
            self.warn(
                format!("{} chunks of text: no verdict below {MIN_CHUNKS}", self.plan.windows.windows.len()),
                events,
            );
        }
        let mut published = None;
        for rung in rungs.iter().take(if enough { rungs.len() } else { 0 }) {
            let judged = self.candidate(rung, &scores, events, measure)?;
            let accepted = judged.verdict == Verdict::Accepted;
            rows.push(self.row(rung, &judged, accepted, &rows[0]));
            if accepted {
                self.publish(rung, &judged)?;
                published = Some((rung, judged.digest));
                break;
            }
        }
        let sample = match published {
            Some(_) => Some(self.sample(events)?),
            None => None,
        };
        let report = Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key: self.plan.card.key.clone(),
            model: self.checkpoint.facts().name.clone(),
            model_digest: self.plan.card.model_digest.clone(),
            parameters: self.checkpoint.facts().parameters,
            container: match self.options.container {
                Container::Gguf => "gguf".to_owned(),
                Container::Gptq => "gptq".to_owned(),
            },
            budget: self.options.budget,
            protocol: self.plan.windows.protocol.to_string(),
            context: self.plan.context,
            bos: self.plan.windows.bos,
            tokenizer_digest: self.plan.tokenizer_digest.clone(),
            compute: format!(
                "{} on {}",
                honelm_backend::Backend::describe(&self.options.run.cpu()),
                self.options.run.device
            ),
            evaluation: self.plan.evaluation_card.clone(),
            calibration: self.plan.calibration_card.clone(),
            chosen: published.as_ref().map(|(rung, _)| rung.name.clone()),
            not_enough_text: !enough,
            rows,
            sample,
            published_sha256: published.map(|(_, digest)| digest),
            warnings: self.warnings.clone(),
        };
        self.finish(&report)?;
        Ok(report)
    }

    fn warn(&mut self, text: String, events: Events<'_>) {
        events(&Event::Warning(&text));
        self.warnings.push(text);
    }

    /// The original's likelihoods; its states are in the work folder afterwards.
    fn baseline(&self, events: Events<'_>) -> Result<Scores, Error> {
        let states = self.folder.work("states.bin");
        if let Some(nll) = self.kept::<Vec<Vec<f32>>>("baseline")? {
            let scores = Scores { nll };
            if Baseline::open(&states, scores.clone(), self.checkpoint.facts().width).is_ok() {
                return Ok(scores);
            }
        }
        let windows = &self.plan.windows.windows;
        let baseline = Original::score(self.checkpoint, windows, &states, &self.options.run, events)?;
        self.keep("baseline", &baseline.scores.nll)?;
        Ok(baseline.scores)
    }

    fn original_row(&self, scores: &Scores, measure: Measure<'_>) -> Result<Row, Error> {
        let speed = match self.kept::<Speed>("speed-original")? {
            Some(speed) => speed,
            None => {
                let speed = measure(&self.options.model)?;
                self.keep("speed-original", &speed)?;
                speed
            }
        };
        let size_bytes = weight_bytes(&self.options.model)?;
        let found = perplexity(scores);
        Ok(Row {
            name: "original".to_owned(),
            chosen: false,
            verdict: None,
            rejected_early: false,
            size_bytes,
            size_ratio: 1.0,
            bits_per_weight: self.bits_per_weight(size_bytes),
            quality: Quality {
                chunks: scores.nll.len(),
                perplexity: found.value,
                perplexity_stderr: found.stderr,
                perplexity_difference: None,
                perplexity_difference_upper95: None,
                kl_divergence: None,
                same_top_percent: None,
            },
            speed: Some(speed),
        })
    }

    fn row(&self, rung: &Rung, judged: &Judged, chosen: bool, original: &Row) -> Row {
        Row {
            name: rung.name.clone(),
            chosen,
            verdict: Some(judged.verdict),
            rejected_early: judged.rejected_early,
            size_bytes: judged.size_bytes,
            size_ratio: judged.size_bytes as f64 / original.size_bytes as f64,
            bits_per_weight: self.bits_per_weight(judged.size_bytes),
            quality: judged.quality,
            speed: judged.speed,
        }
    }

    fn bits_per_weight(&self, bytes: u64) -> f64 {
        bytes as f64 * 8.0 / self.checkpoint.facts().parameters as f64
    }

    /// Makes, writes, reloads, judges and measures a candidate; what was done before is not done again.
    fn candidate(
        &mut self,
        rung: &Rung,
        scores: &Scores,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Judged, Error> {
        let entry = format!("judged-{}", slug(&rung.name));
        let file = self.candidate_path(rung);
        if let Some(judged) = self.kept::<Judged>(&entry)? {
            let there = file.exists() || self.is_published(&judged)?;
            if judged.verdict != Verdict::Accepted || there {
                return Ok(judged);
            }
        }
        let work = Journal::new(&self.folder.work(&format!("blocks-{}", slug(&rung.name))), &self.plan.card.key);
        let made = {
            let warnings = &mut self.warnings;
            make(
                self.checkpoint,
                &rung.scheme,
                Some(&self.plan.calibration),
                &work,
                &format!("{}: quantising", rung.name),
                &self.options.run,
                &mut |event| {
                    if let Event::Warning(text) = event {
                        warnings.push(format!("{}: {text}", rung.name));
                    }
                    events(event)
                },
            )?
        };
        self.folder.remove(&file)?;
        write(self.checkpoint, &self.plan.tokenizer, &made, &rung.scheme, &file, None)?;
        let (found, rejected_early) = self.judge_file(rung, &file, scores, events)?;
        let judged = Judged {
            quality: Quality::from(&found),
            verdict: judge(&found, self.options.budget),
            rejected_early,
            size_bytes: weight_bytes(&file)?,
            digest: digest_of(&Checkpoint::open(&file)?)?,
            speed: Some(measure(&file)?),
        };
        self.keep(&entry, &judged)?;
        if judged.verdict != Verdict::Accepted {
            self.folder.remove(&file)?;
        }
        work.clear()?;
        Ok(judged)
    }

    /// Reloads a candidate's file and compares it with the original; the second value is whether it was given up early.
    fn judge_file(
        &self,
        rung: &Rung,
        file: &Path,
        scores: &Scores,
        events: Events<'_>,
    ) -> Result<(Figures, bool), Error> {
        let width = self.checkpoint.facts().width;
        let baseline = Baseline::open(&self.folder.work("states.bin"), scores.clone(), width)?;
        let mut original = Original::with(self.checkpoint, baseline, &self.options.run)?;
        let reloaded = Checkpoint::open(file)?;
        let mut runner = load(&reloaded, &self.options.run, &mut *events)?;
        let windows = &self.plan.windows.windows;
        let stage = format!("{}: scoring", rung.name);
        let runner: &mut dyn Runner = &mut runner;
        let compared = original.compare(runner, windows, &stage, Some(self.options.budget), events)?;
        let early = compared.scores.nll.len() < windows.len();
        Ok((figures(&compared), early))
    }

    fn candidate_path(&self, rung: &Rung) -> PathBuf {
        match self.options.container {
            Container::Gguf => self.folder.work(&format!("{}.gguf", slug(&rung.name))),
            Container::Gptq => self.folder.work(&slug(&rung.name)),
        }
    }

    fn is_published(&self, judged: &Judged) -> Result<bool, Error> {
        let path = self.folder.path(result_name(self.options.container));
        Ok(published_digest(&path)?.as_ref() == Some(&judged.digest))
    }

    /// Moves the accepted candidate to its final name.
    fn publish(&self, rung: &Rung, judged: &Judged) -> Result<(), Error> {
        let from = self.candidate_path(rung);
        let to = self.folder.path(result_name(self.options.container));
        if !from.exists() && self.is_published(judged)? {
            return Ok(());
        }
        self.folder.remove(&to)?;
        std::fs::rename(&from, &to).map_err(|source| Error::Io { path: to, source })
    }

    /// What the original and the published model write.
    fn sample(&self, events: Events<'_>) -> Result<Sample, Error> {
        let published = self.folder.path(result_name(self.options.container));
        let mut answers = Vec::new();
        for (done, path) in [&self.options.model, &published].into_iter().enumerate() {
            let mut model = Model::open(path, &self.options.run, &mut |_| true)?;
            let settings = Generation { max_tokens: SAMPLE_TOKENS, temperature: 0.0, ..model.generation() };
            let mut goes_on = |_: &str| events(&Event::Stage { name: "writing a sample", detail: "", done, total: 2 });
            let answer = match model.chat_template() {
                Some(_) => model.chat(&[Message::new("user", PROMPT)], &settings, &mut goes_on)?,
                None => model.complete(PROMPT, &settings, &mut goes_on)?,
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
        let put = |name: &str, contents: &[u8]| {
            write_atomic(self.folder.path(name), |file| {
                let io = |e| honelm_formats::FormatError::io("write", name, e);
                std::io::Write::write_all(file, contents).map_err(io)
            })
        };
        put("report.md", report.markdown().as_bytes())?;
        let json = serde_json::to_vec_pretty(report).map_err(|e| Error::Usage(e.to_string()))?;
        put("report.json", &json)?;
        self.folder.tidy(&[])
    }

    fn kept<T: serde::de::DeserializeOwned>(&self, entry: &str) -> Result<Option<T>, Error> {
        Ok(self.journal.get(entry)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn keep<T: Serialize>(&self, entry: &str, value: &T) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).map_err(|e| Error::Usage(e.to_string()))?;
        Ok(self.journal.put(entry, &bytes)?)
    }
}

/// `int4 g128` -> `int4-g128`.
fn slug(name: &str) -> String {
    name.to_lowercase().replace(' ', "-")
}
