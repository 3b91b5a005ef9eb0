//! Routing on RouteLLM's MMLU data: the order of the estimator against that of the number of words; and between the shipped model and a
//! larger one, with the local confidence.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::context::{Context, is_installed, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "routing",
    claim: "on MMLU, the estimator orders requests of unseen subjects better than their length does, and takes less than 5 ms; a log is \
            labelled by both models and replayed at three thresholds",
    needs: "HONELM_TEST_DATA, python3",
    run,
};

/// The lower bound of the paired interval of APGR above that of the number of words, on unseen subjects.
const ABOVE_LENGTH: f64 = -0.01;
/// The APGR on subjects that training has seen.
const IN_DOMAIN: f64 = 0.65;
/// The longest time of an estimate in milliseconds, at the 99th percentile.
const MILLISECONDS: f64 = 5.0;

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let data = context.data("data/routing/mmlu")?;
    if !is_installed("python3") {
        return Err(Stop::Needs("python3".to_owned()));
    }
    let traffic = context.scratch("routing")?.join("mmlu.jsonl");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/gateway/scripts/routellm_traffic.py");
    let written = Command::new("python3").arg(script).arg(&data).output().map_err(|e| format!("python3: {e}"))?;
    if !written.status.success() {
        return Err(Stop::Failed(String::from_utf8_lossy(&written.stderr).into_owned()));
    }
    let text = String::from_utf8_lossy(&written.stdout);
    let step = context.or_quick(1, 10);
    let lines: String = text.lines().step_by(step).flat_map(|line| [line, "\n"]).collect();
    fs::write(&traffic, lines).map_err(|e| format!("{}: {e}", traffic.display()))?;
    let traffic = traffic.to_string_lossy();
    let evaluate =
        |more: &[&str]| -> Result<Value, Stop> { context.document(&[&["router", "eval", &traffic], more].concat()) };
    let unseen = evaluate(&[])?;
    let above = number(&unseen, "above_length_low")?;
    report.at_least("unseen subjects: APGR above length, lower bound", above, ABOVE_LENGTH, Unit::Number);
    let inside = evaluate(&["--mix-groups"])?;
    report.at_least("in domain: APGR", number(&inside, "apgr")?, IN_DOMAIN, Unit::Number);
    let time = number(&unseen["decision_milliseconds"], "p99")?;
    report.at_most("milliseconds of an estimate, p99", time, MILLISECONDS, Unit::Number);
    report.lines("labelled next words", |report| next_words(context, report));
    Ok(())
}

/// The passages of each text from which next words are asked.
const PASSAGES: usize = 200;
/// The shares kept on the device in the replays, in percent, and how far the share of other passages may be from them.
const KEPT: [f64; 3] = [50.0, 75.0, 90.0];
const FROM_KEPT: f64 = 10.0;

/// Lets the shipped model and the larger reference complete passages, judges routing with and without confidence, and replays the
/// second half of the passages by an estimator of the first.
fn next_words(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let cloud = context.data("models/reference")?;
    let scratch = context.scratch("next-words")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/gateway/scripts/cloze_prompts.py");
    let mut command = Command::new("python3");
    command.arg(script);
    for (name, file) in [("novel", "heldout-galsworthy.txt"), ("encyclopedia", "wikitext2-test-hf-joined.txt")] {
        command.arg(format!("{name}={}", context.data(&format!("data/text/{file}"))?.display()));
    }
    let passages = context.or_quick(PASSAGES, 15).to_string();
    let written = command.args(["--passages", &passages]).output().map_err(|e| format!("python3: {e}"))?;
    if !written.status.success() {
        return Err(Stop::Failed(String::from_utf8_lossy(&written.stderr).into_owned()));
    }
    let path = |name: &str| scratch.join(name).to_string_lossy().into_owned();
    let write = |name: &str, text: &[u8]| fs::write(path(name), text).map_err(|e| Stop::Failed(format!("{name}: {e}")));
    write("prompts.jsonl", &written.stdout)?;
    let (prompts, traffic) = (path("prompts.jsonl"), path("traffic.jsonl"));
    let [local, cloud] = [context.pocket(), cloud].map(|model| model.to_string_lossy().into_owned());
    let label = ["router", "label", &prompts, "-o", &traffic, "--raw", "--compare", "first-word", "-n", "8"];
    let found = context.document(&[&label[..], &["--local", &local, "--cloud", &cloud]].concat())?;
    let requests = number(&found, "requests")?;
    report.at_least("labelled requests", requests, context.or_quick(3000.0, 200.0), Unit::Count);
    let found = context.document(&["router", "eval", &traffic])?;
    let interval = |value: &Value| -> Result<String, Stop> {
        let [apgr, low, high] = ["apgr", "apgr_low", "apgr_high"].map(|key| number(value, key));
        Ok(format!("{:.3} ({:.3} to {:.3})", apgr?, low?, high?))
    };
    report.proved("APGR with confidence", interval(&found)?, "no bound");
    report.proved("APGR without confidence", interval(&found["without_confidence"])?, "no bound");
    // Passages are groups of ten lines at most; the halves share none.
    let text = fs::read_to_string(&traffic).map_err(|e| Stop::Failed(e.to_string()))?;
    let group =
        |line: &str| serde_json::from_str::<Value>(line).map(|row| row["group"].to_string()).unwrap_or_default();
    let is_even = |line: &&str| group(line).trim_end_matches('"').ends_with(['0', '2', '4', '6', '8']);
    let (even, odd): (Vec<&str>, Vec<&str>) = text.lines().partition(is_even);
    write("even.jsonl", even.join("\n").as_bytes())?;
    write("odd.jsonl", odd.join("\n").as_bytes())?;
    let (train, test, estimator) = (path("even.jsonl"), path("odd.jsonl"), path("mine.estimator"));
    context.document(&["router", "train", &train, "-o", &estimator])?;
    for kept in KEPT {
        let share = format!("{kept}%");
        let prices = ["--price-input", "0.5", "--price-output", "1.5"];
        let replay = ["router", "replay", &test, "--estimator", &estimator, "--keep-local", &share];
        let found = context.document(&[&replay[..], &prices].concat())?;
        let local = number(&found, "kept_local_percent")?;
        let what = format!("replay for {share} local: percent kept, from that");
        report.at_most(&what, (local - kept).abs(), FROM_KEPT, Unit::Number);
        let saved = 100.0 * number(&found, "saved_cost")? / number(&found, "cloud_only_cost")?;
        let agreement = number(&found, "agreement_percent")?;
        report.proved(
            &format!("replay for {share} local"),
            format!("{saved:.1}% saved, {agreement:.1}% agree"),
            "no bound",
        );
    }
    Ok(())
}
