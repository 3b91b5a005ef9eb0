//! The chart of a pipeline: a panel per figure, with bars for the model after each step and for each step alone.

use super::report::{PipelineReport, StepResult};
use super::tables::rates;
use crate::optimize::{Report, Row};
use crate::svg::{self, Axis, CHARACTER, GRID, bar, line, text};

/// The size of a panel's plot and of its surroundings, in pixels.
const PANEL: [f64; 2] = [390.0, 150.0];
const LEFT: f64 = 70.0;
const TOP: f64 = 84.0;
const GAP: [f64; 2] = [70.0, 76.0];
const COLUMNS: usize = 2;
/// The share of a group's width that its bars take.
const BARS: f64 = 0.8;
/// The size of labels in pixels, and the width of one of their characters.
const LABEL: u32 = 10;
const NARROW: f64 = CHARACTER * 0.82;

const AFTER: &str = svg::BLUE;
const ALONE: &str = svg::GREEN;
const LEFT_OUT: &str = "#c98a1b";
const ORIGINAL: &str = svg::TEXT;

/// Returns a figure of a model, given the original and the factor by which drafts make answers faster: the value and its upper
/// bound.
type Of = fn(&Row, Option<&Row>, f64) -> Option<(f64, Option<f64>)>;

/// A figure that a panel shows.
struct Figure {
    title: &'static str,
    of: Of,
    decimals: usize,
}

const fn figure(title: &'static str, decimals: usize, of: Of) -> Figure {
    Figure { title, of, decimals }
}

const FIGURES: [Figure; 7] = [
    figure("decode (tokens per second)", 0, |row, original, speedup| Some((rates(row, original)?[0] * speedup, None))),
    figure("prefill (tokens per second)", 0, |row, original, _| Some((rates(row, original)?[1], None))),
    figure("first token (milliseconds)", 1, |row, _, _| Some((row.speed?.first_token_seconds * 1e3, None))),
    figure("size (MB)", 1, |row, _, _| Some((row.size_bytes as f64 / 1e6, None))),
    figure("increase in perplexity, and its 95% bound", 2, |row, _, _| {
        let quality = &row.quality;
        Some((quality.perplexity_difference.unwrap_or(0.0), quality.perplexity_difference_upper95))
    }),
    figure("KL divergence from the original (nats)", 3, |row, _, _| {
        Some((row.quality.kl_divergence.unwrap_or(0.0), None))
    }),
    figure("accuracy on the tasks (%)", 1, |row, _, _| {
        Some((row.findings.accuracy.as_ref()?.all.accuracy_percent, None))
    }),
];

/// A bar of a group.
struct Bar {
    value: f64,
    upper: Option<f64>,
    colour: &'static str,
}

/// The bars of a step.
struct Group {
    label: String,
    bars: Vec<Bar>,
}

/// Returns the chart of a report with a pipeline.
pub(in crate::optimize) fn chart(report: &Report, pipeline: &PipelineReport) -> String {
    let panels: Vec<(&Figure, Vec<Group>)> = FIGURES
        .iter()
        .map(|figure| (figure, groups(report, pipeline, figure)))
        .filter(|(_, groups)| groups.iter().any(|group| !group.bars.is_empty()))
        .collect();
    let rows = panels.len().div_ceil(COLUMNS) as f64;
    let width = LEFT + COLUMNS as f64 * (PANEL[0] + GAP[0]);
    let height = TOP + rows * (PANEL[1] + GAP[1]);
    let mut out = svg::begin([width, height], &pipeline.summary);
    text(&mut out, [LEFT - 45.0, 24.0], "start", 15, &format!("{}: steps of the pipeline", report.model));
    legend(&mut out, !pipeline.alone.is_empty());
    for (at, (figure, groups)) in panels.iter().enumerate() {
        let left = LEFT + (at % COLUMNS) as f64 * (PANEL[0] + GAP[0]);
        let top = TOP + (at / COLUMNS) as f64 * (PANEL[1] + GAP[1]);
        panel(&mut out, [left, top], figure, groups);
    }
    svg::end(out)
}

/// Returns the groups of a panel: the original, another engine, and the steps.
fn groups(report: &Report, pipeline: &PipelineReport, figure: &Figure) -> Vec<Group> {
    let one = |row: Option<&Row>, speedup: f64, colour| {
        let (value, upper) = row.and_then(|row| (figure.of)(row, report.original(), speedup))?;
        Some(Bar { value, upper, colour })
    };
    let mut out =
        vec![Group { label: "original".to_owned(), bars: one(report.original(), 1.0, ORIGINAL).into_iter().collect() }];
    if let Some(other) = &pipeline.other_engine {
        let value = match figure.title.split(' ').next() {
            Some("decode") => Some(other.decode_tokens_per_second),
            Some("prefill") => Some(other.prefill_tokens_per_second),
            Some("first") => Some(other.first_token_seconds * 1e3),
            _ => None,
        };
        let label = other.engine.split([' ', ',']).next().unwrap_or_default().to_owned();
        let bars: Vec<Bar> = value.map(|value| Bar { value, upper: None, colour: ORIGINAL }).into_iter().collect();
        out.extend((!bars.is_empty()).then_some(Group { label, bars }));
    }
    out.extend(pipeline.steps.iter().map(|step| {
        let bar = |step: &StepResult, colour| one(report.row_of(step), step.speedup.unwrap_or(1.0), colour);
        let after = bar(step, if step.kept { AFTER } else { LEFT_OUT });
        let alone = pipeline.alone.iter().find(|alone| alone.step == step.step).and_then(|alone| bar(alone, ALONE));
        Group { label: step.step.clone(), bars: after.into_iter().chain(alone).collect() }
    }));
    out
}

fn legend(out: &mut String, has_alone: bool) {
    let entries = [(AFTER, "after the step"), (LEFT_OUT, "after a step that was left out"), (ALONE, "the step alone")];
    let mut x = LEFT;
    for (colour, label) in entries.into_iter().take(if has_alone { 3 } else { 2 }) {
        bar(out, [x, 37.0], [11.0, 11.0], colour);
        text(out, [x + 16.0, 47.0], "start", 12, label);
        x += 40.0 + label.len() as f64 * CHARACTER;
    }
}

/// Draws the axis and the bars of a panel.
fn panel(out: &mut String, [left, top]: [f64; 2], figure: &Figure, groups: &[Group]) {
    let [width, height] = PANEL;
    let bottom = top + height;
    let bars = || groups.iter().flat_map(|group| &group.bars);
    let axis = Axis::new(bars().flat_map(|bar| [bar.value, bar.upper.unwrap_or(bar.value)]));
    let share = |value: f64| (value / axis.most).clamp(0.0, 1.0) * height;
    text(out, [left, top - 14.0], "start", 12, figure.title);
    for value in axis.ticks() {
        let y = bottom - share(value);
        line(out, [left, y, left + width, y], GRID, "stroke-opacity=\"0.3\"");
        text(out, [left - 6.0, y + 4.0], "end", LABEL, &axis.label(value));
    }
    let step = width / groups.len().max(1) as f64;
    for (at, group) in groups.iter().enumerate() {
        let middle = left + (at as f64 + 0.5) * step;
        let each = (step * BARS / group.bars.len().max(1) as f64).min(step * BARS / 2.0);
        let first = middle - each * group.bars.len() as f64 / 2.0;
        for (i, one) in group.bars.iter().enumerate() {
            let (x, y) = (first + i as f64 * each, bottom - share(one.value));
            bar(out, [x + 1.0, y], [each - 2.0, bottom - y], one.colour);
            let mut above = y;
            if let Some(upper) = one.upper.filter(|upper| upper.is_finite()) {
                above = (bottom - share(upper)).min(y);
                line(out, [x + each / 2.0, y, x + each / 2.0, above], svg::TEXT, "stroke-width=\"1.5\"");
            }
            let label = format!("{:.*}", decimals(one.value, figure.decimals), one.value);
            let size = if label.len() as f64 * NARROW > each + 6.0 { LABEL - 2 } else { LABEL };
            text(out, [x + each / 2.0, above - 3.0], "middle", size, &label);
        }
        text(out, [middle, bottom + 15.0], "middle", LABEL + 1, &group.label);
    }
    line(out, [left, bottom, left + width, bottom], GRID, "");
}

/// Returns the decimals of a label: fewer for large values, which have less room.
fn decimals(value: f64, usual: usize) -> usize {
    if value == 0.0 || value.abs() >= 1000.0 { 0 } else { usual }
}
