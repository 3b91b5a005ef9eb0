//! The plot of `honelm bench --sustained`: the rate, and below it what the sensors told.

use std::fmt::Write as _;

use honelm::SustainedOutcome;
use honelm::bench::{Second, SustainedFigures};
use honelm::svg::{self, Axis, BLUE, GREEN, GRID, RED, line, text};

/// The width of the picture, and the place of the panels, in pixels.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 870.0;
const TOP: f64 = 70.0;
/// The heights of the panel of the rate, of another one, and of the space below a panel.
const RATE: f64 = 220.0;
const SENSOR: f64 = 90.0;
const GAP: f64 = 44.0;

/// A panel: its title, its colour and its line.
struct Panel {
    title: &'static str,
    colour: &'static str,
    height: f64,
    /// The times in seconds and the values.
    points: Vec<[f64; 2]>,
}

impl Panel {
    /// Returns the panel of a quantity; `None` if no second has a value.
    fn new(
        title: &'static str,
        (colour, height): (&'static str, f64),
        series: &[Second],
        of: impl Fn(&Second) -> Option<f64>,
    ) -> Option<Self> {
        let points: Vec<_> = series.iter().filter_map(|s| Some([s.end_seconds, of(s)?])).collect();
        (!points.is_empty()).then_some(Self { title, colour, height, points })
    }
}

/// Returns the plot.
pub fn of(found: &SustainedOutcome, figures: &SustainedFigures) -> String {
    let series = &found.run.series;
    let panels: Vec<Panel> = [
        Panel::new("decoding (tok/s)", (BLUE, RATE), series, |s| Some(s.tokens_per_second)),
        Panel::new("temperature (°C)", (RED, SENSOR), series, |s| s.temperature_celsius),
        Panel::new("frequency (GHz)", (GREEN, SENSOR), series, |s| s.frequency_hertz.map(|hertz| hertz / 1e9)),
        Panel::new("power (W)", (BLUE, SENSOR), series, |s| s.power_watts),
    ]
    .into_iter()
    .flatten()
    .collect();
    let height = TOP + panels.iter().map(|panel| panel.height + GAP).sum::<f64>() + 10.0;
    let title =
        format!("{} {}: {:.1}% of the first rate retained", found.model, found.encoding, figures.retained_percent);
    let mut out = svg::begin([WIDTH, height], &title);
    text(&mut out, [20.0, 26.0], "start", 15, &title);
    let mut top = TOP;
    for (i, panel) in panels.iter().enumerate() {
        draw(&mut out, panel, top, figures.seconds);
        if i == 0 {
            spans(&mut out, panel, top, figures);
        }
        top += panel.height + GAP;
    }
    text(&mut out, [(LEFT + RIGHT) / 2.0, height - 8.0], "middle", 12, "time (s)");
    svg::end(out)
}

fn x(seconds: f64, all: f64) -> f64 {
    LEFT + seconds / all * (RIGHT - LEFT)
}

/// Draws the axes and the line of a panel.
fn draw(out: &mut String, panel: &Panel, top: f64, all: f64) {
    let bottom = top + panel.height;
    let axis = Axis::new(panel.points.iter().map(|[_, value]| *value));
    let y = |value: f64| bottom - value / axis.most * panel.height;
    text(out, [LEFT, top - 10.0], "start", 12, panel.title);
    for value in axis.ticks() {
        line(out, [LEFT, y(value), RIGHT, y(value)], GRID, "stroke-opacity=\"0.3\"");
        text(out, [LEFT - 6.0, y(value) + 4.0], "end", 11, &axis.label(value));
    }
    let time = Axis::new([all / 1.1].into_iter());
    for second in time.ticks().filter(|second| *second <= all) {
        line(out, [x(second, all), bottom, x(second, all), bottom + 4.0], GRID, "");
        text(out, [x(second, all), bottom + 17.0], "middle", 11, &time.label(second));
    }
    line(out, [LEFT, bottom, RIGHT, bottom], GRID, "");
    let path = panel.points.iter().map(|[second, value]| format!("{:.1},{:.1}", x(*second, all), y(*value)));
    let path = path.collect::<Vec<_>>().join(" ");
    let _ = writeln!(
        out,
        "<polyline points=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" stroke-linejoin=\"round\"/>",
        panel.colour
    );
}

/// Draws the rates of the first and of the last span.
fn spans(out: &mut String, panel: &Panel, top: f64, figures: &SustainedFigures) {
    let axis = Axis::new(panel.points.iter().map(|[_, value]| *value));
    let bottom = top + panel.height;
    let all = figures.seconds;
    let spans = [
        (0.0, figures.burst_seconds, figures.burst_tokens_per_second, "burst", "start"),
        (all - figures.sustained_seconds, all, figures.sustained_tokens_per_second, "sustained", "end"),
    ];
    for (from, to, rate, name, anchor) in spans {
        let y = bottom - rate / axis.most * panel.height;
        line(out, [x(from, all), y, x(to, all), y], RED, "stroke-width=\"3\"");
        let place = if anchor == "start" { x(from, all) + 4.0 } else { x(to, all) - 4.0 };
        text(out, [place, bottom - 8.0], anchor, 12, &format!("{name} {rate:.1} tok/s"));
    }
}

#[cfg(test)]
mod tests {
    use honelm::bench::{Origin, Origins, Sustained};

    use super::*;

    #[test]
    fn quantities_without_values_have_no_panel() {
        let none = Origin { source: None, reason: Some("none".to_owned()) };
        let series: Vec<Second> = (1..=40)
            .map(|t| Second {
                end_seconds: f64::from(t),
                tokens_per_second: if t < 20 { 50.0 } else { 25.0 },
                temperature_celsius: Some(60.0),
                frequency_hertz: None,
                power_watts: None,
            })
            .collect();
        let figures = SustainedFigures::of(&series).expect("figures");
        let found = SustainedOutcome {
            record: 1,
            version: "0.1.0",
            date: String::new(),
            cpu: None,
            cpus: honelm::Cpus { cpus: 1, cpu_limit: None },
            model: "<m>".to_owned(),
            encoding: "Q4_0".to_owned(),
            device: "cpu".to_owned(),
            threads: 1,
            depth: 0,
            stretch: 64,
            run: Sustained { series, figures: Some(figures), interrupted: false },
            sensors: Origins { temperature: none.clone(), frequency: none.clone(), power: none },
        };
        let picture = of(&found, &figures);
        assert_eq!(picture.matches("<polyline").count(), 2, "{picture}");
        assert!(picture.contains("temperature") && !picture.contains("power"), "{picture}");
        assert!(picture.contains("&lt;m&gt; Q4_0: 50.0% of the first rate retained"), "{picture}");
        assert!(picture.contains("burst 50.0 tok/s") && picture.contains("sustained 25.0 tok/s"), "{picture}");
    }
}
