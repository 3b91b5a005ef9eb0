//! `honelm bench --sustained`: decoding for minutes.

use std::path::Path;

use honelm::bench::{Origin, SustainedFigures};
use honelm::{BenchOptions, SustainedOutcome, bench_sustained};

use super::plot;
use crate::arguments::Global;
use crate::commands::plots;
use crate::failure::{Failure, INTERRUPTED};
use crate::output;
use crate::progress::Progress;

/// Decodes for `seconds`, prints the figures and writes a plot. Ctrl-C ends the run, whose figures are kept.
pub fn run(options: &BenchOptions, seconds: f64, plot: Option<(&Path, bool)>, global: &Global) -> Result<u8, Failure> {
    plot.map(|(path, force)| plots::check(path, force)).transpose()?;
    let mut progress = Progress::new(global);
    let found = bench_sustained(options, seconds, &mut |event| progress.event(event));
    progress.finish();
    let found = found?;
    let Some(figures) = found.run.figures else { return Err(Failure::Interrupted) };
    if let Some((path, force)) = plot {
        plots::write(path, force, &plot::of(&found, &figures), global)?;
    }
    if global.json {
        output::json_line(&found)?;
    } else {
        found.cpus.notes(found.threads).iter().for_each(|note| global.note(&format!("note: {note}")));
        output::write(&text(&found, &figures))?;
    }
    Ok(if found.run.interrupted { INTERRUPTED } else { 0 })
}

fn text(found: &SustainedOutcome, figures: &SustainedFigures) -> String {
    let threads = format!("{} thread{}", found.threads, if found.threads == 1 { "" } else { "s" });
    let rate = |rate: f64, place: &str, seconds: f64| format!("{rate:.1} tok/s ({place} {seconds:.1} s)");
    let drop = |time: Option<f64>| time.map_or_else(|| "never".to_owned(), |time| format!("after {time:.0} s"));
    let all = |of: fn(&honelm::bench::Second) -> Option<f64>| found.run.series.iter().filter_map(of);
    let least_and_most = |values: Vec<f64>, unit: &str| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{least:.1} to {most:.1} {unit}")
    };
    let sensor = |origin: &Origin, values: Vec<f64>, unit: &str| match (&origin.source, values.is_empty()) {
        (Some(source), false) => format!("{} ({source})", least_and_most(values, unit)),
        _ => format!("not known: {}", origin.reason.as_deref().unwrap_or("the sensor gave no value")),
    };
    let sensors = &found.sensors;
    let gigahertz = all(|s| s.frequency_hertz).map(|hertz| hertz / 1e9).collect();
    let energy = figures
        .joules_per_token
        .map_or_else(|| "not known, as the power is not".to_owned(), |joules| format!("{joules:.3} J for each token"));
    output::facts(&[
        ("model", format!("{} {}", found.model, found.encoding)),
        ("device", format!("{}, {threads}", found.device)),
        ("decoded", format!("{:.0} tokens in {:.1} s", figures.tokens, figures.seconds)),
        ("burst", rate(figures.burst_tokens_per_second, "first", figures.burst_seconds)),
        ("sustained", rate(figures.sustained_tokens_per_second, "last", figures.sustained_seconds)),
        ("retained", format!("{:.1}%", figures.retained_percent)),
        ("10% slower", drop(figures.drop_10_percent_seconds)),
        ("25% slower", drop(figures.drop_25_percent_seconds)),
        ("temperature", sensor(&sensors.temperature, all(|s| s.temperature_celsius).collect(), "°C")),
        ("frequency", sensor(&sensors.frequency, gigahertz, "GHz")),
        ("power", sensor(&sensors.power, all(|s| s.power_watts).collect(), "W")),
        ("energy", energy),
    ])
}
