//! The router's work on files: training, evaluating and replaying estimators, and checking gateway files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use honelm_formats::{FormatError, OutputGate, write_atomic};
use honelm_gateway::accounting::Prices;
use honelm_gateway::estimator::{
    self, Estimator, Evaluation, Labelled, Prompt, Provenance, Replay, Target, Threshold, Training, read_traffic,
};
use honelm_gateway::policy::{self, Decision, Settings, State, UpstreamState};
use serde::Serialize;
use serde_json::Value;

use crate::documents::Document;
use crate::texts::{read, read_named};
use crate::{Error, TextSource, locate, open_tokenizer};

/// The shipped estimator. `crates/honelm/data/README.md` says from which data and by which command it was made.
const SHIPPED: &[u8] = include_bytes!("../data/router.estimator");
/// The most bytes of an estimator, and of a gateway file.
const MOST_ESTIMATOR: u64 = 64 << 20;
const MOST_SETTINGS: u64 = 1 << 20;
/// The bytes that a token of a prompt has on average, where its tokenizer is not known.
const BYTES_PER_TOKEN: u64 = 4;

/// Opens an estimator: a file, or the shipped one.
///
/// # Errors
/// A file that cannot be read, and one that is no estimator of this version.
pub fn open_estimator(path: Option<&Path>) -> Result<Estimator, Error> {
    match path {
        None => Ok(Estimator::from_bytes("shipped", SHIPPED)?),
        Some(path) => Ok(Estimator::from_bytes(&path.display().to_string(), &read_named(path, MOST_ESTIMATOR)?)?),
    }
}

/// Reads labelled traffic from a file.
///
/// # Errors
/// A file that cannot be read, a bad line, and a file without requests.
pub fn open_traffic(path: &Path) -> Result<Vec<Labelled>, Error> {
    let text = match read(path) {
        // An empty file is one without requests.
        Err(Error::Text { .. }) if std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) => {
            String::new()
        }
        read => read?,
    };
    Ok(read_traffic(&path.display().to_string(), &text)?)
}

/// The settings of [`train_router`].
#[derive(Debug, Clone)]
pub struct TrainRouterOptions {
    /// The labelled traffic.
    pub traffic: PathBuf,
    /// The file to write.
    pub out: PathBuf,
    /// The origin and licence of the traffic, kept in the file.
    pub note: String,
    /// The seed of the folds.
    pub seed: u64,
    /// `true` to keep groups together in folds.
    pub keep_groups: bool,
    /// `true` to replace an earlier estimator.
    pub force: bool,
}

/// The result of [`train_router`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainedRouter {
    /// The file.
    pub path: PathBuf,
    /// The size of the file in bytes.
    pub size_bytes: usize,
    /// The number of parameters.
    pub parameters: usize,
    /// The training data.
    pub data: Provenance,
    /// The threshold that keeps 75% of the requests on the device, and what held-out requests say about it.
    pub threshold: Threshold,
}

/// Trains an estimator on labelled traffic and writes it.
///
/// # Errors
/// Bad traffic, traffic of one class, and an output that exists or cannot be written.
pub fn train_router(options: &TrainRouterOptions) -> Result<TrainedRouter, Error> {
    let gate = OutputGate::new(options.force).with_input(&options.traffic);
    let check = || gate.file(&options.out, "an estimator", &|path| open_estimator(Some(path)).is_ok());
    check()?;
    let rows = open_traffic(&options.traffic)?;
    let source = options.traffic.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let training =
        Training { source, note: options.note.clone(), seed: options.seed, keep_groups: options.keep_groups };
    let ordinary = ordinary()?;
    let estimator = estimator::train(&rows, &texts(&ordinary), &training)?;
    let bytes = estimator.to_bytes()?;
    check()?;
    write_atomic(&options.out, |file| {
        file.write_all(&bytes).map_err(|source| Error::from(FormatError::io("write", options.out.display(), source)))
    })?;
    Ok(TrainedRouter {
        path: options.out.clone(),
        size_bytes: bytes.len(),
        parameters: estimator.parameters(),
        data: estimator.provenance().clone(),
        threshold: estimator.threshold(Target::KeepLocal(0.75)),
    })
}

/// Returns the texts of ordinary language from which the n-gram model of an estimator is made: the shipped calibration text.
fn ordinary() -> Result<Vec<Document>, Error> {
    Ok(TextSource::Shipped.calibration()?.documents)
}

fn texts(documents: &[Document]) -> Vec<&str> {
    documents.iter().flat_map(Document::texts).collect()
}

/// The estimator that [`evaluate_router`] judges.
#[derive(Debug, Clone)]
pub enum Judged {
    /// Estimators trained on the other folds of the same traffic.
    Folds {
        /// The number of folds, at least 2.
        folds: usize,
        /// The seed of the folds.
        seed: u64,
        /// `true` to keep groups together.
        keep_groups: bool,
    },
    /// An estimator: a file, or the shipped one.
    Estimator(Option<PathBuf>),
}

/// The time that an estimate takes, in milliseconds on one core: per request, the shortest of three.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DecisionTime {
    /// The median.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest.
    pub most: f64,
}

/// Judges routing on labelled traffic, and measures the time of an estimate.
///
/// # Errors
/// Bad traffic, traffic without a gap between the cloud and the local model, and a bad estimator.
pub fn evaluate_router(traffic: &Path, judged: &Judged) -> Result<(Evaluation, DecisionTime), Error> {
    let rows = open_traffic(traffic)?;
    let source = traffic.display().to_string();
    match judged {
        Judged::Folds { folds, seed, keep_groups } => {
            let training = Training { source, note: String::new(), seed: *seed, keep_groups: *keep_groups };
            let ordinary = ordinary()?;
            let evaluation = estimator::cross_validate(&rows, &texts(&ordinary), *folds, &training)?;
            Ok((evaluation, decision_time(&open_estimator(None)?, &rows)))
        }
        Judged::Estimator(path) => {
            let estimator = open_estimator(path.as_deref())?;
            let evaluation = estimator::evaluate(&estimator, &rows, &source)?;
            Ok((evaluation, decision_time(&estimator, &rows)))
        }
    }
}

fn decision_time(estimator: &Estimator, rows: &[Labelled]) -> DecisionTime {
    let once = |row: &Labelled| {
        let start = Instant::now();
        std::hint::black_box(estimator.estimate(&row.prompt));
        start.elapsed().as_secs_f64() * 1e3
    };
    let time = |row: &Labelled| (0..3).map(|_| once(row)).fold(f64::INFINITY, f64::min);
    let mut times: Vec<f64> = rows.iter().map(time).collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len().max(1) - 1) as f64 * share).round() as usize).copied().unwrap_or(0.0);
    DecisionTime { median: at(0.5), p99: at(0.99), most: at(1.0) }
}

/// Replays labelled traffic with the threshold for a target.
///
/// # Errors
/// Bad traffic and a bad estimator.
pub fn replay_router(
    traffic: &Path,
    estimator: Option<&Path>,
    target: Target,
    prices: Option<Prices>,
) -> Result<Replay, Error> {
    let rows = open_traffic(traffic)?;
    Ok(estimator::replay(&open_estimator(estimator)?, &rows, target, prices))
}

/// The route that a request would take with a gateway file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckedRequest {
    /// The decision, with every upstream up and nothing spent.
    #[serde(flatten)]
    pub decision: Decision,
    /// The names of the upstreams, in the order in which they are tried.
    pub upstream_names: Vec<String>,
    /// The tokens of the prompt.
    pub prompt_tokens: u64,
    /// `true` if these are estimated from bytes, since the local model's tokenizer is not on this machine.
    pub is_estimated: bool,
    /// The cost of the longest answer at the first upstream.
    pub cost: Option<f64>,
}

/// Reads and checks a gateway file.
///
/// # Errors
/// A file that cannot be read, and every problem that [`Settings::from_toml`] names.
pub fn open_gateway(path: &Path) -> Result<Settings, Error> {
    let bytes = read_named(path, MOST_SETTINGS)?;
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|e| Error::Text {
        path: name.clone(),
        problem: format!("not UTF-8 from byte {} on", e.utf8_error().valid_up_to()),
    })?;
    Ok(Settings::from_toml(&name, &text)?)
}

/// Tells where a request would go with the settings of a gateway, for a client by its name. `request` is the body of a request to a chat
/// API; `honelm_policy` in its `metadata` names a policy.
///
/// # Errors
/// A request that cannot be read, an unknown client or policy, and a bad estimator.
pub fn check_request(settings: &Settings, client: Option<&str>, request: &Value) -> Result<CheckedRequest, Error> {
    let bad = |problem: String| Error::Text { path: "request".to_owned(), problem };
    let client = match client {
        None => None,
        Some(name) => {
            let names: Vec<&str> = settings.clients.iter().map(|client| &*client.name).collect();
            let unknown = || Error::Usage(format!("client: found {name:?}, expected one of {}", names.join(", ")));
            Some(settings.clients.iter().find(|client| client.name == name).ok_or_else(unknown)?)
        }
    };
    let prompt = Prompt::from_request(request).map_err(|problem| bad(problem.to_string()))?;
    let text = request.get("messages").unwrap_or(&request["prompt"]).to_string();
    let (prompt_tokens, is_estimated) = tokens(&settings.local.model, &text);
    let number = |name: &str| request.get(name).and_then(Value::as_u64);
    let policy = request.pointer("/metadata/honelm_policy").and_then(Value::as_str);
    let policy = policy.map(str::parse).transpose().map_err(|e: String| bad(format!("metadata.honelm_policy: {e}")))?;
    let request = policy::Request {
        policy,
        privacy: None,
        prompt_tokens,
        answer_tokens: number("max_completion_tokens").or_else(|| number("max_tokens")).unwrap_or(0),
        needs_vision: has_images(request),
        needs_tools: prompt.has_tools,
    };
    let estimator = open_estimator(settings.estimator.file.as_deref().map(Path::new))?;
    let threshold = estimator.threshold(settings.estimator.target()).gain;
    let upstreams = vec![UpstreamState::default(); settings.upstreams.len()];
    let state = State {
        now: std::time::Duration::ZERO,
        upstreams: &upstreams,
        client_spent: policy::Spent::default(),
        escalated: 0.0,
        is_masked: true,
        is_local_ready: true,
        gain: Some((estimator.estimate(&prompt).gain, threshold)),
    };
    let decision = policy::decide(settings, client, &request, &state);
    let named = decision.upstreams.iter().filter_map(|at| settings.upstreams.get(*at));
    Ok(CheckedRequest {
        upstream_names: named.clone().map(|upstream| upstream.name.clone()).collect(),
        cost: named.clone().next().map(|upstream| upstream.price.cost(request.usage())),
        decision,
        prompt_tokens,
        is_estimated,
    })
}

/// Counts the tokens of a text with the tokenizer of a model, or estimates them.
fn tokens(model: &str, text: &str) -> (u64, bool) {
    let tokenizer = locate(Some(model), None).and_then(|path| open_tokenizer(&path));
    let counted = tokenizer.ok().and_then(|tokenizer| tokenizer.encode(text, crate::EncodeOptions::default()).ok());
    counted.map_or((text.len() as u64 / BYTES_PER_TOKEN, true), |ids| (ids.len() as u64, false))
}

/// Returns `true` if a message holds a part that is an image.
fn has_images(request: &Value) -> bool {
    let messages = request.get("messages").and_then(Value::as_array).into_iter().flatten();
    let mut parts = messages.filter_map(|message| message.get("content")?.as_array()).flatten();
    parts.any(|part| part.get("type").and_then(Value::as_str).is_some_and(|kind| kind.contains("image")))
}
