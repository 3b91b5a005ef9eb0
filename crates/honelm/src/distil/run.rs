//! The job: checks, samples, training, the written folder, the judgement.

use std::path::{Path, PathBuf};
use std::time::Instant;

use honelm_bench::Ceilings;
use honelm_blocks::Encoding;
use honelm_compress::{CompressError, Tune};
use honelm_cpu::{Compute, CpuBackend, Pool};
use honelm_eval::{EvalError, MAX_OVERLAP, overlap};
use honelm_formats::{OutputGate, publish};
use honelm_model::{Checkpoint, Parameters, StoredEncoding};
use honelm_store::{Digest, Journal};
use honelm_text::Tokenizer;
use honelm_train::{Fit, FitProgress, Fitted, Floats, Settings, Stored, TrainError};

use super::options::{DistilOptions, Student};
use super::plot;
use super::report::{DistilReport, DistilSpeed};
use super::stored::{Card, JournalSaves, distributions};
use super::student::Opened;
use crate::documents::calibration_of;
use crate::open::{digest_of, open, tokenizer_digest, tokenizer_of, weight_bytes};
use crate::optimize::{Findings, Quality};
use crate::quantize::{beside, write_folder};
use crate::times::Times;
use crate::work::{JobCard, Work, gate_of};
use crate::{Error, Event, Events, RunOptions, TextSource};

const STAGE: &str = "distilling";
/// The plot of the curve in the written folder.
const PLOT: &str = "distil.svg";

/// Trains a student against a teacher and writes it as a Hugging Face folder. Saves unfinished work beside the output; the next call
/// with the same settings resumes it and writes the same bytes.
///
/// # Errors
/// An invalid model or text; models with different vocabularies; a student that is wider than its teacher; a text that does not fill a
/// sample, or overlaps the text that judges; an output that exists; [`Error::Interrupted`] if `events` returns `false`.
pub fn distil(
    teacher: &Path,
    student: &Student,
    options: &DistilOptions,
    out: &Path,
    events: Events<'_>,
) -> Result<DistilReport, Error> {
    options.check()?;
    let mut warnings = Vec::new();
    let mut events = |event: &Event<'_>| {
        if let Event::Warning(text) = event {
            warnings.push((*text).to_owned());
        }
        events(event)
    };
    let job = Job::open(teacher, student, options, &mut events)?;
    let gate = job.gate();
    gate.folder(out)?;
    let work = Work::claim(&options.work.clone().unwrap_or_else(|| beside(out)), &gate, false)?;
    // A process that held the lock before may have written the output.
    gate.folder(out)?;
    let mut times = Times::default();
    let mut report = job.make(work, out, &mut times, &mut events)?;
    times.end();
    (report.warnings, report.stages) = (warnings, times.stages);
    Ok(report)
}

/// Converts an error of training.
pub(super) fn failed(error: TrainError) -> Error {
    match error {
        TrainError::Layers { .. } => Error::Usage(format!("--hidden-layers: {error}")),
        other => CompressError::from(other).into(),
    }
}

struct Job<'a> {
    options: &'a DistilOptions,
    path: &'a Path,
    teacher: Checkpoint,
    student: Opened,
    tokenizer: Tokenizer,
    dtype: Encoding,
    /// The samples to train on, and those by which the best state is chosen.
    samples: [Vec<Vec<u32>>; 2],
}

impl<'a> Job<'a> {
    fn open(path: &'a Path, student: &Student, options: &'a DistilOptions, events: Events<'_>) -> Result<Self, Error> {
        let teacher = open(path, &options.run, &mut *events)?;
        let tokenizer = tokenizer_of(&teacher)?;
        let student = Opened::new(student, &options.run, &mut *events)?;
        student.check(&teacher, &tokenizer)?;
        let dtype = student.dtype(options.dtype)?;
        let samples = samples(options, &tokenizer, events)?;
        Ok(Self { options, path, teacher, student, tokenizer, dtype, samples })
    }

    /// Returns a gate that protects everything that the job reads.
    fn gate(&self) -> OutputGate {
        let options = self.options;
        let texts = [Some(&options.text), options.heldout.as_ref(), Some(&options.gate.text)];
        let gate = gate_of(&self.teacher, texts.into_iter().flatten(), options.force);
        options.teacher_logits.iter().fold(gate.with_input(self.student.path()), |gate, path| gate.with_input(path))
    }

    fn make(&self, work: Work, out: &Path, times: &mut Times, events: Events<'_>) -> Result<DistilReport, Error> {
        let (options, gate) = (self.options, &self.options.gate);
        let text = gate.read(options, (&self.teacher, &self.tokenizer), &self.samples[0], &mut *events)?;
        let model_digest = digest_of(&self.teacher)?;
        let settings = options.settings();
        let key = self.key(&model_digest, &settings)?;
        let card = JobCard { model: self.teacher.facts().name.clone(), model_digest, key };
        work.take_up(&card)?;
        let exact = RunOptions { compute: Compute::F32, ..options.run.clone() };
        let (mut backend, pool) = (exact.cpu(), Pool::new(Some(options.run.worker_threads())));
        let stored = self.stored(&card, (&mut backend, &pool), times, &mut *events)?;
        let weights = self.student.weights();
        let mut floats = Floats::new(self.student.checkpoint.blueprint(), &weights, self.dtype);
        let fit = Fit {
            student: self.student.checkpoint.blueprint(),
            teacher: self.teacher.blueprint(),
            weights: &self.teacher,
            settings: &settings,
            samples: [&self.samples[0], &self.samples[1]],
            stored: stored
                .as_ref()
                .map(|saves| Stored { saves, top: options.top.min(self.teacher.facts().vocabulary) }),
            saves: &JournalSaves(Journal::new(&work.path("training"), &card.key)),
            pool: &pool,
        };
        times.begin(STAGE);
        let (fitted, speed) = self.train(&fit, &mut floats, &mut backend, &mut *events)?;
        if let Some(problem) = &fitted.stopped {
            let warning = format!("training stopped at {problem}; the best state before it is written");
            events(&Event::Warning(&warning));
        }
        times.begin("writing");
        let complete = self.write(&floats, &fitted, &work, out)?;
        let judged = match &text {
            Some(text) => {
                times.begin("judging");
                Some(gate.judge(options, (self.path, &complete), text, events)?)
            }
            None => None,
        };
        publish(&complete, out, options.force)?;
        work.remove()?;
        self.report(out, fitted, speed, judged)
    }

    /// Returns a digest of everything that decides the result.
    fn key(&self, model_digest: &str, settings: &Settings) -> Result<String, Error> {
        let student = &self.student.checkpoint;
        let serialised = |source| Error::Serialise { what: "the settings", source };
        let digest = Digest::default()
            .with(env!("CARGO_PKG_VERSION"))
            .with(model_digest)
            .with(tokenizer_digest(&self.teacher, &self.tokenizer)?)
            .with(digest_of(student)?)
            .with(self.student.describe())
            .with(self.dtype.name())
            .with(serde_json::to_vec(settings).map_err(serialised)?)
            .with(match self.options.teacher_logits {
                Some(_) => self.options.top.to_string(),
                None => String::new(),
            });
        Ok(self.samples.iter().fold(digest, |digest, samples| digest.with(digest_of_samples(samples))).hex())
    }

    /// Returns the teacher's stored distributions, if they are asked for.
    fn stored(
        &self,
        card: &JobCard,
        (backend, pool): (&mut CpuBackend, &Pool),
        times: &mut Times,
        events: Events<'_>,
    ) -> Result<Option<JournalSaves>, Error> {
        let Some(folder) = &self.options.teacher_logits else { return Ok(None) };
        times.begin("teacher");
        let wanted = Card {
            teacher: card.model_digest.clone(),
            samples: digest_of_samples(&self.samples[0]),
            temperature: self.options.temperature,
            top_k: self.options.top,
        };
        let gate = gate_of(&self.teacher, [&self.options.text], true);
        let gate = gate.with_input(self.student.path());
        let source = (&self.teacher, &*self.samples[0]);
        distributions(folder, &wanted, source, &gate, (backend, pool), events).map(Some)
    }

    /// Trains, and measures the speed of this run.
    fn train(
        &self,
        fit: &Fit<'_>,
        floats: &mut Floats<'_>,
        backend: &mut CpuBackend,
        events: Events<'_>,
    ) -> Result<(Fitted, Option<DistilSpeed>), Error> {
        let total = fit.settings.steps as usize;
        let mut first: Option<(u32, usize, Instant)> = None;
        events(&Event::Stage { name: STAGE, detail: "held-out samples", done: 0, total });
        let fitted = fit.run(floats, backend, &mut |progress| {
            first.get_or_insert_with(|| (progress.done, progress.curve.len(), Instant::now()));
            events(&Event::Stage { name: STAGE, detail: &detail(progress), done: progress.done as usize, total })
        });
        let fitted = fitted.map_err(failed)?;
        self.teacher.check_unchanged()?;
        self.student.checkpoint.check_unchanged()?;
        let speed = first.filter(|(before, ..)| *before < fitted.steps).map(|(before, measured, start)| {
            let tokens = self.tokens_of_steps(before, fitted.steps);
            let measured = (fitted.curve.len() - measured) as u64 * tokens_of(&self.samples[1]);
            self.speed(fit, [tokens, measured], start.elapsed().as_secs_f64())
        });
        Ok((fitted, speed))
    }

    fn speed(&self, fit: &Fit<'_>, [tokens, measured]: [u64; 2], seconds: f64) -> DistilSpeed {
        let [student, teacher] = [&self.student.checkpoint, &self.teacher].map(products);
        let alive = fit.stored.is_none() && (self.options.alpha > 0.0 || self.options.layers.is_some());
        let output = (self.teacher.facts().vocabulary * self.teacher.facts().width) as u64;
        let of_steps = tokens * (6 * student + if alive { 2 * teacher } else { 0 });
        let operations = of_steps + measured * 2 * (student + output);
        let per_second = |count: u64| count as f64 / seconds.max(f64::MIN_POSITIVE);
        DistilSpeed {
            tokens_per_second: per_second(tokens),
            operations_per_second: per_second(operations),
            peak_operations_per_second: Ceilings::probe(self.options.run.worker_threads()).f32_operations_per_second,
        }
    }

    fn tokens_of_steps(&self, before: u32, after: u32) -> u64 {
        let per_step = self.options.batch.min(self.samples[0].len()) * self.options.length;
        u64::from(after - before) * per_step as u64
    }

    /// Writes the complete folder in the work folder, reopens it and checks it.
    fn write(&self, floats: &Floats<'_>, fitted: &Fitted, work: &Work, out: &Path) -> Result<PathBuf, Error> {
        let complete = work.path("complete");
        std::fs::create_dir_all(&complete).map_err(|source| Error::Io { path: complete.clone(), source })?;
        let complete = complete.join(out.file_name().unwrap_or_default());
        let student = &self.student.checkpoint;
        let files = if self.student.has_files() { student } else { &self.teacher };
        let folder = write_folder(student, (files, &self.tokenizer), floats, None, &complete, None)?;
        let path = folder.path().join(PLOT);
        let title = format!("{} from {}", student.facts().name, self.teacher.facts().name);
        std::fs::write(&path, plot::of(&fitted.curve, &title)).map_err(|source| Error::Io { path, source })?;
        check(&Checkpoint::open(folder.path())?, floats)?;
        folder.commit()?;
        Ok(complete)
    }

    fn report(
        &self,
        out: &Path,
        fitted: Fitted,
        speed: Option<DistilSpeed>,
        judged: Option<(Findings, Quality)>,
    ) -> Result<DistilReport, Error> {
        let (findings, quality) = judged.unzip();
        let verdict = findings.as_ref().map(Findings::verdict);
        let before = fitted.curve.first().copied().unwrap_or(fitted.kept);
        Ok(DistilReport {
            path: out.to_owned(),
            size_bytes: weight_bytes(out)?,
            dtype: self.dtype.name().to_owned(),
            teacher_parameters: self.teacher.facts().parameters,
            student_parameters: self.student.checkpoint.facts().parameters,
            text_tokens: tokens_of(&self.samples[0]),
            tokens: self.tokens_of_steps(0, fitted.steps),
            steps: fitted.steps,
            before,
            after: fitted.kept,
            curve: fitted.curve,
            stopped: fitted.stopped,
            speed,
            stages: Vec::new(),
            gates: findings.map(|findings| findings.gates).unwrap_or_default(),
            verdict,
            quality,
            warnings: Vec::new(),
        })
    }
}

/// Returns the samples to train on, and those by which the best state is chosen.
fn samples(options: &DistilOptions, tokenizer: &Tokenizer, events: Events<'_>) -> Result<[Vec<Vec<u32>>; 2], Error> {
    let mut read = |source: &TextSource, samples: usize| {
        let text = source.calibration()?;
        for warning in &text.warnings {
            events(&Event::Warning(warning));
        }
        calibration_of(tokenizer, &text, samples, options.length)
    };
    let train = read(&options.text, options.samples)?;
    let Some(source) = &options.heldout else {
        let split = Tune { held_out: options.heldout_samples, ..Tune::default() };
        return Ok(split.split(&train)?.map(|text| text.samples));
    };
    let heldout = read(source, options.heldout_samples)?;
    let tokens = heldout.samples.concat();
    let share = overlap(train.samples.iter().map(Vec::as_slice), &tokens);
    if share > MAX_OVERLAP {
        return Err(EvalError::Overlap { share }.into());
    }
    Ok([train.samples, heldout.samples])
}

/// Returns the number of weights with which a token is multiplied.
fn products(model: &Checkpoint) -> u64 {
    let tree = model.tree();
    let linear = tree.slots().filter_map(|slot| tree.module(slot)).filter(|module| module.is_linear());
    let tied = tree.output.is_none().then(|| tree.embedding());
    linear.chain(tied).map(|module| module.shape[0] as u64 * module.shape[1] as u64).sum()
}

fn tokens_of(samples: &[Vec<u32>]) -> u64 {
    samples.iter().map(|sample| sample.len() as u64).sum()
}

fn digest_of_samples(samples: &[Vec<u32>]) -> String {
    let bytes = |sample: &Vec<u32>| sample.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>();
    samples.iter().fold(Digest::default(), |digest, sample| digest.with(bytes(sample))).hex()
}

fn detail(progress: &FitProgress<'_>) -> String {
    let (Some(first), Some(best)) = (progress.curve.first(), progress.best()) else { return String::new() };
    format!(
        "KL divergence {:.4} before, {:.4} now; cross entropy {:.4}, {:.4}",
        first.divergence, best.divergence, first.nll, best.nll
    )
}

/// Checks that a written student has the weights that were trained.
fn check(written: &Checkpoint, floats: &Floats<'_>) -> Result<(), Error> {
    for slot in written.tree().slots() {
        let (found, expected) = (written.parameter(slot)?, floats.parameter(slot)?);
        if found.weight.dequantize() != expected.weight.dequantize() || found.bias != expected.bias {
            let shown = |encoding: StoredEncoding| match encoding {
                StoredEncoding::Blocks(encoding) => format!("other values in {}", encoding.name()),
                StoredEncoding::Groups { bits, .. } => format!("integer groups of {bits} bits"),
            };
            let tensor = written.tensor_name(slot).unwrap_or_else(|| slot.module.to_owned());
            let (file, found) = (written.facts().name.clone(), shown((&found.weight).into()));
            return Err(CompressError::NotAsPlanned {
                file,
                tensor,
                found,
                expected: "the trained weights".to_owned(),
            }
            .into());
        }
    }
    Ok(())
}
