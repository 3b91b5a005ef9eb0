//! What a run found, as data, and as Markdown.

use std::fmt::Write as _;

use honelm_bench::Speed;
use honelm_eval::{Figures, Verdict};
use honelm_formats::printable;
use serde::{Deserialize, Serialize};

use crate::{Fallback, fallback_lines};

/// One row of the table: the original or a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `original`, or the candidate's encoding.
    pub name: String,
    /// Whether this is the one that was published.
    pub chosen: bool,
    /// The gate's answer; `None` for the original.
    pub verdict: Option<Verdict>,
    /// Whether the candidate was rejected before all chunks were scored.
    pub rejected_early: bool,
    /// Bytes of the weights' files.
    pub size_bytes: u64,
    /// Size over the original's.
    pub size_ratio: f64,
    /// File bits over all parameters.
    pub bits_per_weight: f64,
    /// What that would be without fallbacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_bits_per_weight: Option<f64>,
    /// Every matrix that has another encoding than the candidate's name says.
    #[serde(default)]
    pub fallbacks: Vec<Fallback>,
    /// Quality; the original's has no differences.
    #[serde(flatten)]
    pub quality: Quality,
    /// Speed and memory, measured in a process of its own; absent for candidates that were rejected without it.
    #[serde(flatten)]
    pub speed: Option<Speed>,
}

/// Quality columns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Chunks scored.
    pub chunks: usize,
    /// Perplexity.
    pub perplexity: f64,
    /// Its standard error.
    pub perplexity_stderr: f64,
    /// Difference to the original on the same chunks.
    pub perplexity_difference: Option<f64>,
    /// One-sided 95% upper bound of the difference.
    pub perplexity_difference_upper95: Option<f64>,
    /// Mean KL divergence from the original in nats.
    pub kl_divergence: Option<f64>,
    /// Share of positions with the same most likely token, in percent.
    pub same_top_percent: Option<f64>,
}

impl From<&Figures> for Quality {
    fn from(f: &Figures) -> Self {
        Self {
            chunks: f.chunks,
            perplexity: f.perplexity,
            perplexity_stderr: f.perplexity_stderr,
            perplexity_difference: Some(f.perplexity_difference),
            perplexity_difference_upper95: f.perplexity_difference_upper95,
            kl_divergence: Some(f.kl_divergence),
            same_top_percent: Some(f.same_top_percent),
        }
    }
}

/// A text as the report names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextCard {
    /// File name, or `shipped`.
    pub name: String,
    /// SHA-256.
    pub sha256: String,
    /// Tokens used.
    pub tokens: usize,
}

/// What a model wrote after the demonstration prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The prompt.
    pub prompt: String,
    /// The original's answer.
    pub original: String,
    /// The chosen model's answer.
    pub chosen: String,
}

/// Everything that a run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the program.
    pub version: String,
    /// Digest of everything that decided the result.
    pub key: String,
    /// Name of the model.
    pub model: String,
    /// Digest of its files.
    pub model_digest: String,
    /// Its parameters.
    pub parameters: u64,
    /// `gguf` or `gptq`.
    pub container: String,
    /// Largest perplexity difference allowed.
    pub budget: f64,
    /// Protocol of the figures.
    pub protocol: String,
    /// Context of the evaluation in tokens.
    pub context: usize,
    /// Whether windows begin with BOS.
    pub bos: bool,
    /// Digest of the tokenizer.
    pub tokenizer_digest: String,
    /// Kernel path of the figures, as users run it.
    pub compute: String,
    /// The text judged on.
    pub evaluation: TextCard,
    /// The text calibrated on.
    pub calibration: TextCard,
    /// Name of the row that was published, if any.
    pub chosen: Option<String>,
    /// Whether there was too little text for a verdict.
    pub not_enough_text: bool,
    /// Original first, then the candidates in the order they were tried.
    pub rows: Vec<Row>,
    /// The models' own writing.
    pub sample: Option<Sample>,
    /// SHA-256 of the published weights.
    pub published_sha256: Option<String>,
    /// Things the user should know.
    pub warnings: Vec<String>,
}

/// Titles of the table's columns.
pub const COLUMNS: [&str; 13] = [
    "model",
    "size",
    "ratio",
    "bits/w",
    "perplexity",
    "difference",
    "upper 95%",
    "KL",
    "same top",
    "load",
    "prefill",
    "decode",
    "first token",
];

fn or_dash<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// Bytes as people read them, in powers of 1000.
#[must_use]
pub fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// Seconds as people read them.
#[must_use]
pub fn seconds(s: f64) -> String {
    if s < 1.0 { format!("{:.0} ms", s * 1e3) } else { format!("{s:.2} s") }
}

impl Report {
    /// The original's row.
    fn original(&self) -> Option<&Row> {
        self.rows.first()
    }

    /// The cells of a row: [`COLUMNS`], and peak memory.
    #[must_use]
    pub fn cells(&self, row: &Row) -> Vec<String> {
        let q = &row.quality;
        let base = self.original().and_then(|r| r.speed.as_ref());
        let rate = |value: fn(&Speed) -> f64| {
            or_dash(row.speed.as_ref(), |s| match base {
                Some(base) if row.verdict.is_some() => {
                    format!("{:.0} tok/s ({:.2}x)", value(s), value(s) / value(base))
                }
                _ => format!("{:.0} tok/s", value(s)),
            })
        };
        let mark = match row.verdict {
            Some(_) if row.chosen => " *",
            Some(Verdict::Rejected) if row.rejected_early => " (rejected early)",
            Some(Verdict::Rejected) => " (rejected)",
            Some(Verdict::NotEnoughText) => " (not judged)",
            _ => "",
        };
        vec![
            format!("{}{mark}", row.name),
            bytes(row.size_bytes),
            format!("{:.2}", row.size_ratio),
            format!("{:.2}", row.bits_per_weight),
            format!("{:.3} ± {:.3}", q.perplexity, q.perplexity_stderr),
            or_dash(q.perplexity_difference, |d| format!("{d:+.3}")),
            or_dash(q.perplexity_difference_upper95, |d| format!("{d:+.3}")),
            or_dash(q.kl_divergence, |d| format!("{d:.4}")),
            or_dash(q.same_top_percent, |p| format!("{p:.1}%")),
            or_dash(row.speed.as_ref(), |s| seconds(s.load_seconds)),
            rate(|s| s.prefill_tokens_per_second),
            rate(|s| s.decode_tokens_per_second),
            or_dash(row.speed.as_ref(), |s| seconds(s.first_token_seconds)),
            or_dash(row.speed.as_ref().and_then(|s| s.peak_memory_bytes), bytes),
        ]
    }

    /// The fallbacks of all candidates, a line for each kind.
    #[must_use]
    pub fn fallback_lines(&self) -> Vec<String> {
        let of = |row: &Row| {
            let kinds = fallback_lines(&row.fallbacks);
            let wanted = row.wanted_bits_per_weight.unwrap_or(row.bits_per_weight);
            let name = format!("{} ({:.2} bits per weight, wanted {wanted:.2})", row.name, row.bits_per_weight);
            kinds.into_iter().map(move |kind| format!("{name}: {kind}")).collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(of).collect()
    }

    /// What the run came to, in one sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        let chosen = self.rows.iter().find(|r| r.chosen);
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

    /// The report as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n{}\n\n", self.model, self.summary());
        let titles = COLUMNS.iter().copied().chain(["peak memory"]).collect::<Vec<_>>();
        let _ = writeln!(out, "| {} |\n|{}", titles.join(" | "), "---|".repeat(titles.len()));
        for row in &self.rows {
            let _ = writeln!(out, "| {} |", self.cells(row).join(" | "));
        }
        let _ = writeln!(
            out,
            "\n- protocol: {}, context {}, {}; judged on {} ({} tokens, SHA-256 {})",
            self.protocol,
            self.context,
            if self.bos { "BOS first" } else { "no BOS" },
            self.evaluation.name,
            self.evaluation.tokens,
            self.evaluation.sha256
        );
        let _ = writeln!(
            out,
            "- calibrated on {} ({} tokens, SHA-256 {})",
            self.calibration.name, self.calibration.tokens, self.calibration.sha256
        );
        let _ = writeln!(out, "- path: {}; tokenizer {}", self.compute, self.tokenizer_digest);
        let _ =
            writeln!(out, "- model {} ({} parameters); honelm {}", self.model_digest, self.parameters, self.version);
        if let Some(sha) = &self.published_sha256 {
            let _ = writeln!(out, "- published weights: SHA-256 {sha}");
        }
        for line in self.fallback_lines() {
            let _ = writeln!(out, "- {line}");
        }
        for warning in &self.warnings {
            let _ = writeln!(out, "- warning: {warning}");
        }
        if let Some(s) = &self.sample {
            let quote = |text: &str| text.trim().replace('\n', "\n> ");
            let _ = writeln!(
                out,
                "\n## \"{}\"\n\nOriginal:\n\n> {}\n\n{}:\n\n> {}",
                s.prompt,
                quote(&s.original),
                self.chosen.as_deref().unwrap_or("chosen"),
                quote(&s.chosen)
            );
        }
        // Names and answers are the model's: whoever shows the report on a terminal must not obey them.
        printable(&out).into_owned()
    }
}
