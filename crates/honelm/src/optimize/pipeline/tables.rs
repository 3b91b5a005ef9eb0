//! The tables of a pipeline.

use super::report::{PipelineReport, StepResult};
use crate::optimize::tables::{Column, Table, column};
use crate::optimize::{Report, Row};
use crate::units::{bytes, seconds};

/// The name of the original's row.
pub(super) const ORIGINAL: &str = "original";

const STEPS: [Column; 9] = [
    column("step", "A step of the pipeline; the row is about the model after it."),
    column("size", "The size of the files that hold the weights."),
    column("decode tok/s", "The tokens written per second: the original's rate times the ratio to it, in parentheses."),
    column("prefill tok/s", "The prompt tokens read per second: the original's rate times the ratio to it."),
    column("1st token", "The time from a prompt of 128 tokens to the first token of the answer."),
    column("difference", "The perplexity minus the original's."),
    column(
        "upper 95%",
        "The one-sided 95% upper bound of the difference. It decides: it must be within the step's budget.",
    ),
    column("KL", "The mean KL divergence of the next-token distribution from the original's, in nats; 0 is identical."),
    column("accuracy", "The percentage of items with a correct answer."),
];

const EQUAL: [Column; 6] = [
    column("model", "A model whose encodings were chosen for the same size: pruned, or only quantised."),
    STEPS[1],
    STEPS[6],
    STEPS[7],
    STEPS[2],
    STEPS[3],
];

const DRAFTS: [Column; 5] = [
    column(
        "class",
        "The class of prompts, after the source of the drafts; of the published model, unless the original is named.",
    ),
    column("plain tok/s", "The tokens written per second without drafts."),
    column("drafts tok/s", "The tokens written per second with drafts."),
    column("speedup", "The quotient of the two."),
    column("lower 95%", "Its one-sided 95% lower bound."),
];

impl Report {
    /// Returns a row per step of the pipeline, after the original and another engine; then, with the ablation, a row per step
    /// alone. `None` for a job without a pipeline.
    #[must_use]
    pub fn steps_table(&self) -> Option<Table> {
        let pipeline = self.pipeline.as_ref()?;
        let original = self.original().map(|row| figures(ORIGINAL.to_owned(), (row, None), None));
        let other = pipeline.other_engine.iter().map(|other| {
            let rate = |value: f64| format!("{value:.0}");
            let mut cells = vec![other.engine.clone(), "-".to_owned()];
            cells.extend([rate(other.decode_tokens_per_second), rate(other.prefill_tokens_per_second)]);
            cells.push(seconds(other.first_token_seconds));
            cells.resize(STEPS.len(), "-".to_owned());
            cells
        });
        let chain = pipeline.steps.iter().filter_map(|step| {
            let fate = if step.kept { "" } else { " (left out)" };
            self.step(step, format!("{}{fate}", step.step))
        });
        let alone = pipeline.alone.iter().filter_map(|step| self.step(step, format!("{} alone", step.step)));
        Some(Table { columns: &STEPS, rows: original.into_iter().chain(other).chain(chain).chain(alone).collect() })
    }

    /// Returns the row of the model after a step.
    pub(super) fn row_of(&self, step: &StepResult) -> Option<&Row> {
        self.rows.iter().find(|row| Some(&row.name) == step.row.as_ref())
    }

    fn step(&self, step: &StepResult, name: String) -> Option<Vec<String>> {
        Some(figures(name, (self.row_of(step)?, self.original()), step.speedup))
    }

    /// Returns the pruned and the quantised model at each size. `None` if they were not compared.
    #[must_use]
    pub fn equal_bytes_table(&self) -> Option<Table> {
        let pipeline = self.pipeline.as_ref().filter(|pipeline| !pipeline.equal_bytes.is_empty())?;
        let names = pipeline.equal_bytes.iter().flat_map(|pair| [&pair.pruned, &pair.quantised]);
        let row = |name: &String| {
            let row = self.rows.iter().find(|row| row.name == *name)?;
            let [name, size, decode, prefill, _, _, upper, kl, _] =
                <[String; 9]>::try_from(figures(row.name.clone(), (row, self.original()), None)).ok()?;
            Some(vec![name, size, upper, kl, decode, prefill])
        };
        Some(Table { columns: &EQUAL, rows: names.filter_map(row).collect() })
    }
}

impl PipelineReport {
    /// Returns the speed with drafts for each class of prompts. `None` if none were measured.
    #[must_use]
    pub fn drafts_table(&self) -> Option<Table> {
        let classes = self.drafts.iter().flat_map(|found| found.classes.iter().map(move |class| (found, class)));
        let rows: Vec<Vec<String>> = classes
            .map(|(found, class)| {
                let of = if found.model == ORIGINAL { "original, " } else { "" };
                vec![
                    format!("{of}{} {}", found.speculate, class.class),
                    format!("{:.0}", class.plain_tokens_per_second),
                    format!("{:.0}", class.tokens_per_second),
                    format!("{:.2}x", class.speedup),
                    format!("{:.2}x", class.speedup_lower95),
                ]
            })
            .collect();
        (!rows.is_empty()).then_some(Table { columns: &DRAFTS, rows })
    }
}

/// Returns the rates of decoding and prefill of a model: those of the original times the median ratio of the pairs of
/// measurements, so that models that were measured at different times can be compared.
pub(super) fn rates(row: &Row, original: Option<&Row>) -> Option<[f64; 2]> {
    let of = |row: &Row| row.speed.map(|speed| [speed.decode_tokens_per_second, speed.prefill_tokens_per_second]);
    match (original.and_then(of), row.speed_ratio) {
        (Some([decode, prefill]), Some(ratio)) => Some([decode * ratio.decode.median, prefill * ratio.prefill.median]),
        _ => of(row),
    }
}

/// Returns the cells of [`STEPS`]. Drafts make decoding faster by `speedup`.
fn figures(name: String, (row, original): (&Row, Option<&Row>), speedup: Option<f64>) -> Vec<String> {
    let dash = || "-".to_owned();
    let speedup = speedup.unwrap_or(1.0);
    let rate = |value: Option<f64>, ratio: Option<f64>| match (value, ratio) {
        (Some(value), Some(ratio)) => format!("{value:.0} ({ratio:.2}x)"),
        (Some(value), None) => format!("{value:.0}"),
        _ => dash(),
    };
    let (speed, ratio, quality) = (row.speed.as_ref(), row.speed_ratio, &row.quality);
    let [decode, prefill] = rates(row, original).map_or([None, None], |rates| rates.map(Some));
    let accuracy = row.findings.accuracy.as_ref();
    vec![
        name,
        bytes(row.size_bytes),
        rate(decode.map(|rate| rate * speedup), ratio.map(|ratio| ratio.decode.median * speedup)),
        rate(prefill, ratio.map(|ratio| ratio.prefill.median)),
        speed.map_or_else(dash, |speed| seconds(speed.first_token_seconds)),
        quality.perplexity_difference.map_or_else(dash, |value| format!("{value:+.3}")),
        quality.perplexity_difference_upper95.map_or_else(dash, |value| format!("{value:+.3}")),
        quality.kl_divergence.map_or_else(dash, |value| format!("{value:.4}")),
        accuracy.map_or_else(dash, |found| format!("{:.1}%", found.all.accuracy_percent)),
    ]
}
