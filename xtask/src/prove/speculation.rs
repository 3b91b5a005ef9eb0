//! Speculative decoding: the same tokens, at the speed that acceptance and costs promise.

use std::path::Path;

use serde_json::Value;

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "speculation",
    claim: "drafts change no token, pay where texts repeat, and cost nothing where they do not",
    needs: "HONELM_TEST_DATA (models/reference)",
    run,
};

/// The number of prompts of each class.
const PROMPTS: usize = 8;
const CLASSES: usize = 4;

/// One measurement: a row for each class.
struct Measured<'c> {
    context: &'c Context,
    model: &'c Path,
    draft: &'c Path,
}

impl Measured<'_> {
    fn rows(&self, how: &str, temperature: &str, rounds: usize) -> Result<Vec<Value>, Stop> {
        let (model, draft) = (self.model.to_string_lossy(), self.draft.to_string_lossy());
        let (rounds, tokens) = (rounds.to_string(), self.context.or_quick("64", "12"));
        let mut arguments = vec!["bench", &*model, "--speculate", how, "--temperature", temperature];
        arguments.extend(["-r", &rounds, "-n", tokens, "--device", "cpu", "--quiet", "--json"]);
        if how != "ngram" {
            arguments.extend(["--draft", &*draft]);
        }
        let output = self.context.command(&arguments)?.output().map_err(|e| format!("honelm: {e}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Stop::Failed(format!("honelm ended with {}: {}", output.status, said.trim())));
        }
        let rows: Result<Vec<Value>, _> =
            String::from_utf8_lossy(&output.stdout).lines().map(serde_json::from_str).collect();
        let rows = rows.map_err(|e| format!("honelm bench wrote no JSON: {e}"))?;
        if rows.len() == CLASSES { Ok(rows) } else { Err(Stop::Failed(format!("found {} rows", rows.len()))) }
    }
}

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let draft = context.pocket();
    let model = context.or_quick(context.data("models/reference")?, context.pocket());
    let measured = Measured { context, model: &model, draft: &draft };
    let rounds = context.or_quick(30, 2);
    // The prompts of a class take turns, so that eight rounds have all of them.
    let all = context.or_quick(PROMPTS, 1);
    for how in ["ngram", "draft"] {
        let sampled = measured.rows(how, "0.8", all)?;
        same(report, &format!("{how}: equal answers, sampled"), &sampled)?;
        let rows = measured.rows(how, "0", rounds)?;
        same(report, &format!("{how}: equal answers, greedy"), &rows)?;
        for row in &rows {
            let class = name(row);
            describe(report, &format!("{how}, {class}"), row)?;
            let speedup = number(row, "speedup")?;
            if how == "ngram" && ["repetition", "extraction"].contains(&class) {
                let what = format!("ngram, {class}: percent of plain speed");
                report.at_least(&what, 100.0 * speedup, 150.0, Unit::Percent);
            }
            if how == "draft" {
                let predicted = number(row, "predicted_speedup")?;
                let what = format!("draft, {class}: percent of the speed that steps and costs predict");
                report.at_least(&what, 100.0 * speedup / predicted, 90.0, Unit::Percent);
            }
        }
    }
    let rows = measured.rows("auto", "0", rounds)?;
    same(report, "auto: equal answers", &rows)?;
    for row in &rows {
        describe(report, &format!("auto, {}", name(row)), row)?;
        let what = format!("auto, {}: percent of plain speed, lower 95% bound", name(row));
        report.at_least(&what, 100.0 * number(row, "speedup_lower95")?, 95.0, Unit::Percent);
    }
    Ok(())
}

fn name(row: &Value) -> &str {
    row["class"].as_str().unwrap_or_default()
}

/// Compares the tokens of all pairs.
fn same(report: &mut Report<'_>, what: &str, rows: &[Value]) -> Result<(), Stop> {
    let sum = |key| rows.iter().map(|row| number(row, key)).sum::<Result<f64, Stop>>();
    let (equal, rounds) = (sum("equal")?, sum("rounds")?);
    report.equal(what, format!("{equal} of {rounds}"), format!("{rounds} of {rounds}"));
    Ok(())
}

/// Adds a line with the figures of a class.
fn describe(report: &mut Report<'_>, what: &str, row: &Value) -> Result<(), Stop> {
    let depths = row["acceptance"].as_array().into_iter().flatten().take(4);
    let depths: Vec<String> = depths.map(|share| format!("{:.0}%", 100.0 * share.as_f64().unwrap_or(0.0))).collect();
    let (steps, speedup) = (number(row, "tokens_per_step")?, number(row, "speedup")?);
    let found = format!("{speedup:.2}x, {steps:.2} tokens a step");
    report.proved(&format!("{what}: acceptance by depth {}", depths.join(" ")), found, "measured");
    Ok(())
}
