//! `honelm bench`: the speed of prefill and decode, measured as llama-bench does.

mod compare;
mod plot;
mod sustained;
mod table;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use honelm::{BenchModel, BenchOptions, BenchRow, Encoding, Events, RunOptions, Speculate, SpeculationOptions};

use crate::arguments::{Global, at_least_one, encoding_parser, not_negative, positive};
use crate::commands::generation::speculate;
use crate::commands::rows::{measured, shown};
use crate::commands::speculation;
use crate::failure::Failure;
use crate::{help, output};

/// The seconds of a minute.
const SECONDS: f64 = 60.0;

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
            ("honelm bench pocket --prefix 480 -p 32 -r 40", "the first token behind a cached prefix"),
            ("honelm bench pocket --sustained 15 -o heat.svg", "decoding for 15 minutes, as a plot"),
            ("honelm bench pocket --json > before.json", "a record"),
            ("honelm bench pocket --compare before.json", "the record, and a run now"),
            ("honelm bench --compare before.json browser.json", "two records"),
            ("honelm bench pocket --output jsonl", "lines as llama-bench prints them"),
            (
                "honelm bench model.gguf --speculate auto --draft small.gguf -n 64 -r 30",
                "speculative decoding in pairs",
            ),
        ],
        &[
            "Tests have the names of llama-bench: pp512 is the prefill of 512 tokens, tg64 the decoding of 64 tokens, and \
           tg64@d4096 the same with 4096 tokens in the cache. tg64x4 decodes 4 sequences at once, and tg64/draft4 runs 4 rows \
           of one sequence in a step and keeps one, as the verification of a draft does. ft32@d480 is the time to the first token \
           of 32 new tokens behind 480 cached ones.",
            "Ceiling is the rate that the machine allows: its memory bandwidth and its rate of multiply-adds, which short probes with the \
           kernels' own instructions measure before and after each test. docs/bench.md tells how to read the figures.",
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

    /// Measure the time to the first token of prompts of -p tokens behind this many cached ones: median and 95th percentile
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true, conflicts_with_all = ["generate", "depth", "rows", "speculate"])]
    prefix: Option<usize>,

    /// Load the model from storage: drop the pages of its files from memory before
    #[arg(long, conflicts_with_all = ["shape", "speculate"])]
    cold: bool,

    /// Decode for this many minutes instead, -n tokens at a time, and show what is left of the first rate; Ctrl-C ends the run and
    /// keeps its figures
    #[arg(long, value_name = "MINUTES", value_parser = positive, allow_negative_numbers = true, conflicts_with_all = ["prompt", "rows", "repeats", "speculate", "placement", "prefix", "compare", "output"])]
    sustained: Option<f32>,

    /// Write a plot of --sustained, SVG
    #[arg(short = 'o', long, value_name = "FILE", requires = "sustained")]
    plot: Option<PathBuf>,

    /// Replace an earlier plot
    #[arg(long, requires = "plot")]
    force: bool,

    /// Compare two records, or a record and a run now: files of --json, records that the page exported, JSON of llama-bench
    #[arg(long, value_name = "FILE", num_args = 1..=2, conflicts_with_all = ["speculate", "placement", "output"])]
    compare: Vec<PathBuf>,

    /// The runs of both records were measured in turns
    #[arg(long, requires = "compare")]
    paired: bool,

    /// Form of the results
    #[arg(long, value_enum, value_name = "FORM", default_value = "table", conflicts_with = "speculate")]
    output: Form,
}

/// The form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    /// A line for each test with the keys of llama-bench
    Jsonl,
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
        if let [first, second] = &self.compare[..] {
            if self.model.is_some() || self.shape.is_some() {
                let problem = "--compare: found two records and a model to run, expected one of them";
                return Err(Failure::Usage(problem.to_owned()));
            }
            return compare::records(first, second, self.paired, global);
        }
        if self.output == Form::Jsonl && global.json {
            return Err(Failure::Usage("--json and --output jsonl: found both, expected one of them".to_owned()));
        }
        if let Some(minutes) = self.sustained {
            let plot = self.plot.as_deref().map(|path| (path, self.force));
            return sustained::run(&self.options(global)?, f64::from(minutes) * SECONDS, plot, global);
        }
        let options = self.options(global)?;
        let measure =
            |events: Events<'_>, on_row: &mut dyn FnMut(&BenchRow) -> bool| honelm::benchmark(&options, events, on_row);
        if let [base] = &self.compare[..] {
            let base = compare::read(base)?;
            return compare::with_run(&base, &shown(global, |_| Ok(()), measure)?, self.paired, global);
        }
        if self.output == Form::Jsonl {
            let name = self.model.as_deref().or(self.shape.as_deref()).unwrap_or(honelm::SHIPPED);
            shown(global, |row: &BenchRow| output::json_line(&row.llama_bench(name)), measure)?;
            return Ok(0);
        }
        let rows = measured(global, measure)?;
        if !global.json {
            table::print(&rows, global)?;
        }
        Ok(0)
    }

    fn options(&self, global: &Global) -> Result<BenchOptions, Failure> {
        let model = match (&self.shape, self.encoding) {
            (Some(shape), Some(encoding)) => BenchModel::Synthetic { shape: shape.clone(), encoding },
            _ => BenchModel::Path(global.model(self.model.as_deref())?),
        };
        Ok(BenchOptions {
            model,
            prompts: self.prompt.clone(),
            generates: self.generate.clone(),
            depths: self.depth.clone(),
            rows: self.rows.clone(),
            batch: self.batch,
            repeats: self.repeats,
            run: global.run_options(),
            placement: self.placement,
            prefix: self.prefix,
            cold: self.cold,
        })
    }
}
