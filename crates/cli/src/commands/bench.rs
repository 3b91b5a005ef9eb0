//! `honelm bench`: prefill and decode, as llama-bench has them.

use clap::Args;
use honelm::{BenchModel, BenchOptions, BenchRow, Encoding};

use crate::arguments::Global;
use crate::commands::optimize::at_least_one;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  honelm bench pocket
  honelm bench --shape llama-3.2-1b --encoding q4_0     made-up weights of a published shape
  honelm bench model.gguf -p 128,512 -n 64 -d 0,4096 -r 3 --context 8192
  honelm bench pocket -p 0 -n 128 --json                decode alone, JSON lines
  honelm bench pocket --placement                       which operation took how long, and where

Tests are named as llama-bench names them: pp512 prefills 512 tokens, tg64 decodes 64,
tg64@d4096 does so behind 4096.";

/// Measure prefill and decode speed
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// A folder, a GGUF file, or a name; by default the shipped model
    #[arg(conflicts_with = "shape")]
    model: Option<String>,

    /// Made-up weights of a published model's shape: llama-3.2-1b, llama-3.2-3b, llama-3.1-8b
    #[arg(long, value_name = "NAME", requires = "encoding")]
    shape: Option<String>,

    /// Their encoding: q4_0, q8_0, f16, ...
    #[arg(long, value_name = "E", requires = "shape", value_parser = encoding)]
    encoding: Option<Encoding>,

    /// Tokens to prefill; several tests with commas, 0 for none
    #[arg(short, long, value_name = "N", default_value = "512", value_delimiter = ',')]
    prompt: Vec<usize>,

    /// Tokens to decode; several tests with commas, 0 for none
    #[arg(short = 'n', long, value_name = "N", default_value = "64", value_delimiter = ',')]
    generate: Vec<usize>,

    /// Tokens that are cached before the timing begins; several tests with commas
    #[arg(short, long, value_name = "N", default_value = "0", value_delimiter = ',')]
    depth: Vec<usize>,

    /// Most rows of a prefill step
    #[arg(short, long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    batch: usize,

    /// Repeats of a test, after one that is not counted
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    repeats: usize,

    /// Time every operation: which ran where, how long, and what it read and wrote
    #[arg(long)]
    placement: bool,
}

fn encoding(name: &str) -> Result<Encoding, String> {
    Encoding::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Encoding::ALL.iter().map(|e| e.name()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

impl Bench {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let model = match (self.shape, self.encoding) {
            (Some(shape), Some(encoding)) => BenchModel::Synthetic { shape, encoding },
            _ => BenchModel::Path(global.model(self.model.as_deref())?),
        };
        let options = BenchOptions {
            model,
            prompts: self.prompt,
            generates: self.generate,
            depths: self.depth,
            batch: self.batch,
            repeats: self.repeats,
            run: global.run_options(),
            placement: self.placement,
        };
        let mut progress = Progress::new(global);
        let mut failure = None;
        let rows = honelm::benchmark(&options, &mut |event| progress.event(event), &mut |row| {
            failure = if global.json { output::json_line(row).err() } else { None };
            failure.is_none()
        });
        progress.finish();
        if let Some(failure) = failure {
            return Err(failure);
        }
        let rows = rows?;
        if !global.json {
            print(&rows)?;
        }
        Ok(0)
    }
}

fn print(rows: &[BenchRow]) -> Result<(), Failure> {
    let titles = ["model", "encoding", "size", "parameters", "threads", "compute", "test", "tok/s"];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let speed = &row.measurement;
            vec![
                row.model.clone(),
                row.encoding.clone(),
                honelm::optimize::bytes(row.size_bytes),
                format!("{:.2} M", row.parameters as f64 / 1e6),
                row.threads.to_string(),
                row.compute.clone(),
                speed.test.clone(),
                format!("{:.2} ± {:.2}", speed.tokens_per_second, speed.tokens_per_second_stddev),
            ]
        })
        .collect();
    output::line(&output::fitted(output::table(&titles, &cells)))?;
    let Some(first) = rows.first() else { return Ok(()) };
    let memory =
        first.peak_memory_bytes.map_or_else(String::new, |b| format!("; peak memory {}", honelm::optimize::bytes(b)));
    let gpu =
        first.gpu_memory_bytes.map_or_else(String::new, |b| format!("; on the GPU {}", honelm::optimize::bytes(b)));
    let loaded = honelm::optimize::seconds(first.load_seconds);
    output::line(&format!("{}; context {}; loaded in {loaded}{memory}{gpu}", first.device, first.context))?;
    rows.iter().filter(|row| !row.placement.is_empty()).try_for_each(print_placement)
}

/// Which operation ran where, of one test.
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
                honelm::optimize::seconds(placed.seconds),
                format!("{:.1}%", 100.0 * placed.seconds / total.max(f64::MIN_POSITIVE)),
                honelm::optimize::bytes(placed.weight_bytes),
                honelm::optimize::bytes(placed.activation_bytes),
                format!("{rate:.1}"),
            ]
        })
        .collect();
    output::line(&format!("\n{}, all repeats", row.measurement.test))?;
    output::line(&output::fitted(output::table(&titles, &cells)))?;
    if row.kernels.is_empty() {
        return Ok(());
    }
    let total: f64 = row.kernels.iter().map(|kernel| kernel.seconds).sum();
    let cells: Vec<Vec<String>> = row
        .kernels
        .iter()
        .map(|timed| {
            let share = 100.0 * timed.seconds / total.max(f64::MIN_POSITIVE);
            let time = honelm::optimize::seconds(timed.seconds);
            vec![timed.kernel.to_owned(), timed.calls.to_string(), time, format!("{share:.1}%")]
        })
        .collect();
    output::line("\nby the device's own clock, each kernel in a pass of its own")?;
    output::line(&output::fitted(output::table(&["kernel", "calls", "time", "share"], &cells)))
}
