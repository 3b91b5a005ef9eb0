//! The tables of `honelm bench`.

use honelm::bench::Limit;
use honelm::{BenchRow, CeilingRow, units};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;
use crate::table::Table;

/// Prints the tests, and what they have in common.
pub fn print(rows: &[BenchRow], global: &Global) -> Result<(), Failure> {
    let Some(first) = rows.first() else { return Ok(()) };
    first.cpus.notes(first.threads).iter().for_each(|note| global.note(&format!("note: {note}")));
    let table = if first.measurement.what.first_token { first_tokens(rows) } else { rates(rows) };
    output::line(&output::fitted(table.rank(1, &["size", "parameters", "threads", "compute"])))?;
    let memory = first.peak_memory_bytes.map_or_else(String::new, |peak| {
        format!("; peak memory {}, planned {}", units::bytes(peak), units::bytes(first.planned_memory_bytes))
    });
    let gpu = first.gpu_memory_bytes.map_or_else(String::new, |b| format!("; on the GPU {}", units::bytes(b)));
    let storage = first.load_read_bytes.filter(|&read| read > 0 || first.cold);
    let storage = storage.map_or_else(String::new, |read| format!(", {} of it from storage", units::bytes(read)));
    let loaded = units::seconds(first.load_seconds);
    output::line(&format!("{}; context {}; loaded in {loaded}{storage}{memory}{gpu}", first.device, first.context))?;
    output::line(&limits(rows))?;
    output::line(&energy(rows))?;
    rows.iter().filter(|row| !row.placement.is_empty()).try_for_each(print_placement)
}

/// Returns the cells that all tables begin with.
fn about(row: &BenchRow) -> Vec<String> {
    vec![
        row.model.clone(),
        row.encoding.clone(),
        units::bytes(row.size_bytes),
        format!("{:.2} M", row.parameters as f64 / 1e6),
        row.threads.to_string(),
        row.compute.clone(),
        row.measurement.test.clone(),
    ]
}

const ABOUT: [&str; 7] = ["model", "encoding", "size", "parameters", "threads", "compute", "test"];

fn rates(rows: &[BenchRow]) -> Table {
    let titles = [&ABOUT[..], &["tok/s", "ceiling", "step", "cost"]].concat();
    // Only tests of several rows have a cost.
    let shown = if rows.iter().any(|row| row.step_cost.is_some()) { titles.len() } else { titles.len() - 2 };
    let cells = rows.iter().map(|row| {
        let speed = &row.measurement;
        let mut cells = about(row);
        cells.extend([
            format!("{:.2} ± {:.2}", speed.tokens_per_second, speed.tokens_per_second_stddev),
            row.ceilings.as_ref().map_or_else(|| "-".to_owned(), percent),
            row.step_seconds.map_or_else(String::new, |s| format!("{:.3} ms", 1e3 * s)),
            row.step_cost.map_or_else(String::new, |cost| format!("{cost:.2}")),
        ]);
        cells.truncate(shown);
        cells
    });
    output::table(&titles[..shown], &cells.collect::<Vec<_>>())
}

fn first_tokens(rows: &[BenchRow]) -> Table {
    let titles = [&ABOUT[..], &["median", "95%", "least", "ceiling"]].concat();
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |s| format!("{:.2} ms", 1e3 * s));
    let cells = rows.iter().map(|row| {
        let mut cells = about(row);
        cells.extend([
            time(row.first_token_seconds),
            time(row.first_token_p95_seconds),
            time(row.ceilings.as_ref().map(|found| found.seconds)),
            row.ceilings.as_ref().map_or_else(|| "-".to_owned(), percent),
        ]);
        cells
    });
    output::table(&titles, &cells.collect::<Vec<_>>())
}

/// Returns the share of the rate that the machine allows, and what limits it.
fn percent(found: &CeilingRow) -> String {
    let limit = match found.limited_by {
        Limit::Memory => "memory",
        Limit::Compute => "compute",
    };
    format!("{:.0}% of {limit}", found.percent)
}

/// Returns the ranges of the probed limits.
fn limits(rows: &[BenchRow]) -> String {
    let range = |of: fn(&CeilingRow) -> f64, unit: &str| {
        let values = || rows.iter().filter_map(|row| row.ceilings.as_ref()).map(of);
        let (least, most) = (values().fold(f64::INFINITY, f64::min) / 1e9, values().fold(0.0, f64::max) / 1e9);
        if format!("{least:.1}") == format!("{most:.1}") {
            format!("{most:.1} {unit}")
        } else {
            format!("{least:.1} to {most:.1} {unit}")
        }
    };
    if rows.iter().all(|row| row.ceilings.is_none()) {
        return "Ceilings: not known on a GPU".to_owned();
    }
    let memory = range(|found| found.probed.read_bytes_per_second, "GB/s");
    let int8 = range(|found| found.probed.int8_operations_per_second, "Gop/s");
    let f32 = range(|found| found.probed.f32_operations_per_second, "Gflop/s");
    format!("Ceilings, probed beside the tests: memory {memory}; int8 {int8}; f32 {f32}")
}

fn energy(rows: &[BenchRow]) -> String {
    let each = rows.iter().filter_map(|row| Some((row, row.joules_per_token?)));
    let each: Vec<String> = each.map(|(row, joules)| format!("{} {joules:.4} J", row.measurement.test)).collect();
    match (each.is_empty(), rows.first().and_then(|row| row.no_energy.as_deref())) {
        (false, _) => format!("Energy per token: {}", each.join(", ")),
        (true, reason) => format!("Energy: not known, {}", reason.unwrap_or("the counters could not be read")),
    }
}

/// Prints the operations and kernels of one test.
fn print_placement(row: &BenchRow) -> Result<(), Failure> {
    let total: f64 = row.placement.iter().map(|operation| operation.seconds).sum();
    let titles = ["operation", "device", "calls", "time", "share", "weights", "activations", "GB/s"];
    let cells: Vec<Vec<String>> = row
        .placement
        .iter()
        .map(|placed| {
            let bytes = placed.weight_bytes + placed.activation_bytes;
            let rate = if placed.seconds > 0.0 { bytes as f64 / placed.seconds / 1e9 } else { 0.0 };
            vec![
                placed.operation.to_owned(),
                placed.device.clone(),
                placed.calls.to_string(),
                units::seconds(placed.seconds),
                format!("{:.1}%", 100.0 * placed.seconds / total.max(f64::MIN_POSITIVE)),
                units::bytes(placed.weight_bytes),
                units::bytes(placed.activation_bytes),
                format!("{rate:.1}"),
            ]
        })
        .collect();
    output::line(&format!("\n{}, all repetitions", row.measurement.test))?;
    let table = output::table(&titles, &cells).rank(1, &["weights", "activations", "GB/s"]);
    output::line(&output::fitted(table))?;
    if row.kernels.is_empty() {
        return Ok(());
    }
    let total: f64 = row.kernels.iter().map(|kernel| kernel.seconds).sum();
    let cells: Vec<Vec<String>> = row
        .kernels
        .iter()
        .map(|timed| {
            let share = 100.0 * timed.seconds / total.max(f64::MIN_POSITIVE);
            let time = units::seconds(timed.seconds);
            vec![timed.kernel.to_owned(), timed.calls.to_string(), time, format!("{share:.1}%")]
        })
        .collect();
    output::line("\nKernels, each in its own pass, by the clock of the device")?;
    output::line(&output::fitted(output::table(&["kernel", "calls", "time", "share"], &cells)))
}
