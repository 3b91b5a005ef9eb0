//! The findings of a job as data.

use honelm_bench::Speed;
use honelm_eval::{Figures, Verdict};
use serde::{Deserialize, Serialize};

use super::{Machine, SpeedRatio};
use crate::Fallback;
use crate::units::bytes;

/// The original or a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `original`, or the candidate's encoding, followed by the recipe where recipes are compared.
    pub name: String,
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
    /// The matrices that have another encoding than the candidate's name says.
    #[serde(default)]
    pub fallbacks: Vec<Fallback>,
    /// The quality; the original's has no differences.
    #[serde(flatten)]
    pub quality: Quality,
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
            same_top_percent: Some(f.same_top_percent),
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
    /// `gguf` or `gptq`.
    pub container: String,
    /// The largest perplexity difference allowed.
    pub budget: f64,
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
    /// The calibration text.
    pub calibration: TextCard,
    /// The name of the row that was published, if any.
    pub chosen: Option<String>,
    /// The comparison of recipes, in one sentence; `None` for a job with one recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<String>,
    /// `true` if there was too little text for a verdict.
    pub not_enough_text: bool,
    /// The original, then the candidates in the order in which they were tried.
    pub rows: Vec<Row>,
    /// The answers of both models to the same prompt, if a model was published.
    pub sample: Option<Sample>,
    /// The SHA-256 digest of the published model's files.
    pub published_sha256: Option<String>,
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

    /// Returns the result in one sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        let chosen = self.rows.iter().find(|r| r.chosen);
        if let Some(comparison) = self.comparison.as_ref().filter(|_| !self.not_enough_text) {
            return comparison.clone();
        }
        match chosen {
            Some(row) => format!(
                "{} holds the budget of {:+} perplexity: {} instead of {}, difference {:+.3}, at most {:+.3} (95%).",
                row.name,
                self.budget,
                bytes(row.size_bytes),
                bytes(self.original().map_or(0, |r| r.size_bytes)),
                row.quality.perplexity_difference.unwrap_or(f64::NAN),
                row.quality.perplexity_difference_upper95.unwrap_or(f64::NAN),
            ),
            None if self.not_enough_text => {
                format!("No verdict: fewer than {} chunks of text. Nothing was published.", honelm_eval::MIN_CHUNKS)
            }
            None => format!("No candidate holds the budget of {:+} perplexity. Nothing was published.", self.budget),
        }
    }
}
