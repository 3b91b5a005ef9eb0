//! Labels traffic by letting both sides answer it: `honelm router label`.
//!
//! The local model answers all prompts, then the cloud. Every batch of answers is an entry of a journal beside the output, from which a
//! stopped run resumes. Then the answers are judged and the traffic is written.

mod judge;
mod local;
mod prompts;
mod remote;

use std::path::{Path, PathBuf};

use honelm_engine::{Confidence, Samples};
use honelm_formats::{FormatError, OutputGate, write_atomic};
use honelm_gateway::estimator;
use honelm_store::{Digest, Journal};
use serde::{Deserialize, Serialize};

use crate::open::{digest_of, open_quietly, tokenizer_digest, tokenizer_of};
use crate::texts::read;
use crate::work::{JobCard, Work};
use crate::{Error, Event, Events, RunOptions, model_name};

pub use judge::Compare;
use judge::Judged;
use local::LocalSide;
use prompts::{Row, rows};
use remote::{Remote, address};

/// The number of prompts that are saved together.
const BATCH: usize = 64;

/// The side that the local model is compared with.
#[derive(Clone)]
pub enum CloudSide {
    /// A model on this machine: a folder or a GGUF file.
    Model(PathBuf),
    /// A server with OpenAI's interface.
    Url {
        /// The address before `/chat/completions`.
        url: String,
        /// The model's name there.
        model: String,
        /// The key, if the server asks for one.
        key: Option<String>,
        /// A secret from which the surrogates for private data follow; `None` sends prompts as they are.
        redaction: Option<[u8; 32]>,
    },
}

/// The settings of [`label_traffic`].
#[derive(Clone)]
pub struct LabelOptions {
    /// The prompts: JSON lines with `prompt` or `messages`, and if known `answer` and `group`.
    pub prompts: PathBuf,
    /// The local model: a folder or a GGUF file.
    pub local: PathBuf,
    /// The other side.
    pub cloud: CloudSide,
    /// The file to write.
    pub out: PathBuf,
    /// The largest number of tokens of an answer.
    pub max_tokens: usize,
    /// `true` to continue prompts as plain text, without the chat template.
    pub raw: bool,
    /// The part of an answer that is compared.
    pub compare: Compare,
    /// Two samples of the local model, if their agreement is wanted.
    pub samples: Option<Samples>,
    /// `true` to write the answers too.
    pub keep_answers: bool,
    /// `true` to replace an earlier output.
    pub force: bool,
    /// The settings of the models.
    pub run: RunOptions,
}

/// The work of one side.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SideWork {
    /// The name of the model.
    pub name: String,
    /// The tokens of all prompts.
    pub prompt_tokens: u64,
    /// The tokens of all answers.
    pub completion_tokens: u64,
    /// The tokens of all samples.
    pub sample_tokens: u64,
    /// The time for all answers and samples in seconds, without loading.
    pub seconds: f64,
    /// The mean quality of the answers, 0 to 1.
    pub quality: f64,
}

/// The result of [`label_traffic`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelledTraffic {
    /// The file.
    pub path: PathBuf,
    /// The number of labelled requests.
    pub requests: usize,
    /// The number of those that were judged by their `answer`.
    pub by_answer: usize,
    /// The number of those that were judged by agreement with the cloud, whose answer counts as right.
    pub by_agreement: usize,
    /// The number of prompts that are too long for one of the models, and are left out.
    pub left_out: usize,
    /// The share of requests on which both sides say the same, 0 to 1.
    pub agreement: f64,
    /// The local model's work.
    pub local: SideWork,
    /// The cloud's work.
    pub cloud: SideWork,
}

/// The answer of one side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    text: String,
    confidence: Option<estimator::Confidence>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    sample_tokens: u64,
}

/// The answers to a batch; `None` for a prompt that is too long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Batch {
    answers: Vec<Option<Answer>>,
    seconds: f64,
}

/// A side that answers prompts.
trait Side {
    /// Answers prompts in order. `progress` gets the number of finished ones, and stops the work by returning `false`.
    fn answer(&mut self, rows: &[Row], progress: &mut dyn FnMut(usize) -> bool) -> Result<Vec<Option<Answer>>, Error>;
}

/// Converts the confidence of a model to the form that estimators read.
#[must_use]
pub fn router_confidence(found: &Confidence) -> estimator::Confidence {
    estimator::Confidence {
        top_probability: found.top_probability,
        margin: found.margin,
        entropy: found.entropy,
        agreement: found.agreement.map(|agreement| agreement.share),
    }
}

/// Lets both sides answer prompts, judges the answers, and writes labelled traffic. Saves unfinished work beside the output; the next
/// call with the same settings resumes it.
///
/// # Errors
/// A bad line, a model or a server that fails, an output that exists, [`Error::Interrupted`] if `events` returns `false`.
pub fn label_traffic(options: &LabelOptions, events: Events<'_>) -> Result<LabelledTraffic, Error> {
    let gate = OutputGate::new(options.force).with_input(&options.prompts).with_input(&options.local);
    let gate = if let CloudSide::Model(path) = &options.cloud { gate.with_input(path) } else { gate };
    let is_traffic = |path: &Path| crate::open_traffic(path).is_ok();
    let check = || gate.file(&options.out, "labelled traffic", &is_traffic);
    check()?;
    let text = read(&options.prompts)?;
    let rows = rows(&options.prompts.display().to_string(), &text, options.raw)?;
    let card = card(options, &text)?;
    let work = Work::claim(&beside(&options.out), &gate, false)?;
    check()?;
    work.take_up(&card)?;
    let journal = Journal::new(&work.path("answers"), &card.key);
    let local = answers(options, true, &rows, &journal, events)?;
    let cloud = answers(options, false, &rows, &journal, events)?;
    let (lines, found) = judged(options, &rows, [&local, &cloud]);
    if found.left_out > 0 {
        let told = format!("{} prompts are longer than a model's context leaves room for: left out", found.left_out);
        events(&Event::Warning(&told));
    }
    check()?;
    write_atomic(&options.out, |file| {
        let failed = |source| Error::from(FormatError::io("write", options.out.display(), source));
        std::io::Write::write_all(file, lines.as_bytes()).map_err(failed)
    })?;
    work.remove()?;
    Ok(found)
}

/// Returns the card of the job: everything that decides the answers.
fn card(options: &LabelOptions, prompts: &str) -> Result<JobCard, Error> {
    let of_model = |path: &Path| -> Result<String, Error> {
        let checkpoint = open_quietly(path, &options.run)?;
        let tokenizer = tokenizer_digest(&checkpoint, &tokenizer_of(&checkpoint)?)?;
        Ok(format!("{} {tokenizer}", digest_of(&checkpoint)?))
    };
    let local = of_model(&options.local)?;
    let cloud = match &options.cloud {
        CloudSide::Model(path) => of_model(path)?,
        CloudSide::Url { url, model, redaction, .. } => format!("{} {model} {}", address(url)?, redaction.is_some()),
    };
    let LabelOptions { max_tokens, raw, samples, run, .. } = options;
    let settings = format!("{max_tokens} {raw} {samples:?} {:?} {:?} {:?}", run.device, run.compute, run.context);
    let digest = Digest::default().with(env!("CARGO_PKG_VERSION")).with(&local).with(cloud).with(prompts);
    let key = digest.with(settings).with(format!("{:?}", run.cache_type)).hex();
    Ok(JobCard { model: model_name(&options.local), model_digest: local, key })
}

/// `traffic.jsonl` -> `.traffic.jsonl.work`, in the same folder.
fn beside(out: &Path) -> PathBuf {
    let name = out.file_name().map_or_else(|| "traffic".to_owned(), |name| name.to_string_lossy().into_owned());
    out.with_file_name(format!(".{name}.work"))
}

/// Returns the answers of a side to all rows: those of the journal, and those that it gives now.
fn answers(
    options: &LabelOptions,
    is_local: bool,
    rows: &[Row],
    journal: &Journal,
    events: Events<'_>,
) -> Result<Batch, Error> {
    let (entry, stage) = if is_local { ("local", "local answers") } else { ("cloud", "answers of the cloud") };
    let mut side: Option<Box<dyn Side>> = None;
    let mut all = Batch { answers: Vec::with_capacity(rows.len()), seconds: 0.0 };
    for (number, part) in rows.chunks(BATCH).enumerate() {
        let name = format!("{entry}-{number}");
        let known = journal.get(&name)?.and_then(|bytes| serde_json::from_slice::<Batch>(&bytes).ok());
        let batch = match known.filter(|known| known.answers.len() == part.len()) {
            Some(known) => known,
            None => {
                if side.is_none() {
                    side = Some(open_side(options, is_local, &mut *events)?);
                }
                let Some(side) = side.as_mut() else { return Err(Error::Interrupted) };
                let begin = std::time::Instant::now();
                let first = number * BATCH;
                let mut tell = |done: usize| {
                    events(&Event::Stage { name: stage, detail: "", done: first + done, total: rows.len() })
                };
                let answers = side.answer(part, &mut tell)?;
                let batch = Batch { answers, seconds: begin.elapsed().as_secs_f64() };
                let what = "answers";
                let bytes = serde_json::to_vec(&batch).map_err(|source| Error::Serialise { what, source })?;
                journal.put(&name, &bytes)?;
                batch
            }
        };
        all.seconds += batch.seconds;
        all.answers.extend(batch.answers);
    }
    Ok(all)
}

fn open_side(options: &LabelOptions, is_local: bool, events: Events<'_>) -> Result<Box<dyn Side>, Error> {
    let path = match (&options.cloud, is_local) {
        (_, true) => &options.local,
        (CloudSide::Model(path), false) => path,
        (CloudSide::Url { url, model, key, redaction }, false) => {
            let remote = Remote::new(url, model, key.as_deref(), *redaction, options.max_tokens)?;
            return Ok(Box::new(remote));
        }
    };
    Ok(Box::new(LocalSide::open(path, options, is_local, events)?))
}

/// Judges the answers of both sides. Returns the lines of the output.
fn judged(options: &LabelOptions, rows: &[Row], sides: [&Batch; 2]) -> (String, LabelledTraffic) {
    let [local, cloud] = sides;
    let cloud_name = match &options.cloud {
        CloudSide::Model(path) => model_name(path),
        CloudSide::Url { model, .. } => model.clone(),
    };
    let work = |name: String, batch: &Batch| SideWork { name, seconds: batch.seconds, ..SideWork::default() };
    let mut found = LabelledTraffic {
        path: options.out.clone(),
        requests: 0,
        by_answer: 0,
        by_agreement: 0,
        left_out: 0,
        agreement: 0.0,
        local: work(model_name(&options.local), local),
        cloud: work(cloud_name, cloud),
    };
    let mut lines = String::new();
    for (row, (local, cloud)) in rows.iter().zip(local.answers.iter().zip(&cloud.answers)) {
        let (Some(local), Some(cloud)) = (local, cloud) else {
            found.left_out += 1;
            continue;
        };
        let verdict = Judged::of(options.compare, &row.answers, &local.text, &cloud.text);
        found.requests += 1;
        *(if row.answers.is_empty() { &mut found.by_agreement } else { &mut found.by_answer }) += 1;
        found.agreement += f64::from(u8::from(verdict.agree));
        for (work, answer, quality) in
            [(&mut found.local, local, verdict.local), (&mut found.cloud, cloud, verdict.cloud)]
        {
            work.prompt_tokens += answer.prompt_tokens.unwrap_or(0);
            work.completion_tokens += answer.completion_tokens.unwrap_or(0);
            work.sample_tokens += answer.sample_tokens;
            work.quality += f64::from(quality);
        }
        lines.push_str(&row.labelled(&verdict, local, cloud, options.keep_answers).to_string());
        lines.push('\n');
    }
    let n = found.requests.max(1) as f64;
    found.agreement /= n;
    found.local.quality /= n;
    found.cloud.quality /= n;
    (lines, found)
}
