//! `honelm router train`.

use std::path::PathBuf;

use clap::Args;
use honelm::TrainRouterOptions;
use serde_json::json;

use super::{threshold_json, threshold_text};
use crate::arguments::Global;
use crate::failure::Failure;
use crate::{help, output};

fn notes() -> String {
    help::notes(
        &[
            ("honelm router train traffic.jsonl -o mine.estimator", ""),
            ("honelm router train traffic.jsonl -o mine.estimator --note \"our logs of May\"", "kept in the file"),
        ],
        &["Training is deterministic: the same traffic and seed give the same file."],
    )
}

/// Train an estimator on labelled traffic
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Train {
    /// Labelled traffic, JSON lines
    traffic: PathBuf,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,

    /// Origin and licence of the traffic, kept in the file
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,

    /// Seed of the folds
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Deal rows to folds regardless of their `group`, for thresholds on groups that the traffic has
    #[arg(long)]
    mix_groups: bool,

    /// Replace an earlier estimator
    #[arg(long)]
    force: bool,
}

impl Train {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let options = TrainRouterOptions {
            traffic: self.traffic,
            out: self.out,
            note: self.note,
            seed: self.seed,
            keep_groups: !self.mix_groups,
            force: self.force,
        };
        let found = honelm::train_router(&options)?;
        if global.json {
            output::json(&json!({
                "path": found.path,
                "size_bytes": found.size_bytes,
                "parameters": found.parameters,
                "data": found.data,
                "threshold": threshold_json(&found.threshold),
            }))?;
        } else {
            output::write(&output::facts(&[
                (
                    "written",
                    format!("{}, {} bytes, {} parameters", found.path.display(), found.size_bytes, found.parameters),
                ),
                (
                    "traffic",
                    format!("{}: {} requests, {} groups", found.data.source, found.data.requests, found.data.groups),
                ),
                ("threshold", threshold_text(&found.threshold)),
            ]))?;
        }
        Ok(0)
    }
}
