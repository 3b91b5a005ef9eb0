//! Saved measurements: documents of `honelm bench --json`, the record that the page exports, and those of llama-bench.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sustained::mean;
use crate::{BenchError, Second, SustainedFigures, Test};

/// The version of the form of a record. A later one may not mean the same.
pub const RECORD_VERSION: u64 = 1;

/// The number of runs of a test from which each run is a sample. Fewer runs have their repeats as samples, which vary less
/// than runs do.
const RUNS: usize = 3;
/// The tokens of the page's record that are one sample: those of single tokens are not independent.
const STRETCH: usize = 10;

/// The parts of a span of a long run that are one sample each.
const PARTS: usize = 5;

/// The quantity of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureKind {
    /// The rate of prefilling in tokens per second.
    Prefill,
    /// The rate of decoding in tokens per second.
    Decode,
    /// The rate of prefilling and decoding in tokens per second.
    Both,
    /// The time to the first token in seconds.
    FirstToken,
}

impl FigureKind {
    /// Returns the unit.
    #[must_use]
    pub fn unit(self) -> &'static str {
        if self.more_is_better() { "tok/s" } else { "s" }
    }

    /// Returns `true` for rates, `false` for times.
    #[must_use]
    pub fn more_is_better(self) -> bool {
        self != Self::FirstToken
    }
}

/// The samples of a test.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The name of the test, for example `pp512`.
    pub test: String,
    /// The quantity.
    pub kind: FigureKind,
    /// The model and the device with its settings.
    pub setup: String,
    /// The samples, which are positive, in the order in which they were measured.
    pub samples: Vec<f64>,
}

/// A saved measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The name of the file.
    pub name: String,
    /// The program that measured, with its version.
    pub program: String,
    /// The figures in the order of the record.
    pub figures: Vec<Figure>,
}

/// A run of a test.
struct Run {
    program: String,
    figure: Figure,
}

impl Record {
    /// Reads a record. `name` is that of its file.
    ///
    /// # Errors
    /// [`BenchError::InvalidRecord`] for a text that is none, for an error that the program printed, and for a record of a later
    /// version.
    pub fn parse(name: &str, text: &str) -> Result<Self, BenchError> {
        let invalid = |problem: String| BenchError::InvalidRecord { name: name.to_owned(), problem };
        let mut runs = Vec::new();
        for (place, document) in documents(text).map_err(invalid)? {
            runs.extend(read(document).map_err(|problem| invalid(format!("{place}{problem}")))?);
        }
        Self::of(name, runs).ok_or_else(|| invalid(format!("found nothing, expected {EXPECTED}")))
    }

    /// Joins the runs of each test.
    fn of(name: &str, runs: Vec<Run>) -> Option<Self> {
        let program = runs.first()?.program.clone();
        let mut joined: Vec<Vec<Figure>> = Vec::new();
        for Run { figure, .. } in runs {
            let same = |other: &&mut Vec<Figure>| {
                other.first().is_some_and(|o| (&o.test, o.kind, &o.setup) == (&figure.test, figure.kind, &figure.setup))
            };
            match joined.iter_mut().find(same) {
                Some(others) => others.push(figure),
                None => joined.push(vec![figure]),
            }
        }
        let figures = joined.into_iter().filter_map(|runs| {
            let samples = match runs.len() {
                RUNS.. => runs.iter().map(|run| geometric_mean(&run.samples)).collect(),
                _ => runs.iter().flat_map(|run| run.samples.iter().copied()).collect(),
            };
            Some(Figure { samples, ..runs.into_iter().next()? })
        });
        Some(Self { name: name.to_owned(), program, figures: figures.collect() })
    }
}

/// Returns the geometric mean of positive values.
pub(crate) fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

const EXPECTED: &str = "documents of `honelm bench --json`, an exported record of the page, or JSON of llama-bench";

/// Returns the documents of a text with their places: one document, a list, or one a line.
fn documents(text: &str) -> Result<Vec<(String, Value)>, String> {
    if let Ok(whole) = serde_json::from_str(text) {
        let numbered = |(i, document): (usize, Value)| (format!("entry {}: ", i + 1), document);
        return Ok(match whole {
            Value::Array(list) => list.into_iter().enumerate().map(numbered).collect(),
            document => vec![(String::new(), document)],
        });
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            let place = format!("line {}: ", i + 1);
            let document = serde_json::from_str(line).map_err(|e| format!("{place}{e}; expected {EXPECTED}"))?;
            Ok((place, document))
        })
        .collect()
}

fn read(document: Value) -> Result<Vec<Run>, String> {
    if let Some(message) = document.pointer("/error/message") {
        return Err(format!("found the error {message}, expected a measurement"));
    }
    let has = |key: &str| document.get(key).is_some();
    if has("record") {
        version(&document)?;
    }
    let found = if has("test") && has("seconds") {
        own(document)
    } else if has("series") && has("sensors") {
        long_run(document)
    } else if has("user_agent") && has("samples") {
        page(document)
    } else if has("avg_ts") || has("samples_ts") {
        llama_bench(document)
    } else {
        let keys = document.as_object().map(|o| o.keys().take(4).cloned().collect::<Vec<_>>().join(", "));
        let found = keys.map_or_else(|| "no object".to_owned(), |keys| format!("the keys {keys}"));
        return Err(format!("found {found}; expected {EXPECTED}"));
    }?;
    for Run { figure, .. } in &found {
        if let Some(wrong) = figure.samples.iter().find(|x| !(x.is_finite() && **x > 0.0)) {
            return Err(format!("{}: found {wrong} {}, expected a positive number", figure.test, figure.kind.unit()));
        }
    }
    Ok(found)
}

fn parsed<T: for<'de> Deserialize<'de>>(document: Value) -> Result<T, String> {
    serde_json::from_value(document).map_err(|e| e.to_string())
}

#[derive(Deserialize)]
struct OwnDocument {
    version: Option<String>,
    model: String,
    encoding: String,
    device: String,
    threads: u64,
    compute: String,
    cache_type: String,
    test: String,
    #[serde(flatten)]
    what: Test,
    seconds: Vec<f64>,
}

/// Checks the version of a record. Without this, one of a later version could fail for a field that it no longer has.
fn version(document: &Value) -> Result<(), String> {
    let record = document["record"].as_u64();
    if record == Some(RECORD_VERSION) {
        return Ok(());
    }
    let found = record.map_or_else(|| "no number".to_owned(), |version| version.to_string());
    Err(format!(
        "record: found version {found}, expected {RECORD_VERSION}; a newer honelm can read a record of a later version"
    ))
}

fn own(document: Value) -> Result<Vec<Run>, String> {
    let own: OwnDocument = parsed(document)?;
    if own.seconds.is_empty() {
        return Err("seconds: found none, expected the time of each repetition".to_owned());
    }
    let kind = match (own.what.first_token, own.what.prompt, own.what.generate) {
        (true, ..) => FigureKind::FirstToken,
        (_, _, 0) => FigureKind::Prefill,
        (_, 0, _) => FigureKind::Decode,
        _ => FigureKind::Both,
    };
    let sample = |seconds: &f64| if kind.more_is_better() { own.what.tokens() as f64 / seconds } else { *seconds };
    let samples = own.seconds.iter().map(sample).collect();
    let OwnDocument { model, encoding, device, compute, cache_type, test, .. } = own;
    let threads = threads(own.threads);
    let setup = format!("{model} {encoding}, {device}, {threads}, {compute}, cache {cache_type}");
    let program = format!("honelm {}", own.version.as_deref().unwrap_or("of an unknown version"));
    Ok(vec![Run { program, figure: Figure { test, kind, setup, samples } }])
}

fn threads(count: u64) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}

#[derive(Deserialize)]
struct LongRun {
    version: String,
    model: String,
    encoding: String,
    device: String,
    threads: u64,
    depth: u64,
    series: Vec<Second>,
}

/// Reads a run of `honelm bench --sustained`: the rates of its first and of its last span.
fn long_run(document: Value) -> Result<Vec<Run>, String> {
    let run: LongRun = parsed(document)?;
    let figures = SustainedFigures::of(&run.series).ok_or("series: found none, expected seconds")?;
    let LongRun { model, encoding, device, depth, series, .. } = run;
    let setup = format!("{model} {encoding}, {device}, {}, behind {depth} tokens", threads(run.threads));
    let span = |name: &str, from: f64, seconds: f64| {
        let part = |i: usize| from + seconds * i as f64 / PARTS as f64;
        let samples = (0..PARTS).filter_map(|i| mean(&series, part(i), part(i + 1))).collect();
        let figure = Figure { test: name.to_owned(), kind: FigureKind::Decode, setup: setup.clone(), samples };
        Run { program: format!("honelm {}", run.version), figure }
    };
    let last = figures.seconds - figures.sustained_seconds;
    Ok(vec![span("burst", 0.0, figures.burst_seconds), span("sustained", last, figures.sustained_seconds)])
}

#[derive(Deserialize)]
struct PageRecord {
    honelm: String,
    model: PageModel,
    adapter: Option<String>,
    prompt_tokens: Option<u64>,
    first_token_seconds: Option<f64>,
    decode_tokens_per_second: Option<f64>,
    prefill_tokens_per_second: Option<f64>,
    samples: Vec<PageSample>,
}

#[derive(Deserialize)]
struct PageModel {
    name: String,
    device: String,
}

#[derive(Deserialize)]
struct PageSample {
    milliseconds: f64,
}

fn page(document: Value) -> Result<Vec<Run>, String> {
    let page: PageRecord = parsed(document)?;
    let adapter = page.adapter.map_or_else(String::new, |adapter| format!(" ({adapter})"));
    let setup = format!("{}, {}{adapter} in a browser", page.model.name, page.model.device);
    let program = format!("honelm {} in a browser", page.honelm);
    let figure = |test: String, kind: FigureKind, samples: Vec<f64>| Run {
        program: program.clone(),
        figure: Figure { test, kind, setup: setup.clone(), samples },
    };
    let prompt = page.prompt_tokens.map_or_else(String::new, |tokens| tokens.to_string());
    let mut runs = Vec::new();
    runs.extend(page.prefill_tokens_per_second.map(|r| figure(format!("pp{prompt}"), FigureKind::Prefill, vec![r])));
    // The time of the first token is that of the prompt.
    let decoded: Vec<f64> = page.samples.iter().skip(1).map(|sample| sample.milliseconds / 1e3).collect();
    let stretches: Vec<f64> =
        decoded.chunks_exact(STRETCH).map(|stretch| STRETCH as f64 / stretch.iter().sum::<f64>()).collect();
    let samples = if stretches.len() < 2 { page.decode_tokens_per_second.into_iter().collect() } else { stretches };
    if !samples.is_empty() {
        runs.push(figure(format!("tg{}", decoded.len()), FigureKind::Decode, samples));
    }
    runs.extend(page.first_token_seconds.map(|s| figure(format!("ft{prompt}"), FigureKind::FirstToken, vec![s])));
    Ok(runs)
}

#[derive(Deserialize)]
struct LlamaBench {
    build_commit: Option<String>,
    model_type: String,
    backends: Option<String>,
    n_threads: u64,
    n_prompt: usize,
    n_gen: usize,
    #[serde(default)]
    n_depth: usize,
    avg_ts: Option<f64>,
    samples_ts: Option<Vec<f64>>,
}

fn llama_bench(document: Value) -> Result<Vec<Run>, String> {
    let found: LlamaBench = parsed(document)?;
    let kind = match (found.n_prompt, found.n_gen) {
        (0, 0) => return Err("n_prompt, n_gen: found 0 and 0, expected a test".to_owned()),
        (_, 0) => FigureKind::Prefill,
        (0, _) => FigureKind::Decode,
        _ => FigureKind::Both,
    };
    let test = Test { depth: found.n_depth, ..Test::new(found.n_prompt, found.n_gen, 1) }.to_string();
    let backends = found.backends.unwrap_or_default();
    let setup = format!("{}, {backends}, {}", found.model_type, threads(found.n_threads));
    let samples = found.samples_ts.filter(|samples| !samples.is_empty());
    let samples = samples.or(found.avg_ts.map(|rate| vec![rate])).ok_or("samples_ts: found none, expected rates")?;
    let program = format!("llama-bench {}", found.build_commit.unwrap_or_default());
    Ok(vec![Run { program, figure: Figure { test, kind, setup, samples } }])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn own(changes: &Value) -> Value {
        let mut document = json!({
            "record": 1, "version": "0.1.0", "model": "m", "encoding": "Q8_0", "device": "cpu: avx2", "threads": 2,
            "compute": "fast", "cache_type": "f16", "test": "tg64", "prompt": 0, "generate": 64, "depth": 0, "batch": 512,
            "rows": {"kind": "sequences", "count": 1}, "seconds": [2.0, 4.0],
        });
        for (key, value) in changes.as_object().into_iter().flatten() {
            document[key] = value.clone();
        }
        document
    }

    fn fails(text: &str, words: &str) {
        let error = Record::parse("r.json", text).expect_err(words);
        assert_eq!(error.code(), "invalid-measurement");
        let message = error.to_string();
        assert!(message.starts_with("r.json: ") && message.contains(words), "{message}");
    }

    #[test]
    fn lines_of_bench_become_figures_and_repeated_runs_samples() {
        let first = json!({"test": "ft32@d480", "prompt": 32, "generate": 0, "depth": 480, "first_token": true});
        let text = format!("{}\n\n{}\n", own(&json!({})), own(&first));
        let record = Record::parse("r.json", &text).expect("a record");
        assert_eq!(record.program, "honelm 0.1.0");
        let [decode, first] = &record.figures[..] else { panic!("{record:?}") };
        assert_eq!((decode.kind, &decode.samples[..]), (FigureKind::Decode, &[32.0, 16.0][..]));
        assert_eq!((first.kind, &first.samples[..]), (FigureKind::FirstToken, &[2.0, 4.0][..]));
        assert!(decode.setup.contains("m Q8_0") && decode.setup.contains("2 threads"), "{}", decode.setup);
        let runs = [[2.0, 2.0], [4.0, 4.0], [8.0, 2.0]].map(|s| own(&json!({"seconds": s})).to_string()).join("\n");
        let found = Record::parse("r.json", &runs).expect("a record").figures.swap_remove(0).samples;
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(found.len() == 3 && near(found[0], 32.0) && near(found[1], 16.0) && near(found[2], 16.0), "{found:?}");
    }

    #[test]
    fn a_long_run_has_its_first_and_its_last_rate() {
        let second = |t: u32| {
            json!({"end_seconds": t, "tokens_per_second": if t <= 20 { 20.0 } else { 10.0 }, "temperature_celsius": 60.5,
                   "frequency_hertz": null, "power_watts": null})
        };
        let run = |series: Vec<Value>| {
            json!({"record": 1, "version": "0.1.0", "model": "m", "encoding": "Q8_0", "device": "cpu", "threads": 1,
                   "depth": 0, "series": series, "sensors": {}, "interrupted": false})
            .to_string()
        };
        let record = Record::parse("run.json", &run((1..=40).map(second).collect())).expect("a record");
        let [burst, rest] = &record.figures[..] else { panic!("{record:?}") };
        assert_eq!((&*burst.test, &*rest.test), ("burst", "sustained"));
        let all = |figure: &Figure, expected: f64| figure.samples.iter().all(|rate| (rate - expected).abs() < 1e-9);
        assert!(burst.samples.len() == 5 && all(burst, 20.0) && all(rest, 10.0), "{record:?}");
        fails(&run(Vec::new()), "series: found none");
    }

    #[test]
    fn the_record_of_the_page_is_read() {
        let samples: Vec<Value> = (0..41).map(|i| json!({"milliseconds": if i == 0 { 500.0 } else { 20.0 }})).collect();
        let page = json!({
            "honelm": "0.1.0", "date": "2026-12-01", "user_agent": "x", "model": {"name": "pocket", "device": "gpu"},
            "adapter": "a", "prompt_tokens": 12, "first_token_seconds": 0.5, "decode_tokens_per_second": 50.0,
            "prefill_tokens_per_second": null, "before": {}, "samples": samples,
        });
        let record = Record::parse("page.json", &page.to_string()).expect("a record");
        let [decode, first] = &record.figures[..] else { panic!("{record:?}") };
        assert_eq!((&*decode.test, decode.samples.len(), &*first.test), ("tg40", 4, "ft12"));
        assert!((decode.samples[0] - 50.0).abs() < 1e-9 && decode.setup.contains("gpu (a)"), "{decode:?}");
    }

    #[test]
    fn lines_of_llama_bench_are_read() {
        let line = json!({
            "build_commit": "abc", "model_type": "llama 1B Q4_0", "backends": "CPU", "n_threads": 2, "n_prompt": 512,
            "n_gen": 0, "n_depth": 256, "avg_ts": 101.0, "samples_ts": [100.0, 102.0],
        });
        let record = Record::parse("l.jsonl", &format!("[{line}]")).expect("a record");
        assert_eq!((&*record.program, &*record.figures[0].test), ("llama-bench abc", "pp512@d256"));
        assert_eq!(record.figures[0].samples, [100.0, 102.0]);
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_place() {
        fails("", "found nothing");
        fails("[]", "found nothing");
        fails("tok/s\n", "line 1: ");
        fails(&format!("{}\n{{\"test\":", own(&json!({}))), "line 2: ");
        fails("{\"a\": 1, \"b\": 2}", "found the keys a, b; expected documents of `honelm bench --json`");
        fails("[3]", "entry 1: found no object");
        fails("{\"error\": {\"code\": \"io\", \"message\": \"gone\"}}", "found the error \"gone\"");
        fails(&own(&json!({"record": 2})).to_string(), "found version 2, expected 1");
        fails(&own(&json!({"record": "x"})).to_string(), "found version no number, expected 1");
        fails(&own(&json!({"seconds": []})).to_string(), "seconds: found none");
        fails(&own(&json!({"seconds": [0.0]})).to_string(), "expected a positive number");
        fails(&own(&json!({"threads": "two"})).to_string(), "invalid type: string \"two\"");
        fails(
            &json!({"avg_ts": 1.0, "n_prompt": 0, "n_gen": 0, "model_type": "", "n_threads": 1}).to_string(),
            "n_gen",
        );
    }
}
