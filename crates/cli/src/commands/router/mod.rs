//! `honelm router`: the estimator that decides between the device and the cloud.

mod eval;
mod explain;
mod label;
mod replay;
mod train;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use honelm::estimator::{Target, Threshold};
use honelm::policy::Share;
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::help;

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm router explain \"Prove that 7 is prime.\"", "the shipped estimator's reasons"),
            (
                "honelm router label prompts.jsonl --local pocket --cloud large.gguf -o traffic.jsonl",
                "both sides answer",
            ),
            ("honelm router train traffic.jsonl -o mine.estimator", "from your own labelled traffic"),
            ("honelm router eval traffic.jsonl", "judged on folds that training does not see"),
            ("honelm router replay traffic.jsonl --keep-local 75%", "savings at a threshold"),
        ],
        &[
            "Labelled traffic is JSON lines: `prompt` or `messages`, the quality of both answers as `local` and `cloud` (true, \
             false or 0 to 1), and if known `group`, `confidence`, `agree`, `prompt_tokens` and `completion_tokens`. \
             docs/routing.md describes them.",
        ],
    )
}

/// Train, judge and explain the estimator that decides between the device and the cloud
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Router {
    #[command(subcommand)]
    command: RouterCommand,
}

#[derive(Debug, Subcommand)]
enum RouterCommand {
    Label(label::Label),
    Train(train::Train),
    Eval(eval::Eval),
    Explain(explain::Explain),
    Replay(replay::ReplayLog),
}

impl Router {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        match self.command {
            RouterCommand::Label(command) => command.run(global),
            RouterCommand::Train(command) => command.run(global),
            RouterCommand::Eval(command) => command.run(global),
            RouterCommand::Explain(command) => command.run(global),
            RouterCommand::Replay(command) => command.run(global),
        }
    }
}

/// The option that names an estimator.
#[derive(Debug, Args)]
struct EstimatorArguments {
    /// Estimator, as `router train` writes it [default: the shipped one]
    #[arg(long, value_name = "FILE")]
    estimator: Option<PathBuf>,
}

/// The options that set a threshold.
#[derive(Debug, Args)]
struct TargetArguments {
    /// Send requests to the cloud from this expected gain on, -1 to 1
    #[arg(long, value_name = "T", value_parser = gain, allow_negative_numbers = true, group = "target")]
    threshold: Option<f32>,

    /// Keep this share of requests on the device [default: 75%]
    #[arg(long, value_name = "PERCENT", group = "target")]
    keep_local: Option<Share>,

    /// Keep at most this share of all requests on the device although only the cloud is right
    #[arg(long, value_name = "PERCENT", group = "target")]
    max_false_local: Option<Share>,
}

fn gain(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().ok().filter(|gain| (-1.0..=1.0).contains(gain));
    number.ok_or_else(|| "expected a number from -1 to 1".to_owned())
}

impl TargetArguments {
    /// Returns the target; without an option, 75% stay on the device.
    fn target(&self) -> Target {
        match (self.threshold, self.max_false_local) {
            (Some(threshold), _) => Target::Gain(threshold),
            (None, Some(share)) => Target::MaxFalseLocal(share.get()),
            (None, None) => Target::KeepLocal(self.keep_local.map_or(0.75, Share::get)),
        }
    }
}

/// Returns a threshold as `--json` prints it.
fn threshold_json(threshold: &Threshold) -> Value {
    json!({
        "gain": threshold.gain,
        "kept_local_percent": threshold.kept_local * 100.0,
        "false_local_bound_percent": threshold.false_local_bound * 100.0,
    })
}

/// Describes a threshold.
fn threshold_text(threshold: &Threshold) -> String {
    format!(
        "{:.4}: keeps {} of held-out requests on the device, at most {} of all wrongly",
        threshold.gain,
        percent(threshold.kept_local),
        percent(threshold.false_local_bound)
    )
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}
