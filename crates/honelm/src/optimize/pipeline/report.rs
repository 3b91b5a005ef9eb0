//! The findings of a pipeline as data.

use honelm_eval::{Budget, MIN_CHUNKS, Verdict};
use serde::{Deserialize, Serialize};

use super::DraftFigures;
use super::other_engine::OtherEngine;
use super::pays::Paid;
use crate::Error;
use crate::optimize::Row;
use crate::units::bytes;

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// `prune`, `heal`, `quantise`, `tune` or `draft`.
    pub step: String,
    /// The name of the row of the model after the step; `None` if it made none.
    pub row: Option<String>,
    /// The budget of the step; `None` for drafts, which change no answer.
    pub budget: Option<Budget>,
    /// `true` if the model holds the budget and all other gates.
    pub holds: bool,
    /// `true` if the step pays.
    pub pays: bool,
    /// `true` if the step is part of the published model.
    pub kept: bool,
    /// The speed of answers with drafts relative to that without; `None` for other steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speedup: Option<f64>,
    /// The figures that decided, in one sentence.
    pub reason: String,
}

impl StepResult {
    pub(super) fn gated(step: &str, row: &Row, budget: Budget, holds: bool, paid: &Paid, kept: bool) -> Self {
        Self {
            step: step.to_owned(),
            row: Some(row.name.clone()),
            budget: Some(budget),
            holds,
            pays: paid.pays,
            kept,
            speedup: None,
            reason: paid.reason.clone(),
        }
    }

    /// Returns the result of a step that could not be done, which is left out.
    pub(super) fn impossible(step: &str, error: &Error) -> Self {
        Self {
            step: step.to_owned(),
            row: None,
            budget: None,
            holds: false,
            pays: false,
            kept: false,
            speedup: None,
            reason: error.to_string(),
        }
    }

    /// Returns the result of the step that measures drafts of the model of a row.
    pub(super) fn drafts(row: &str, speedup: f64, paid: &Paid) -> Self {
        Self {
            step: "draft".to_owned(),
            row: Some(row.to_owned()),
            budget: None,
            holds: true,
            pays: paid.pays,
            kept: paid.pays,
            speedup: Some(speedup),
            reason: paid.reason.clone(),
        }
    }

    /// Returns the step, its fate and the reason in one line.
    fn line(&self) -> String {
        let budget = self.budget.map_or_else(String::new, |budget| {
            let holds = if self.holds { "holds" } else { "exceeds" };
            format!(", {holds} the budget of {budget} perplexity")
        });
        let pays = if self.pays { "pays" } else { "does not pay" };
        let kept = if self.kept { "kept" } else { "left out" };
        format!("{}: {kept}; {pays}{budget}: {}", self.step, self.reason)
    }
}

/// The smaller model beside the original, both quantised to the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EqualBytes {
    /// The largest size of both files in bytes.
    pub target_bytes: u64,
    /// The row of the smaller model.
    pub pruned: String,
    /// The row of the original that is only quantised.
    pub quantised: String,
    /// `true` if the smaller model is the better one, by the rule for pruning.
    pub pays: bool,
    /// The figures that decided, in one sentence.
    pub reason: String,
}

/// The findings of a pipeline. The figures of all models are in the rows of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineReport {
    /// The result in a few sentences.
    pub summary: String,
    /// The steps in their order, each with the model after it.
    pub steps: Vec<StepResult>,
    /// The steps on the original alone; empty without the ablation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alone: Vec<StepResult>,
    /// The comparison at equal bytes; empty without the ablation or without pruning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equal_bytes: Vec<EqualBytes>,
    /// The drafts that were measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drafts: Vec<DraftFigures>,
    /// The value of `--speculate` that pays; `off` if drafts were measured and none pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speculate: Option<String>,
    /// The speed of the original in another engine on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_engine: Option<OtherEngine>,
}

impl PipelineReport {
    /// Creates a report. `rows` begin with the original's.
    pub(super) fn new(
        (rows, chosen, budget): (&[Row], Option<&str>, Budget),
        (steps, alone): (Vec<StepResult>, Vec<StepResult>),
        equal_bytes: Vec<EqualBytes>,
        drafts: Vec<DraftFigures>,
        other_engine: Option<OtherEngine>,
    ) -> Self {
        let chosen = chosen.and_then(|name| rows.iter().find(|row| row.name == name));
        let summary = match (chosen, rows.first()) {
            (Some(chosen), Some(original)) => success(chosen, original, budget, &steps, other_engine.as_ref()),
            _ => failure(&steps),
        };
        let kept = steps.iter().any(|step| step.step == "draft" && step.kept);
        let faster = |a: &&DraftFigures, b: &&DraftFigures| a.speedup.total_cmp(&b.speedup);
        let is_chosen = |one: &&DraftFigures| chosen.is_some_and(|chosen| chosen.name == one.model);
        let best = drafts.iter().filter(|one| one.pays && kept).filter(is_chosen).max_by(faster);
        let speculate =
            best.map(|best| best.speculate.clone()).or_else(|| (!drafts.is_empty()).then(|| "off".to_owned()));
        Self { summary, steps, alone, equal_bytes, drafts, speculate, other_engine }
    }

    /// Returns a line per step: whether it is kept and pays, and the figures that decided.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let alone = self.alone.iter().map(|step| format!("{} alone: {}", step.step, step.reason));
        self.steps.iter().map(StepResult::line).chain(alone).collect()
    }
}

/// Returns the sentences about a model that was published.
fn success(chosen: &Row, original: &Row, budget: Budget, steps: &[StepResult], other: Option<&OtherEngine>) -> String {
    let holds = if chosen.verdict == Some(Verdict::Accepted) { "holds" } else { "has the size asked for but exceeds" };
    let speed = chosen.speed_ratio.map_or_else(String::new, |ratio| {
        format!(", decode {:.2}x and prefill {:.2}x as fast as the original", ratio.decode.median, ratio.prefill.median)
    });
    let kept = chosen.findings.accuracy.as_ref().and_then(|found| found.all.against?.accuracy_retained_percent);
    let accuracy = kept.map_or_else(String::new, |percent| format!(", {percent:.1}% of the accuracy kept"));
    let quality = &chosen.quality;
    let mut out = format!(
        "{} {holds} the budget of {budget} perplexity: {} instead of {}{speed}, difference {:+.3}, at most {:+.3} (95%)\
         {accuracy}.",
        chosen.name,
        bytes(chosen.size_bytes),
        bytes(original.size_bytes),
        quality.perplexity_difference.unwrap_or(f64::NAN),
        quality.perplexity_difference_upper95.unwrap_or(f64::NAN),
    );
    if let (Some(other), Some(speed)) = (other, &chosen.speed) {
        out += &format!(
            " Relative to {} in {}: decode {:.2}x, prefill {:.2}x.",
            other.engine,
            other.dtype,
            speed.decode_tokens_per_second / other.decode_tokens_per_second,
            speed.prefill_tokens_per_second / other.prefill_tokens_per_second
        );
    }
    let named = |kept: bool| steps.iter().filter(|step| step.kept == kept).map(|step| &*step.step).collect::<Vec<_>>();
    for (what, names) in [("Steps", named(true)), ("Left out", named(false))] {
        if !names.is_empty() {
            out += &format!(" {what}: {}.", names.join(", "));
        }
    }
    out
}

/// Returns the sentence about a pipeline that published nothing.
fn failure(steps: &[StepResult]) -> String {
    match steps.last() {
        Some(StepResult { step, row: Some(row), budget: Some(budget), .. }) => {
            format!(
                "The step {step} is not optional, and {row} exceeds its budget of {budget} perplexity. Nothing was published."
            )
        }
        _ => format!("No verdict: fewer than {MIN_CHUNKS} chunks of text or items of tasks. Nothing was published."),
    }
}
