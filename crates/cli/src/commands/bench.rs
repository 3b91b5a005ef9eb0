//! `honelm bench`: the speed of prefill and decode, measured as llama-bench does.

use clap::Args;
use honelm::{BenchModel, BenchOptions, BenchRow, Encoding, RunOptions, Speculate, SpeculationOptions};

use crate::arguments::{Global, at_least_one, encoding_parser, not_negative};
use crate::commands::generation::speculate;
use crate::commands::rows::measured;
use crate::commands::speculation;
use crate::failure::Failure;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm bench pocket", ""),
            ("honelm bench --shape llama-3.2-1b --encoding q4_0", "random weights in a published shape"),
            ("honelm bench model.gguf -p 128,512 -n 64 -d 0,4096 -r 3 --context 8192", ""),
            ("honelm bench pocket -p 0 -n 128 --json", "decoding only, one JSON document per test"),
            ("honelm bench pocket -p 0 --rows 1,2,4,8,16", "the cost of a step of several rows"),
            ("honelm bench pocket --placement", "the time of every operation"),
            (
                "honelm bench model.gguf --speculate auto --draft small.gguf -n 64 -r 30",
                "speculative decoding in pairs",
            ),
        ],
        &[
            "Tests have the names of llama-bench: pp512 is the prefill of 512 tokens, tg64 the decoding of 64 tokens, and \
           tg64@d4096 the same with 4096 tokens in the cache. tg64x4 decodes 4 sequences at once, and tg64/draft4 runs 4 rows \
           of one sequence in a step and keeps one, as the verification of a draft does.",
        ],
    )
}

/// Measure prefill and decode speed
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Bench {
    /// The model: a folder, a GGUF file or a name [default: the shipped model]
    #[arg(conflicts_with = "shape")]
    model: Option<String>,

    /// Use random weights in the shape of llama-3.2-1b, llama-3.2-3b or llama-3.1-8b
    #[arg(long, value_name = "NAME", requires = "encoding")]
    shape: Option<String>,

    /// Encoding of the random weights
    #[arg(long, value_name = "ENCODING", requires = "shape", value_parser = encoding_parser(), ignore_case = true)]
    encoding: Option<Encoding>,

    /// Tokens to prefill, one test per number; 0 is no test
    #[arg(short, long, value_name = "N", default_value = "512", value_delimiter = ',', value_parser = count, allow_negative_numbers = true)]
    prompt: Vec<usize>,

    /// Tokens to decode, one test per number; 0 is no test
    #[arg(short = 'n', long, value_name = "N", default_value = "64", value_delimiter = ',', value_parser = count, allow_negative_numbers = true)]
    generate: Vec<usize>,

    /// Tokens in the cache before each test, one round of tests per number
    #[arg(short, long, value_name = "N", default_value = "0", value_delimiter = ',', value_parser = count, allow_negative_numbers = true)]
    depth: Vec<usize>,

    /// Rows per decoding step: compares the cost of steps of each number, of several sequences and of a draft
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = at_least_one, allow_negative_numbers = true)]
    rows: Vec<usize>,

    /// Most tokens per prefill step
    #[arg(short, long, value_name = "N", default_value_t = 512, value_parser = at_least_one, allow_negative_numbers = true)]
    batch: usize,

    /// Repetitions of each test, after one that is not counted
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = at_least_one, allow_negative_numbers = true)]
    repeats: usize,

    /// Measure speculative decoding instead, with drafts of ngram, draft or auto: answers of -n tokens to classes of prompts, in
    /// pairs with plain decoding
    #[arg(long, value_name = "HOW", conflicts_with_all = ["shape", "prompt", "depth", "batch", "placement"], value_parser = speculate())]
    speculate: Option<Speculate>,

    /// Draft model for --speculate: a folder, a GGUF file or a name
    #[arg(long, value_name = "MODEL", requires = "speculate")]
    draft: Option<String>,

    /// Temperature of the answers for --speculate
    #[arg(long, value_name = "T", requires = "speculate", default_value_t = 0.0, value_parser = not_negative, allow_negative_numbers = true)]
    temperature: f32,

    /// Measure every operation: its device, time, and bytes read and written
    #[arg(long)]
    placement: bool,
}

/// Parses a number of tokens.
fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected whole numbers of at least 0, with commas between them".to_owned())
}

impl Bench {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        if let Some(speculate) = self.speculate {
            let draft = self.draft.as_deref().map(|name| global.model(Some(name))).transpose()?;
            let options = SpeculationOptions {
                model: global.model(self.model.as_deref())?,
                run: RunOptions { speculate, draft, ..global.run_options() },
                tokens: self.generate.iter().copied().max().unwrap_or(0),
                rounds: self.repeats,
                temperature: self.temperature,
            };
            return speculation::run(&options, global);
        }
        let model = match (self.shape, self.encoding) {
            (Some(shape), Some(encoding)) => BenchModel::Synthetic { shape, encoding },
            _ => BenchModel::Path(global.model(self.model.as_deref())?),
        };
        let options = BenchOptions {
            model,
            prompts: self.prompt,
            generates: self.generate,
            depths: self.depth,
            rows: self.rows,
            batch: self.batch,
            repeats: self.repeats,
            run: global.run_options(),
            placement: self.placement,
        };
        let rows = measured(global, |events, on_row| honelm::benchmark(&options, events, on_row))?;
        if !global.json {
            print(&rows)?;
        }
        Ok(0)
    }
}

fn print(rows: &[BenchRow]) -> Result<(), Failure> {
    let titles = ["model", "encoding", "size", "parameters", "threads", "compute", "test", "tok/s", "step", "cost"];
    // Only tests of several rows have a cost.
    let shown = if rows.iter().any(|row| row.step_cost.is_some()) { titles.len() } else { titles.len() - 2 };
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let speed = &row.measurement;
            let step = row.step_seconds.map_or_else(String::new, |s| format!("{:.3} ms", 1e3 * s));
            let mut cells = vec![
                row.model.clone(),
                row.encoding.clone(),
                honelm::units::bytes(row.size_bytes),
                format!("{:.2} M", row.parameters as f64 / 1e6),
                row.threads.to_string(),
                row.compute.clone(),
                speed.test.clone(),
                format!("{:.2} ± {:.2}", speed.tokens_per_second, speed.tokens_per_second_stddev),
                step,
                row.step_cost.map_or_else(String::new, |cost| format!("{cost:.2}")),
            ];
            cells.truncate(shown);
            cells
        })
        .collect();
    let table = output::table(&titles[..shown], &cells).rank(1, &["size", "parameters", "threads", "compute"]);
    output::line(&output::fitted(table))?;
    let Some(first) = rows.first() else { return Ok(()) };
    let memory =
        first.peak_memory_bytes.map_or_else(String::new, |b| format!("; peak memory {}", honelm::units::bytes(b)));
    let gpu = first.gpu_memory_bytes.map_or_else(String::new, |b| format!("; on the GPU {}", honelm::units::bytes(b)));
    let loaded = honelm::units::seconds(first.load_seconds);
    output::line(&format!("{}; context {}; loaded in {loaded}{memory}{gpu}", first.device, first.context))?;
    rows.iter().filter(|row| !row.placement.is_empty()).try_for_each(print_placement)
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
                honelm::units::seconds(placed.seconds),
                format!("{:.1}%", 100.0 * placed.seconds / total.max(f64::MIN_POSITIVE)),
                honelm::units::bytes(placed.weight_bytes),
                honelm::units::bytes(placed.activation_bytes),
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
            let time = honelm::units::seconds(timed.seconds);
            vec![timed.kernel.to_owned(), timed.calls.to_string(), time, format!("{share:.1}%")]
        })
        .collect();
    output::line("\nKernels, each in its own pass, by the clock of the device")?;
    output::line(&output::fitted(output::table(&["kernel", "calls", "time", "share"], &cells)))
}
