//! A plot of size against quality.

use std::fmt::Write as _;

use honelm_eval::Verdict;

use super::pipeline::chart;
use super::report::{Report, Row};
use crate::svg::{self, Axis, CHARACTER, GRID, LINE, TEXT, line, text};

/// The size of the picture and the area of a panel's plot, in pixels.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const PANEL: [f64; 2] = [350.0, 270.0];
const TOP: f64 = 70.0;
const LEFTS: [f64; 2] = [70.0, 520.0];

const ACCEPTED: &str = svg::GREEN;
const REJECTED: &str = svg::RED;
const BUDGET: &str = "#b8860b";

/// A model in a panel.
struct Point<'a> {
    row: &'a Row,
    /// The size in megabytes.
    x: f64,
    y: f64,
    /// The upper bound of `y`.
    upper: Option<f64>,
}

/// The ratio of the largest to the smallest divergence above which the axis is logarithmic.
const LOGARITHMIC: f64 = 30.0;

/// Returns the ratio of the largest to the smallest positive value.
fn spread(values: impl Iterator<Item = f64>) -> f64 {
    let fold = |(least, most): (f64, f64), v: f64| (least.min(v), most.max(v));
    let (least, most) = values.filter(|v| *v > 0.0 && v.is_finite()).fold((f64::INFINITY, 0.0), fold);
    most / least
}

/// A vertical axis.
enum Scale {
    /// From 0.
    Linear(Axis),
    /// From one power of ten to another, given by their exponents.
    Logarithmic(i32, i32),
}

impl Scale {
    fn new(values: impl Iterator<Item = f64>, is_logarithmic: bool) -> Self {
        if !is_logarithmic {
            return Self::Linear(Axis::new(values));
        }
        let exponents: Vec<f64> = values.filter(|v| *v > 0.0 && v.is_finite()).map(f64::log10).collect();
        let least = exponents.iter().copied().fold(f64::INFINITY, f64::min).floor();
        let most = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max).ceil();
        Self::Logarithmic(least as i32, (most as i32).max(least as i32 + 1))
    }

    /// Returns the height of a value as a share of the axis.
    fn share(&self, value: f64) -> f64 {
        let share = match self {
            Self::Linear(axis) => value / axis.most,
            Self::Logarithmic(least, most) if value > 0.0 => {
                (value.log10() - f64::from(*least)) / f64::from(most - least)
            }
            Self::Logarithmic(..) => 0.0,
        };
        share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        match self {
            Self::Linear(axis) => axis.ticks().collect(),
            Self::Logarithmic(least, most) => (*least..=*most).map(|exponent| 10f64.powi(exponent)).collect(),
        }
    }

    fn label(&self, value: f64) -> String {
        match self {
            Self::Linear(axis) => axis.label(value),
            Self::Logarithmic(..) => format!("1e{}", value.log10().round()),
        }
    }
}

impl Report {
    /// Returns a plot of the size against the KL divergence and against the perplexity difference of every model. A
    /// line shows the budget. For a pipeline, returns bars for each step instead.
    #[must_use]
    pub fn plot(&self) -> String {
        if let Some(pipeline) = &self.pipeline {
            return chart(self, pipeline);
        }
        let mut out = svg::begin([WIDTH, HEIGHT], &self.summary());
        text(&mut out, [LEFTS[0] - 45.0, 24.0], "start", 15, &format!("{}: size and quality", self.model));
        legend(&mut out);
        let points = |y: fn(&Row) -> Option<f64>, upper: fn(&Row) -> Option<f64>| {
            let point =
                |row| Point { row, x: row.size_bytes as f64 / 1e6, y: y(row).unwrap_or(0.0), upper: upper(row) };
            self.rows.iter().map(point).filter(|p| p.y.is_finite()).collect::<Vec<_>>()
        };
        let kl = points(|row| row.quality.kl_divergence, |_| None);
        let frontier = self.allocations.first().map_or(&[][..], |allocation| &allocation.frontier);
        let frontier: Vec<[f64; 2]> = frontier.iter().map(|p| [p.size_bytes as f64 / 1e6, p.kl]).collect();
        let heights = || kl.iter().map(|p| p.y).chain(frontier.iter().map(|p| p[1]));
        let scale = Scale::new(heights(), spread(heights()) > LOGARITHMIC);
        let title = "KL divergence from the original (nats)";
        panel(&mut out, LEFTS[0], title, &kl, None, (&scale, &frontier));
        let original = self.original().map_or(f64::NAN, |row| row.quality.perplexity);
        // A percentage of the original's perplexity becomes the difference that it allows, to three decimals.
        let budget = (self.budget.difference(original) * 1000.0).round() / 1000.0;
        let difference =
            points(|row| row.quality.perplexity_difference, |row| row.quality.perplexity_difference_upper95);
        let heights = difference.iter().flat_map(|p| [p.y, p.upper.unwrap_or(p.y)]).chain([budget]);
        let scale = Scale::new(heights, false);
        let title = "perplexity difference and its 95% bound";
        panel(&mut out, LEFTS[1], title, &difference, Some(budget), (&scale, &[]));
        svg::end(out)
    }
}

/// Draws the axes, the budget, the points and the predicted frontier of a panel.
fn panel(
    out: &mut String,
    left: f64,
    title: &str,
    points: &[Point<'_>],
    budget: Option<f64>,
    (y_scale, frontier): (&Scale, &[[f64; 2]]),
) {
    let [width, height] = PANEL;
    let bottom = TOP + height;
    let x_axis = Axis::new(points.iter().map(|p| p.x));
    let x = |value: f64| left + value / x_axis.most * width;
    // A value below the axis (a candidate that is better than the original) is drawn on it.
    let y = |value: f64| bottom - y_scale.share(value) * height;
    text(out, [left, TOP - 12.0], "start", 12, title);
    for value in y_scale.ticks() {
        line(out, [left, y(value), left + width, y(value)], GRID, "stroke-opacity=\"0.3\"");
        text(out, [left - 6.0, y(value) + 4.0], "end", 11, &y_scale.label(value));
    }
    for value in x_axis.ticks() {
        line(out, [x(value), bottom, x(value), bottom + 4.0], GRID, "");
        text(out, [x(value), bottom + 18.0], "middle", 11, &x_axis.label(value));
    }
    line(out, [left, bottom, left + width, bottom], GRID, "");
    line(out, [left, TOP, left, bottom], GRID, "");
    text(out, [left + width / 2.0, bottom + 38.0], "middle", 12, "size (MB)");
    // Labels must not cover the axis, the budget's label or a mark.
    let mut taken = vec![[left, bottom - 1.0, left + width, HEIGHT]];
    if let Some(budget) = budget.filter(|b| *b >= 0.0) {
        line(out, [left, y(budget), left + width, y(budget)], BUDGET, "stroke-dasharray=\"6 4\" stroke-width=\"1.5\"");
        let label = format!("budget {budget:+}");
        let area = budget_label(out, [left + width, y(budget) - 5.0], &label);
        taken.push(area);
    }
    if !frontier.is_empty() {
        let inside = frontier.iter().filter(|p| p[0] <= x_axis.most);
        let path = inside.map(|p| format!("{:.1},{:.1}", x(p[0]), y(p[1]))).collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            out,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{TEXT}\" stroke-width=\"1.5\" stroke-dasharray=\"2 3\"/>"
        );
        text(out, [left + width, TOP + 12.0], "end", 11, "dotted: predicted frontier");
        taken.push([left + width - 26.0 * CHARACTER, TOP, left + width, TOP + 16.0]);
    }
    let marks: Vec<[f64; 2]> = points.iter().map(|p| [x(p.x), y(p.y)]).collect();
    taken.extend(marks.iter().map(|[cx, cy]| [cx - 6.0, cy - 6.0, cx + 6.0, cy + 6.0]));
    for (point, &at) in points.iter().zip(&marks) {
        if let Some(upper) = point.upper.filter(|u| u.is_finite()) {
            let [cx, end] = [at[0], y(upper)];
            line(out, [cx, at[1], cx, end], colour(point.row), "stroke-width=\"1.5\"");
            line(out, [cx - 4.0, end, cx + 4.0, end], colour(point.row), "stroke-width=\"1.5\"");
            taken.push([cx - 4.0, end - 2.0, cx + 4.0, at[1]]);
        }
        mark(out, at, point.row.verdict);
    }
    for (point, &at) in points.iter().zip(&marks) {
        label(out, at, &point.row.name, &mut taken, [left, left + width]);
    }
}

/// Writes a name beside its point, where it covers nothing else if possible.
fn label(out: &mut String, [cx, cy]: [f64; 2], name: &str, taken: &mut Vec<[f64; 4]>, [from, to]: [f64; 2]) {
    let width = name.chars().count() as f64 * CHARACTER;
    let right = ([cx + 9.0, cy + 4.0], "start", cx + 9.0);
    let places = [
        right,
        ([cx - 9.0, cy + 4.0], "end", cx - 9.0 - width),
        ([cx, cy - 12.0], "middle", cx - width / 2.0),
        ([cx, cy + 20.0], "middle", cx - width / 2.0),
        ([cx + 9.0, cy - 12.0], "start", cx + 9.0),
        ([cx + 9.0, cy + 20.0], "start", cx + 9.0),
    ];
    let area = |([_, y], _, x): ([f64; 2], &str, f64)| [x, y - LINE + 3.0, x + width, y + 3.0];
    let is_free = |place: &&([f64; 2], &'static str, f64)| {
        let [x0, y0, x1, y1] = area(**place);
        x0 >= from && x1 <= to && taken.iter().all(|[a0, b0, a1, b1]| x1 < *a0 || x0 > *a1 || y1 < *b0 || y0 > *b1)
    };
    let place = *places.iter().find(is_free).unwrap_or(&right);
    taken.push(area(place));
    text(out, place.0, place.1, 12, name);
}

/// Writes the budget's label, which ends at a position, and returns its area.
fn budget_label(out: &mut String, [x, y]: [f64; 2], label: &str) -> [f64; 4] {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\" fill=\"{BUDGET}\">{label}</text>");
    [x - label.len() as f64 * CHARACTER, y - LINE, x, y + 6.0]
}

fn colour(row: &Row) -> &'static str {
    match row.verdict {
        None => TEXT,
        Some(Verdict::Accepted) => ACCEPTED,
        Some(Verdict::Rejected | Verdict::NotEnoughText) => REJECTED,
    }
}

/// Draws a square for the original, a disc for an accepted candidate, a cross for any other one.
fn mark(out: &mut String, [x, y]: [f64; 2], verdict: Option<Verdict>) {
    let _ = match verdict {
        None => {
            writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{TEXT}\"/>",
                x - 5.0,
                y - 5.0
            )
        }
        Some(Verdict::Accepted) => writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5.5\" fill=\"{ACCEPTED}\"/>"),
        Some(Verdict::Rejected | Verdict::NotEnoughText) => writeln!(
            out,
            "<path d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\" stroke=\"{REJECTED}\" stroke-width=\"2.5\" fill=\"none\"/>",
            x - 5.0,
            y - 5.0
        ),
    };
}

fn legend(out: &mut String) {
    let entries = [("original", None), ("accepted", Some(Verdict::Accepted)), ("rejected", Some(Verdict::Rejected))];
    for ((name, verdict), x) in entries.into_iter().zip([600.0, 695.0, 795.0]) {
        mark(out, [x, 20.0], verdict);
        text(out, [x + 11.0, 24.0], "start", 12, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergences_far_apart_get_a_logarithmic_axis() {
        let values = || [0.0, 0.0004, 0.02, 0.26, f64::NAN].into_iter();
        assert!((spread(values()) - 650.0).abs() < 1e-9);
        let scale = Scale::new(values(), true);
        assert_eq!(
            scale.ticks().iter().map(|&t| scale.label(t)).collect::<Vec<_>>(),
            ["1e-4", "1e-3", "1e-2", "1e-1", "1e0"]
        );
        assert_eq!((scale.share(0.0), scale.share(1.0), scale.share(0.01)), (0.0, 1.0, 0.5));
    }

    #[test]
    fn labels_of_close_points_do_not_cover_each_other() {
        let (mut out, mut taken) = (String::new(), Vec::new());
        for x in [100.0, 110.0, 120.0] {
            label(&mut out, [x, 100.0], "Q4_0", &mut taken, [0.0, 350.0]);
        }
        for (i, a) in taken.iter().enumerate() {
            for b in &taken[i + 1..] {
                assert!(a[2] < b[0] || b[2] < a[0] || a[3] < b[1] || b[3] < a[1], "{a:?} {b:?}");
            }
        }
    }
}
