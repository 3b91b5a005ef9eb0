//! `honelm router replay`.

use std::path::PathBuf;

use clap::Args;
use honelm::accounting::{Amount, Prices};
use honelm::estimator::Replay;
use serde_json::json;

use super::{EstimatorArguments, TargetArguments, percent, threshold_json, threshold_text};
use crate::arguments::{Global, finite};
use crate::failure::Failure;
use crate::{help, output};

fn notes() -> String {
    help::notes(
        &[
            ("honelm router replay log.jsonl --threshold 0.15", ""),
            ("honelm router replay log.jsonl --keep-local 75%", ""),
            (
                "honelm router replay log.jsonl --max-false-local 5% --price-input 2.5 --price-output 10",
                "with the cost",
            ),
        ],
        &[
            "Prices are per million tokens. The cost needs `prompt_tokens` and `completion_tokens` in every line of the log.",
        ],
    )
}

/// Replay a log: the share kept on the device, the cost saved and the agreement at a threshold
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct ReplayLog {
    /// Labelled traffic, JSON lines
    log: PathBuf,

    #[command(flatten)]
    target: TargetArguments,

    #[command(flatten)]
    estimator: EstimatorArguments,

    /// Cloud's price of a million tokens of prompts
    #[arg(long, value_name = "PRICE", value_parser = price, requires = "price_output", allow_negative_numbers = true)]
    price_input: Option<Amount>,

    /// Cloud's price of a million tokens of answers
    #[arg(long, value_name = "PRICE", value_parser = price, requires = "price_input", allow_negative_numbers = true)]
    price_output: Option<Amount>,
}

fn price(text: &str) -> Result<Amount, String> {
    Amount::try_from(finite(text)?)
}

impl ReplayLog {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let prices = self.price_input.zip(self.price_output);
        let prices = prices.map(|(input, output)| Prices { input, output, cached_input: None });
        let estimator = self.estimator.estimator.as_deref();
        let found = honelm::replay_router(&self.log, estimator, self.target.target(), prices)?;
        if prices.is_some() && found.saved_cost.is_none() {
            global.note("No cost: not every line of the log has prompt_tokens and completion_tokens.");
        }
        if found.drift.has_drifted == Some(true) {
            global.note(
                "This traffic is unlike the training data: train an estimator on it, or do not trust the thresholds.",
            );
        }
        if global.json {
            output::json(&json!({
                "requests": found.requests,
                "threshold": threshold_json(&found.threshold),
                "corrected_threshold": found.corrected_threshold.as_ref().map(threshold_json),
                "kept_local_percent": found.kept_local * 100.0,
                "agreement_percent": found.agreement.map(|share| share * 100.0),
                "accuracy_percent": found.accuracy * 100.0,
                "cloud_only_cost": found.cloud_only_cost,
                "saved_cost": found.saved_cost,
                "drift": {
                    "unfamiliar_percent": found.drift.unfamiliar * 100.0,
                    "measure": found.drift.measure,
                    "shift": found.drift.shift,
                    "has_drifted": found.drift.has_drifted,
                },
            }))?;
        } else {
            output::write(&output::facts(&rows(&found)))?;
        }
        Ok(0)
    }
}

fn rows(found: &Replay) -> Vec<(&'static str, String)> {
    let mut rows = vec![("requests", found.requests.to_string()), ("threshold", threshold_text(&found.threshold))];
    if let Some(threshold) = &found.corrected_threshold {
        rows.push(("with confidence", threshold_text(threshold)));
    }
    rows.extend([
        ("kept local", percent(found.kept_local)),
        ("agreement", found.agreement.map_or_else(|| "-".to_owned(), |share| format!("{} of those", percent(share)))),
        ("accuracy", percent(found.accuracy)),
    ]);
    if let (Some(saved), Some(all)) = (found.saved_cost, found.cloud_only_cost) {
        let share = if all > 0.0 { saved / all } else { 0.0 };
        rows.push(("cost saved", format!("{saved:.4} of {all:.4} with the cloud alone ({})", percent(share))));
    }
    let drift = &found.drift;
    let verdict = match drift.has_drifted {
        None => "too few requests to judge",
        Some(true) => "unlike the training data",
        Some(false) => "like the training data",
    };
    let unfamiliar = percent(drift.unfamiliar);
    let moved = format!("`{}` differs most, by {:+.2} standard deviations", drift.measure, drift.shift);
    rows.push(("drift", format!("{verdict}: {unfamiliar} unfamiliar, {moved}")));
    rows
}
