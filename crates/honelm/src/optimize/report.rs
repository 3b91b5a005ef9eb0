//! The findings of a job as data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use honelm_bench::Speed;
use honelm_eval::{Budget, Figures, Perplexity, Verdict};
use serde::{Deserialize, Serialize};

use super::gates::{Findings, GateKind};
use super::{Allocation, CalibrationChoice, Drift, Machine, PipelineReport, SpeedRatio};
use crate::units::bytes;
use crate::{Fallback, StageTime};

/// The original or a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `original`, or the candidate's encoding, followed by the recipe where recipes are compared.
    pub name: String,
    /// The container; `None` for the original.
    #[serde(default)]
    pub container: Option<String>,
    /// The width in bits that was asked for, where widths are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u8>,
    /// The name of the recipe; `None` for the original.
    #[serde(default)]
    pub recipe: Option<String>,
    /// `true` for the candidate that was published.
    pub chosen: bool,
    /// The gate's verdict; `None` for the original.
    pub verdict: Option<Verdict>,
    /// `true` if the candidate was rejected before all chunks were scored.
    pub rejected_early: bool,
    /// The size of the files that hold the weights, in bytes.
    pub size_bytes: u64,
    /// The size divided by the original's.
    pub size_ratio: f64,
    /// The bits of these files divided by the number of all parameters.
    pub bits_per_weight: f64,
    /// The same if every matrix could have the encoding asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_bits_per_weight: Option<f64>,
    /// The encoding of every matrix, by its name in the file; empty for the original.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tensor_types: BTreeMap<String, String>,
    /// The matrices that have another encoding than the candidate's name says.
    #[serde(default)]
    pub fallbacks: Vec<Fallback>,
    /// The quality; the original's has no differences.
    #[serde(flatten)]
    pub quality: Quality,
    /// The gates, the further texts and the tasks.
    #[serde(flatten)]
    pub findings: Findings,
    /// The time that the compression took, in seconds; `None` for the original.
    #[serde(default)]
    pub quantise_seconds: Option<f64>,
    /// The speed and memory, the median of all measurements, each in a process of its own.
    #[serde(flatten)]
    pub speed: Option<Speed>,
    /// The speed as a multiple of the original's; `None` for the original.
    pub speed_ratio: Option<SpeedRatio>,
}

/// The figures of quality.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// The number of chunks scored. All other figures are of these chunks.
    pub chunks: usize,
    /// The perplexity.
    pub perplexity: f64,
    /// The standard error of the perplexity.
    pub perplexity_stderr: f64,
    /// The original's perplexity on the same chunks; `None` for the original itself.
    pub original_perplexity: Option<f64>,
    /// The perplexity minus the original's on the same chunks.
    pub perplexity_difference: Option<f64>,
    /// The one-sided 95% upper bound of the difference.
    pub perplexity_difference_upper95: Option<f64>,
    /// The mean KL divergence from the original, in nats.
    pub kl_divergence: Option<f64>,
    /// The one-sided 95% upper bound of the mean divergence.
    #[serde(default)]
    pub kl_divergence_upper95: Option<f64>,
    /// The percentage of positions at which both models find the same token most likely.
    pub same_top_percent: Option<f64>,
}

impl From<&Figures> for Quality {
    fn from(f: &Figures) -> Self {
        Self {
            chunks: f.chunks,
            perplexity: f.perplexity,
            perplexity_stderr: f.perplexity_stderr,
            original_perplexity: Some(f.base_perplexity),
            perplexity_difference: Some(f.perplexity_difference),
            perplexity_difference_upper95: f.perplexity_difference_upper95,
            kl_divergence: Some(f.kl_divergence),
            kl_divergence_upper95: f.kl_divergence_upper95,
            same_top_percent: Some(f.same_top_percent),
        }
    }
}

impl Quality {
    /// Returns the figures of an original, which has no differences.
    pub(super) fn of_original(chunks: usize, found: Perplexity) -> Self {
        Self {
            chunks,
            perplexity: found.value,
            perplexity_stderr: found.stderr,
            original_perplexity: None,
            perplexity_difference: None,
            perplexity_difference_upper95: None,
            kl_divergence: None,
            kl_divergence_upper95: None,
            same_top_percent: None,
        }
    }
}

/// A text that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextCard {
    /// The file name, or `shipped`.
    pub name: String,
    /// The SHA-256 digest of the text.
    pub sha256: String,
    /// The number of tokens used.
    pub tokens: usize,
}

/// A model that was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The name of the container.
    pub container: String,
    /// The path of the file or folder, in the output folder.
    pub path: PathBuf,
    /// The SHA-256 digest of its files.
    pub sha256: String,
}

/// The answers of both models to the demonstration prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The prompt.
    pub prompt: String,
    /// The original's answer.
    pub original: String,
    /// The published model's answer.
    pub chosen: String,
}

/// The findings of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// The start of the job in UTC, in ISO 8601 form: `2026-01-31T12:00:00Z`.
    pub date: String,
    /// The command line that started the job, if the caller gave one.
    pub command: Option<String>,
    /// The machine.
    pub machine: Machine,
    /// A digest of everything that decides the result.
    pub key: String,
    /// The model's name.
    pub model: String,
    /// A digest of the model's files.
    pub model_digest: String,
    /// The number of parameters.
    pub parameters: u64,
    /// The container of the candidates; `None` where several were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The largest perplexity increase allowed.
    pub budget: Budget,
    /// `true` if a size was asked for and no budget: the candidate was published whatever its verdict.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub size_decides: bool,
    /// The protocol of the evaluation.
    pub protocol: String,
    /// The context of the evaluation in tokens.
    pub context: usize,
    /// `true` if chunks begin with BOS.
    pub bos: bool,
    /// A digest of the tokenizer.
    pub tokenizer_digest: String,
    /// The back end and the kernels that scored the models.
    pub compute: String,
    /// The held-out text.
    pub evaluation: TextCard,
    /// The calibration text, the one that was taken if several were tried.
    pub calibration: TextCard,
    /// The choice among several calibration texts; `None` if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrations: Option<CalibrationChoice>,
    /// The distance of the held-out text from the calibration text; `None` if the shipped text judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// The name of the row that was published, if any; of the first where several were.
    pub chosen: Option<String>,
    /// The comparison of recipes, in one sentence per container; `None` for a job that compares nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<String>,
    /// The choices of an encoding for each tensor; empty for a job without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allocations: Vec<Allocation>,
    /// `true` if there was too little text for a verdict.
    pub not_enough_text: bool,
    /// The original, then the candidates in the order in which they were tried.
    pub rows: Vec<Row>,
    /// The answers of both models to the same prompt, if a model was published.
    pub sample: Option<Sample>,
    /// The published models, at most one per container.
    #[serde(default)]
    pub published: Vec<Published>,
    /// The steps of a pipeline; `None` for a job without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineReport>,
    /// The time that each part of the job took, over all runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageTime>,
    /// Warnings of the whole job.
    pub warnings: Vec<String>,
}

impl Report {
    /// Returns the original's row.
    pub(super) fn original(&self) -> Option<&Row> {
        self.rows.first()
    }

    /// Returns a line per kind of fallback of each candidate.
    #[must_use]
    pub fn fallback_lines(&self) -> Vec<String> {
        let of = |row: &Row| {
            let kinds = crate::fallback_lines(&row.fallbacks);
            let wanted = row.wanted_bits_per_weight.unwrap_or(row.bits_per_weight);
            let name = format!("{} ({:.2} bits per weight, wanted {wanted:.2})", row.name, row.bits_per_weight);
            kinds.into_iter().map(move |kind| format!("{name}: {kind}")).collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(of).collect()
    }

    /// Returns `true` if there are gates beside the budget on one text.
    #[must_use]
    pub fn has_further_gates(&self) -> bool {
        let is_further = |row: &Row| row.findings.gates.iter().skip(1).any(|gate| gate.gate != GateKind::Perplexity);
        self.rows.iter().any(|row| is_further(row) || !row.findings.texts.is_empty())
    }

    /// Returns a line per gate of each candidate: the bound that decides, its limit, and the result.
    #[must_use]
    pub fn gate_lines(&self) -> Vec<String> {
        let of = |row: &Row| {
            let name = row.name.clone();
            let lines = row.findings.gates.iter().map(|gate| gate.sentence(self.budget));
            lines.map(move |line| format!("{name}: {line}")).collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(of).collect()
    }

    /// Returns the result in one sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        if let Some(pipeline) = &self.pipeline {
            return pipeline.summary.clone();
        }
        if let Some(comparison) = self.comparison.as_ref().filter(|_| !self.not_enough_text) {
            return comparison.clone();
        }
        let sentences = self.by_container().map(|(container, rows)| self.result(container, &rows));
        sentences.collect::<Vec<_>>().join(" ")
    }

    /// Returns the result of the candidates of a container in one sentence; `container` is its name where there are
    /// several.
    fn result(&self, container: Option<&str>, rows: &[&Row]) -> String {
        match rows.iter().find(|row| row.chosen) {
            Some(row) => {
                let (holds, end) = match row.verdict {
                    Some(Verdict::Rejected) => (
                        "has the size that was asked for, but exceeds",
                        " Without a --budget, the size alone decides what is published.",
                    ),
                    _ => ("holds", ""),
                };
                format!(
                    "{} {holds} the budget of {:+} perplexity: {} instead of {}, difference {:+.3}, at most {:+.3} (95%).{end}",
                    row.name,
                    self.budget,
                    bytes(row.size_bytes),
                    bytes(self.original().map_or(0, |r| r.size_bytes)),
                    row.quality.perplexity_difference.unwrap_or(f64::NAN),
                    row.quality.perplexity_difference_upper95.unwrap_or(f64::NAN),
                )
            }
            None if self.not_enough_text => {
                format!(
                    "No verdict: fewer than {} chunks of text or items of tasks. Nothing was published.",
                    honelm_eval::MIN_CHUNKS
                )
            }
            None if self.has_further_gates() => {
                format!(
                    "No candidate holds the budget of {:+} perplexity and all other gates. Nothing was published.",
                    self.budget
                )
            }
            None => {
                let of = container.map_or_else(String::new, |name| format!(" in {name}"));
                format!("No candidate{of} holds the budget of {:+} perplexity. Nothing was published{of}.", self.budget)
            }
        }
    }
}
