//! `honelm router eval`.

use std::path::PathBuf;

use clap::Args;
use honelm::estimator::{Curve, Evaluation, Interval, Point};
use honelm::{DecisionTime, Judged};
use serde_json::{Value, json};

use super::percent;
use crate::arguments::Global;
use crate::failure::Failure;
use crate::{help, output};

fn notes() -> String {
    help::notes(
        &[
            ("honelm router eval traffic.jsonl", "5 folds; each group is judged by estimators that never saw it"),
            ("honelm router eval traffic.jsonl --mix-groups", "in domain"),
            (
                "honelm router eval traffic.jsonl --estimator mine.estimator",
                "judge a trained estimator on other traffic",
            ),
            ("honelm router eval traffic.jsonl --shipped", ""),
        ],
        &[
            "APGR is the average performance gap recovered, over all shares of requests in the cloud; CPT50 is the share of requests in the \
             cloud that recovers half of the gap (arXiv 2406.18665). Intervals are 95% bootstrap intervals over requests.",
        ],
    )
}

/// Judge routing on labelled traffic, beside the length of requests, a single model and the best order
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Eval {
    /// Labelled traffic, JSON lines
    traffic: PathBuf,

    /// Judge this estimator instead of training on folds
    #[arg(long, value_name = "FILE", conflicts_with_all = ["shipped", "folds", "seed", "mix_groups"])]
    estimator: Option<PathBuf>,

    /// Judge the shipped estimator
    #[arg(long, conflicts_with_all = ["folds", "seed", "mix_groups"])]
    shipped: bool,

    /// Number of folds, 2 to 20
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=20))]
    folds: u8,

    /// Seed of the folds
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Deal rows to folds regardless of their `group`
    #[arg(long)]
    mix_groups: bool,
}

impl Eval {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let judged = match (self.estimator, self.shipped) {
            (None, false) => {
                Judged::Folds { folds: usize::from(self.folds), seed: self.seed, keep_groups: !self.mix_groups }
            }
            (path, _) => Judged::Estimator(path),
        };
        let (found, time) = honelm::evaluate_router(&self.traffic, &judged)?;
        if found.is_training_data {
            global.note("These requests are the estimator's own training data: the figures flatter it.");
        }
        if global.json {
            output::json(&document(&found, time))?;
        } else {
            print(&found, time)?;
        }
        Ok(0)
    }
}

fn curve_json(curve: &Curve) -> Value {
    json!({
        "apgr": curve.apgr.value,
        "apgr_low": curve.apgr.low,
        "apgr_high": curve.apgr.high,
        "cpt50": curve.cpt50.value,
        "cpt50_low": curve.cpt50.low,
        "cpt50_high": curve.cpt50.high,
    })
}

fn document(found: &Evaluation, time: DecisionTime) -> Value {
    let baselines = &found.baselines;
    let point = |point: &Point| {
        json!({
            "threshold": point.threshold,
            "kept_local_percent": point.kept_local * 100.0,
            "accuracy_percent": point.accuracy * 100.0,
            "escalated_cloud_accuracy_percent": point.escalated_cloud_accuracy.map(|share| share * 100.0),
            "false_local_percent": point.false_local * 100.0,
            "false_local_bound_percent": point.false_local_bound * 100.0,
        })
    };
    let mut out = curve_json(&found.curve);
    out["requests"] = json!(found.requests);
    out["above_length"] = json!(found.above_length.value);
    out["above_length_low"] = json!(found.above_length.low);
    out["above_length_high"] = json!(found.above_length.high);
    if let (Some(curve), Some(above)) = (&found.without_confidence, &found.above_without_confidence) {
        out["without_confidence"] = curve_json(curve);
        out["above_without_confidence"] = json!(above.value);
        out["above_without_confidence_low"] = json!(above.low);
        out["above_without_confidence_high"] = json!(above.high);
    }
    out["baselines"] = json!({
        "random": { "apgr": baselines.random, "cpt50": baselines.random },
        "length": curve_json(&baselines.length),
        "doubt": baselines.doubt.as_ref().map(curve_json),
        "oracle": curve_json(&baselines.oracle),
        "local_only": { "accuracy_percent": baselines.local_accuracy * 100.0 },
        "cloud_only": { "accuracy_percent": baselines.cloud_accuracy * 100.0 },
    });
    out["points"] = found.points.iter().map(point).collect();
    out["decision_milliseconds"] = json!(time);
    out["is_training_data"] = json!(found.is_training_data);
    out
}

fn print(found: &Evaluation, time: DecisionTime) -> Result<(), Failure> {
    let baselines = &found.baselines;
    let bounds = |interval: &Interval| format!("{:.3} ({:.3} to {:.3})", interval.value, interval.low, interval.high);
    let row = |name: &str, curve: &Curve| {
        let cpt50 =
            format!("{} ({} to {})", percent(curve.cpt50.value), percent(curve.cpt50.low), percent(curve.cpt50.high));
        vec![name.to_owned(), bounds(&curve.apgr), cpt50]
    };
    let mut rows = vec![row("estimator", &found.curve)];
    rows.extend(found.without_confidence.iter().map(|curve| row("without confidence", curve)));
    rows.push(vec!["random".to_owned(), format!("{:.3}", baselines.random), percent(baselines.random)]);
    rows.push(row("length", &baselines.length));
    rows.extend(baselines.doubt.iter().map(|curve| row("doubt", curve)));
    rows.push(row("oracle", &baselines.oracle));
    output::line(&output::fitted(output::table(&["order", "APGR", "CPT50"], &rows)))?;
    let points: Vec<Vec<String>> = found
        .points
        .iter()
        .map(|point| {
            vec![
                percent(point.kept_local),
                format!("{:.4}", point.threshold),
                percent(point.accuracy),
                point.escalated_cloud_accuracy.map_or_else(|| "-".to_owned(), percent),
                percent(point.false_local),
                percent(point.false_local_bound),
            ]
        })
        .collect();
    let titles = ["kept local", "threshold", "accuracy", "cloud on its part", "wrongly local", "bound"];
    output::line(&output::fitted(output::table(&titles, &points)))?;
    let above = |name: &'static str, difference: &Interval| {
        (name, format!("{:+.3} ({:+.3} to {:+.3})", difference.value, difference.low, difference.high))
    };
    let mut facts = vec![("requests", found.requests.to_string()), above("above length", &found.above_length)];
    facts.extend(found.above_without_confidence.iter().map(|difference| above("by confidence", difference)));
    facts.extend([
        ("local alone", format!("{} right", percent(baselines.local_accuracy))),
        ("cloud alone", format!("{} right", percent(baselines.cloud_accuracy))),
        ("a decision", format!("{:.3} ms median, {:.3} ms at p99, {:.3} ms at most", time.median, time.p99, time.most)),
    ]);
    output::write(&output::facts(&facts))
}
