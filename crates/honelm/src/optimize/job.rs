use std::path::{Path, PathBuf};

use honelm_bench::Speed;
use honelm_compress::Calibration;
use honelm_engine::{FinishReason, Generation};
use honelm_eval::{
    Baseline, EvalError, Figures, MAX_OVERLAP, MIN_CHUNKS, Scores, Verdict, figures, judge, overlap, perplexity,
};
use honelm_formats::{FormatError, publish, write_atomic};
use honelm_model::{Checkpoint, Runner};
use honelm_store::{Digest, Journal};
use honelm_text::{Message, Tokenizer};
use serde::{Deserialize, Serialize};

use super::folder::{self, Earlier, Folder, WORK};
use super::report::{Quality, Report, Row, Sample, TextCard};
use super::{Container, Measure, OptimizeOptions, Outcome, Rung, ladder};
use crate::evaluate::{Original, States, Windows, context_of};
use crate::fallback;
use crate::open::{digest_of, digest_of_all, load, open, open_quietly, tokenizer_digest, tokenizer_of, weight_bytes};
use crate::quantize::{calibration_of, gguf_vocab, make, write};
use crate::texts::Text;
use crate::work::{JobCard, gate_of};
use crate::{Error, Event, Events, Model, RunOptions};

/// What both models are asked to write.
const PROMPT: &str = "Tell me a story.";
/// The report for programs, and for people.
const REPORT: &str = "report.json";
const REPORT_TEXT: &str = "report.md";
/// The folder of their sealed copies in the work folder.
const SEALED: &str = "report";
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
    let checkpoint = open(&options.model, &options.run, &mut *events)?;
    let gate = gate_of(&checkpoint, [&options.calibration, &options.text], options.force);
    folder::check(&options.out, &gate)?;
    let plan = Plan::new(options, &checkpoint)?;
    let loss = match options.container {
        Container::Gguf => gguf_vocab(&checkpoint, &plan.tokenizer, options.force)?.1,
        Container::Gptq => None,
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
    warnings.extend(loss);
    let mut job = Job { options, checkpoint: &checkpoint, plan: &plan, folder: &folder, journal, warnings };
    job.check_result(&rungs)?;
    let report = job.run(&rungs, events, measure)?;
    folder.finish();
    Ok(Outcome { report, was_done: false })
}

/// The report of an earlier run of the same job, if all that it published is still there and intact. The report's files
/// are copies of sealed entries.
fn finished(options: &OptimizeOptions, key: &str) -> Result<Option<Report>, Error> {
    let sealed = Journal::new(&options.out.join(WORK).join(SEALED), key);
    let mut report = None;
    for name in [REPORT_TEXT, REPORT] {
        let Some(entry) = sealed.get(name)? else { return Ok(None) };
        if std::fs::read(options.out.join(name)).ok().as_ref() != Some(&entry) {
            return Ok(None);
        }
        report = serde_json::from_slice::<Report>(&entry).ok();
    }
    if let Some(wanted) = report.as_ref().and_then(|report| report.published_sha256.as_ref())
        && published_digest(&options.out.join(result_name(options.container)), &options.run)?.as_ref() != Some(wanted)
    {
        return Ok(None);
    }
    Ok(report)
}

fn result_name(container: Container) -> &'static str {
    match container {
        Container::Gguf => "model.gguf",
        Container::Gptq => "gptq",
    }
}

/// Digest of a written model's files; `None` where there is none, or what is there is no model.
fn published_digest(path: &Path, run: &RunOptions) -> Result<Option<String>, Error> {
    match open_quietly(path, run) {
        Ok(written) => Ok(Some(digest_of_all(&written)?)),
        Err(_) => Ok(None),
    }
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
            return Err(Error::Usage(format!("--length {length}: expected 1 to {limit}, the model's context")));
        }
        if !options.budget.is_finite() {
            return Err(Error::Usage(format!("--budget {}: expected a number", options.budget)));
        }
        let text = options.calibration.calibration()?;
        let calibration = calibration_of(&tokenizer, &text, options.calibration_samples, length)?;
        let heldout = options.text.heldout()?;
        let context = context_of(checkpoint, &options.run);
        let windows = Windows::new(checkpoint, &heldout.documents[0], options.protocol, None, context)?;
        let share = overlap(calibration.samples.iter().map(Vec::as_slice), &windows.tokens);
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
            options.calibration_samples,
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
        let baseline = self.baseline(events)?;
        let mut rows = vec![self.original_row(&baseline.scores, measure)?];
        let enough = self.plan.windows.windows.len() >= MIN_CHUNKS;
        if !enough {
            self.warn(
                format!("{} chunks of text: no verdict below {MIN_CHUNKS}", self.plan.windows.windows.len()),
                events,
            );
        }
        let mut published = None;
        for rung in rungs.iter().take(if enough { rungs.len() } else { 0 }) {
            let judged = self.candidate(rung, &baseline, events, measure)?;
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
        // Nothing is reported of a model that is not the one any more that the work began with.
        self.checkpoint.check_files()?;
        self.finish(&report)?;
        Ok(report)
    }

    fn warn(&mut self, text: String, events: Events<'_>) {
        events(&Event::Warning(&text));
        self.warnings.push(text);
    }

    /// The original's likelihoods and states, the latter in the work folder.
    fn baseline(&self, events: Events<'_>) -> Result<Baseline, Error> {
        let journal = Journal::new(&self.folder.work("states"), &self.plan.card.key);
        let states = States::new(journal, self.checkpoint);
        Original::score(self.checkpoint, &self.plan.windows.windows, states, &self.options.run, events)
    }

    fn original_row(&self, scores: &Scores, measure: Measure<'_>) -> Result<Row, Error> {
        let speed = match self.kept::<Speed>("speed-original")? {
            Some(speed) => speed,
            None => {
                let speed = measure(&self.options.model)?;
                self.keep("speed-original", &speed)?
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
            wanted_bits_per_weight: None,
            fallbacks: Vec::new(),
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
        let above = fallback::bits_above(self.checkpoint, &rung.scheme) / self.checkpoint.facts().parameters as f64;
        Row {
            name: rung.name.clone(),
            chosen,
            verdict: Some(judged.verdict),
            rejected_early: judged.rejected_early,
            size_bytes: judged.size_bytes,
            size_ratio: judged.size_bytes as f64 / original.size_bytes as f64,
            bits_per_weight: self.bits_per_weight(judged.size_bytes),
            wanted_bits_per_weight: Some(self.bits_per_weight(judged.size_bytes) - above),
            fallbacks: fallback::of(self.checkpoint, &rung.scheme),
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
        baseline: &Baseline,
        events: Events<'_>,
        measure: Measure<'_>,
    ) -> Result<Judged, Error> {
        let entry = format!("judged-{}", slug(&rung.name));
        let file = self.candidate_path(rung);
        if let Some(judged) = self.kept::<Judged>(&entry)?
            && (judged.verdict != Verdict::Accepted
                || self.is_candidate(rung, &judged)?
                || self.is_published(&judged)?)
        {
            return Ok(judged);
        }
        let work = Journal::new(&self.folder.work(&format!("layers-{}", slug(&rung.name))), &self.plan.card.key);
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
        write(self.checkpoint, &self.plan.tokenizer, &made, &rung.scheme, &file, (None, self.options.force))?;
        let reloaded = Checkpoint::open(&file)?;
        let digest = digest_of_all(&reloaded)?;
        let (found, rejected_early) = self.judge(rung, &reloaded, baseline, events)?;
        let judged = Judged {
            quality: Quality::from(&found),
            verdict: judge(&found, self.options.budget),
            rejected_early,
            size_bytes: weight_bytes(&file)?,
            digest,
            speed: Some(measure(&file)?),
        };
        // The verdict is on the file that was hashed, and against the original that the work began with.
        reloaded.check_files()?;
        self.checkpoint.check_unchanged()?;
        let judged = self.keep(&entry, &judged)?;
        if judged.verdict != Verdict::Accepted {
            self.folder.remove(&file)?;
        }
        work.clear()?;
        Ok(judged)
    }

    /// Compares a candidate, reloaded from its file, with the original; the second value is whether it was given up early.
    fn judge(
        &self,
        rung: &Rung,
        reloaded: &Checkpoint,
        baseline: &Baseline,
        events: Events<'_>,
    ) -> Result<(Figures, bool), Error> {
        let mut original = Original::new(self.checkpoint, &self.options.run)?;
        let mut runner = load(reloaded, &self.options.run, &mut *events)?;
        let windows = &self.plan.windows.windows;
        let stage = format!("{}: scoring", rung.name);
        let runner: &mut dyn Runner = &mut runner;
        let compared = original.compare(baseline, runner, windows, &stage, Some(self.options.budget), events)?;
        let early = compared.scores.nll.len() < windows.len();
        Ok((figures(&compared), early))
    }

    fn candidate_path(&self, rung: &Rung) -> PathBuf {
        match self.options.container {
            Container::Gguf => self.folder.work(&format!("{}.gguf", slug(&rung.name))),
            Container::Gptq => self.folder.work(&slug(&rung.name)),
        }
    }

    /// Whether the candidate's file is the one that was judged.
    fn is_candidate(&self, rung: &Rung, judged: &Judged) -> Result<bool, Error> {
        Ok(published_digest(&self.candidate_path(rung), &self.options.run)?.as_ref() == Some(&judged.digest))
    }

    fn is_published(&self, judged: &Judged) -> Result<bool, Error> {
        let path = self.folder.path(result_name(self.options.container));
        Ok(published_digest(&path, &self.options.run)?.as_ref() == Some(&judged.digest))
    }

    /// Refuses to replace a model under the final name that this job did not publish.
    fn check_result(&self, rungs: &[Rung]) -> Result<(), Error> {
        let path = self.folder.path(result_name(self.options.container));
        let Some(found) = published_digest(&path, &self.options.run)? else { return Ok(()) };
        for rung in rungs {
            let judged = self.kept::<Judged>(&format!("judged-{}", slug(&rung.name)))?;
            if judged.is_some_and(|judged| judged.digest == found) {
                return Ok(());
            }
        }
        Err(FormatError::OutputExists { path: path.display().to_string() }.into())
    }

    /// Moves the accepted candidate to its final name, if it still is what was judged.
    fn publish(&self, rung: &Rung, judged: &Judged) -> Result<(), Error> {
        let from = self.candidate_path(rung);
        let to = self.folder.path(result_name(self.options.container));
        if self.is_published(judged)? {
            return self.folder.remove(&from);
        }
        if !self.is_candidate(rung, judged)? {
            let (file, problem) = (from.display().to_string(), "it is not what was judged".to_owned());
            return Err(FormatError::Changed { file, problem }.into());
        }
        self.checkpoint.check_files()?;
        Ok(publish(&from, &to, false)?)
    }

    /// What the original and the published model write.
    fn sample(&self, events: Events<'_>) -> Result<Sample, Error> {
        let published = self.folder.path(result_name(self.options.container));
        let mut answers = Vec::new();
        for (done, path) in [&self.options.model, &published].into_iter().enumerate() {
            let mut model = Model::open(path, &self.options.run, &mut |_| true)?;
            let settings = Generation { max_tokens: SAMPLE_TOKENS, temperature: 0.0, ..model.generation() };
            let mut goes_on = |_: &str| events(&Event::Stage { name: "writing a sample", detail: "", done, total: 2 });
            // The text itself is continued where the chat template is broken or refuses the question.
            let prompt = model.chat_template().map(|_| model.prompt(&[Message::new("user", PROMPT)]));
            let answer = match prompt {
                Some(Ok(prompt)) => model.generate(&prompt, &settings, &mut goes_on)?,
                _ => model.complete(PROMPT, &settings, &mut goes_on)?,
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
        let json = serde_json::to_vec_pretty(report).map_err(|e| Error::Usage(e.to_string()))?;
        let sealed = Journal::new(&self.folder.work(SEALED), &self.plan.card.key);
        for (name, contents) in [(REPORT_TEXT, report.markdown().as_bytes()), (REPORT, &json)] {
            sealed.put(name, contents)?;
            write_atomic(self.folder.path(name), |file| {
                let io = |e| FormatError::io("write", name, e);
                std::io::Write::write_all(file, contents).map_err(io)
            })?;
        }
        self.folder.tidy(&[SEALED])
    }

    fn kept<T: serde::de::DeserializeOwned>(&self, entry: &str) -> Result<Option<T>, Error> {
        Ok(self.journal.get(entry)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Keeps a value. Gives it back as a resumed run reads it, so that both report the same bits of every number.
    fn keep<T: Serialize + serde::de::DeserializeOwned>(&self, entry: &str, value: &T) -> Result<T, Error> {
        let unreadable = |e: serde_json::Error| Error::Usage(e.to_string());
        let bytes = serde_json::to_vec(value).map_err(unreadable)?;
        self.journal.put(entry, &bytes)?;
        serde_json::from_slice(&bytes).map_err(unreadable)
    }
}

/// `int4 g128` -> `int4-g128`.
fn slug(name: &str) -> String {
    name.to_lowercase().replace(' ', "-")
}
