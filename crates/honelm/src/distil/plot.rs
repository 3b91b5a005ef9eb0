//! The plot of a training: the losses over its steps.

use std::fmt::Write as _;

use honelm_train::Measured;

use crate::svg::{self, Axis, BLUE, GREEN, GRID, TEXT, line, text};

/// The size of the picture and of the area of a panel's plot, in pixels.
const SIZE: [f64; 2] = [900.0, 360.0];
const PANEL: [f64; 2] = [350.0, 230.0];
const TOP: f64 = 70.0;
const LEFTS: [f64; 2] = [70.0, 520.0];

/// Returns the plot of a curve: the divergence from the teacher, and the cross entropy, on the held-out samples.
pub(super) fn of(curve: &[Measured], title: &str) -> String {
    let mut out = svg::begin(SIZE, title);
    text(&mut out, [LEFTS[0] - 45.0, 24.0], "start", 15, title);
    let points =
        |y: fn(&Measured) -> f64| -> Vec<[f64; 2]> { curve.iter().map(|m| [f64::from(m.step), y(m)]).collect() };
    let titles = ["KL divergence from the teacher (nats per token)", "cross entropy (nats per token)"];
    panel(&mut out, LEFTS[0], titles[0], &points(|m| m.divergence), BLUE);
    panel(&mut out, LEFTS[1], titles[1], &points(|m| m.nll), GREEN);
    svg::end(out)
}

fn panel(out: &mut String, left: f64, title: &str, points: &[[f64; 2]], colour: &str) {
    let [x, y] = [0, 1].map(|axis| Axis::new(points.iter().map(|point| point[axis])));
    let bottom = TOP + PANEL[1];
    let place = |[px, py]: [f64; 2]| [left + px / x.most * PANEL[0], bottom - py / y.most * PANEL[1]];
    text(out, [left, TOP - 14.0], "start", 12, title);
    for tick in y.ticks() {
        let [_, height] = place([0.0, tick]);
        line(out, [left, height, left + PANEL[0], height], GRID, "stroke-width=\"0.5\"");
        text(out, [left - 8.0, height + 4.0], "end", 11, &y.label(tick));
    }
    for tick in x.ticks() {
        let [at, _] = place([tick, 0.0]);
        text(out, [at, bottom + 18.0], "middle", 11, &x.label(tick));
    }
    text(out, [left + PANEL[0] / 2.0, bottom + 38.0], "middle", 12, "step");
    let places: Vec<[f64; 2]> = points.iter().filter(|point| point[1].is_finite()).map(|point| place(*point)).collect();
    let path: Vec<String> = places.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
    let _ =
        writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join(" "));
    for [x, y] in places {
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\" stroke=\"{TEXT}\" stroke-width=\"0.5\"/>"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_point_per_measurement_and_none_for_what_is_not_finite() {
        let at = |step, divergence| Measured { step, training: None, divergence, nll: 4.0, loss: divergence };
        let svg = of(&[at(0, 0.5), at(8, f64::NAN), at(16, 0.25)], "a <b>");
        assert_eq!((svg.matches("<circle").count(), svg.matches("a &lt;b&gt;").count()), (5, 2));
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
