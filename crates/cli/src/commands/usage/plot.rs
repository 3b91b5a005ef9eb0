//! The plot of `honelm usage`: requests and money of each group as bars.

use honelm::accounting::{Money, Totals};
use honelm::svg::{self, Axis, BLUE, CHARACTER, GREEN, GRID, RED, bar, line, text};
use honelm_server::gateway::store::Group;

use super::Report;

/// The widths of the picture and of the bars of a panel, in pixels.
const WIDTH: f64 = 900.0;
const PANEL: f64 = 320.0;
/// The top of the first bar, and the distance between two.
const TOP: f64 = 92.0;
const STEP: f64 = 24.0;
/// The height of a bar.
const THICK: f64 = 15.0;
/// The most characters of a name.
const MOST: usize = 16;

/// The parts of a bar with their colours.
type Parts = [(f64, &'static str); 3];

/// Returns the plot.
pub fn of(report: &Report) -> String {
    let height = TOP + STEP * report.groups.len() as f64 + 50.0;
    let title = format!("Requests and cost by {}", report.by.name());
    let mut out = svg::begin([WIDTH, height], &title);
    text(&mut out, [20.0, 26.0], "start", 15, &title);
    let names = 24.0 + CHARACTER * MOST as f64;
    for (row, group) in report.groups.iter().enumerate() {
        text(&mut out, [names - 8.0, TOP + STEP * row as f64 + 12.0], "end", 12, &short(&group.name));
    }
    let requests = |totals: &Totals| -> Parts {
        let cloud = totals.requests.saturating_sub(totals.local_requests + totals.refused_requests);
        [(totals.local_requests as f64, GREEN), (cloud as f64, BLUE), (totals.refused_requests as f64, RED)]
    };
    let legend = [("on the device", GREEN), ("in the cloud", BLUE), ("refused", RED)];
    panel(&mut out, names, "requests", &legend, &report.groups, requests);
    let money = |totals: &Totals| -> Parts {
        let saved = totals.saved().max(Money::ZERO);
        [(totals.cost.units(), BLUE), (saved.units(), GREEN), (0.0, RED)]
    };
    let title = format!("money ({})", report.currency);
    let legend = [("cost", BLUE), ("saved", GREEN)];
    panel(&mut out, names + PANEL + 90.0, &title, &legend, &report.groups, money);
    svg::end(out)
}

/// Draws the bars of all groups, and their axis.
fn panel(
    out: &mut String,
    left: f64,
    title: &str,
    legend: &[(&str, &str)],
    groups: &[Group],
    parts: impl Fn(&Totals) -> Parts,
) {
    text(out, [left, 52.0], "start", 12, title);
    let mut x = left;
    for (name, colour) in legend {
        bar(out, [x, 62.0], [10.0, 10.0], colour);
        text(out, [x + 15.0, 71.0], "start", 11, name);
        x += 30.0 + CHARACTER * name.len() as f64;
    }
    let sum = |group: &Group| parts(&group.totals).iter().map(|(value, _)| value).sum::<f64>();
    let axis = Axis::new(groups.iter().map(sum));
    let bottom = TOP + STEP * groups.len() as f64;
    for tick in axis.ticks() {
        let at = left + tick / axis.most * PANEL;
        line(out, [at, TOP - 4.0, at, bottom], GRID, "stroke-opacity=\"0.3\"");
        text(out, [at, bottom + 16.0], "middle", 11, &axis.label(tick));
    }
    for (row, group) in groups.iter().enumerate() {
        let mut at = left;
        for (value, colour) in parts(&group.totals) {
            let width = value / axis.most * PANEL;
            if width > 0.0 {
                bar(out, [at, TOP + STEP * row as f64], [width, THICK], colour);
            }
            at += width;
        }
    }
    line(out, [left, TOP - 4.0, left, bottom], GRID, "");
}

/// Returns a name that fits beside the bars.
fn short(name: &str) -> String {
    match name.char_indices().nth(MOST) {
        None => name.to_owned(),
        Some(_) => format!("{}…", name.chars().take(MOST - 1).collect::<String>().trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use honelm_server::gateway::store::By;

    use super::*;

    #[test]
    fn groups_are_bars_of_the_right_length_and_names_are_escaped() {
        let totals = Totals {
            requests: 10,
            local_requests: 8,
            refused_requests: 1,
            cost: Money::from_units(1.0),
            cloud_only_cost: Money::from_units(4.0),
            ..Totals::default()
        };
        let group = Group { name: "<a client with a long name>".to_owned(), totals, ..Group::default() };
        let report = Report { by: By::Client, currency: "USD".to_owned(), groups: vec![group.clone()], total: group };
        let picture = of(&report);
        assert!(picture.contains("&lt;a client with…") && !picture.contains("<a client"), "{picture}");
        let widths = |colour: &str| -> Vec<f64> {
            let bars = picture.lines().filter(|line| line.contains("height=\"15.0\"") && line.contains(colour));
            let width = |line: &str| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok();
            bars.filter_map(width).collect()
        };
        let (device, cloud, refused) = (widths(GREEN), widths(BLUE), widths(RED));
        // Eight, one and one of ten requests, then three and one of four units of money.
        assert!((device[0] - 8.0 * cloud[0]).abs() < 1.0 && (cloud[0] - refused[0]).abs() < 0.2, "{picture}");
        assert!((device[1] - 3.0 * cloud[1]).abs() < 0.5, "{picture}");
    }
}
