//! Routing on RouteLLM's MMLU data: the order of the estimator against that of the number of words.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::context::{Context, is_installed, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "routing",
    claim: "on MMLU, the estimator orders requests of unseen subjects better than their length does, and takes less than 5 ms",
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
    Ok(())
}
