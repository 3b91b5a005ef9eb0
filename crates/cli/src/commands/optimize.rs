//! `honelm optimize`: the main job.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use honelm::optimize::{COLUMNS, Report};
use honelm::{Container, Error, OptimizeOptions, Outcome, Protocol};
use serde_json::json;

use crate::arguments::{self, Global, text_source};
use crate::commands::measure;
use crate::failure::{BUDGET, Failure, NOT_ENOUGH_TEXT};
use crate::output;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  honelm optimize                                   the shipped model, into honelm-out/pocket
  honelm optimize path/to/model --budget 0.2        a stricter budget, in perplexity
  honelm optimize path/to/model --bits 4            4 bits or nothing
  honelm optimize path/to/model --container gptq    a folder in GPTQ's format
  honelm optimize path/to/model --calibration mine.jsonl --text held-out.txt

DIR is new, empty, or an earlier run's; it is not the model, in it or around it. A second run on
the same inputs resumes, or says that it is done. Status 3: no candidate holds
the budget, and nothing is published. Status 4: not enough text for a verdict.";

/// Find the smallest file of a model that holds a quality budget, and prove it
///
/// Quantises from the smallest candidate upward, reloads each file, measures it against the original on text that was
/// never calibrated on, and publishes the first one whose upper bound (95%) holds the budget.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Optimize {
    /// A folder, a GGUF file, or a name; by default the shipped model
    model: Option<String>,

    /// Output folder; by default honelm-out/MODEL, MODEL being its name
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// What is written
    #[arg(long, value_enum, default_value_t = ContainerName::Gguf)]
    container: ContainerName,

    /// One width alone: 4, 5, 6, 8 (gguf), 4, 8 (gptq)
    #[arg(long, value_name = "B")]
    bits: Option<u8>,

    /// Group size (gptq)
    #[arg(long, value_name = "G")]
    group_size: Option<usize>,

    /// Largest perplexity difference to the original
    #[arg(long, value_name = "DIFFERENCE", default_value_t = 0.5, value_parser = budget, allow_negative_numbers = true)]
    budget: f64,

    /// Text to calibrate on: plain, or JSON lines with a field `text`; by default the shipped one
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,

    /// Calibration samples to use, at most
    #[arg(long = "samples", alias = "calibration-blocks", value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    calibration_samples: usize,

    /// Tokens in each calibration sample
    #[arg(long = "length", alias = "calibration-length", value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    calibration_length: usize,

    /// Text to be judged on; by default the shipped one
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// How perplexity is measured: llama.cpp-N, gptq-N, hf-stride-N
    #[arg(long, value_name = "P", default_value = "llama.cpp-512", value_parser = arguments::protocol)]
    protocol: Protocol,

    /// Begin afresh, even where earlier work on this model could be resumed or is done
    #[arg(long)]
    restart: bool,

    /// Begin afresh and replace what earlier runs left in DIR, whatever the model; write GGUF although it cannot say all that the tokenizer does
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ContainerName {
    Gguf,
    Gptq,
}

fn budget(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|e| e.to_string())?;
    if number.is_finite() { Ok(number) } else { Err("expected a finite number".to_owned()) }
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("expected at least 1".to_owned()),
        Ok(n) => Ok(n),
        Err(e) => Err(e.to_string()),
    }
}

impl Optimize {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let options = self.options(global)?;
        let mut progress = Progress::new(global);
        let outcome = honelm::optimize(&options, &mut |event| progress.event(event), &mut |path| {
            measure::in_own_process(global, path)
        });
        progress.finish();
        let outcome = outcome.map_err(without_verdict)?;
        let status = status(&outcome.report);
        if global.json {
            output::json(&document(&outcome, &options, status)?)?;
        } else {
            print(&outcome, &options, global)?;
        }
        Ok(status)
    }

    fn options(self, global: &Global) -> Result<OptimizeOptions, Failure> {
        let model = global.model(self.model.as_deref())?;
        let out = self.out.unwrap_or_else(|| Path::new("honelm-out").join(honelm::model_name(&model)));
        Ok(OptimizeOptions {
            out,
            container: match self.container {
                ContainerName::Gguf => Container::Gguf,
                ContainerName::Gptq => Container::Gptq,
            },
            bits: self.bits,
            group_size: self.group_size,
            budget: self.budget,
            calibration: text_source(self.calibration.as_deref()),
            calibration_samples: self.calibration_samples,
            calibration_length: self.calibration_length,
            text: text_source(self.text.as_deref()),
            protocol: self.protocol,
            restart: self.restart,
            force: self.force,
            run: global.run_options(),
            model,
        })
    }
}

/// A text too short for a single chunk is too short for a verdict.
fn without_verdict(error: Error) -> Failure {
    match error {
        Error::Eval(honelm::EvalError::TextTooShort { .. }) => Failure::NoVerdict(error),
        other => other.into(),
    }
}

/// The exit status of a report.
fn status(report: &Report) -> u8 {
    match report.chosen {
        Some(_) => 0,
        None if report.not_enough_text => NOT_ENOUGH_TEXT,
        None => BUDGET,
    }
}

/// The published model of a container.
fn published(options: &OptimizeOptions) -> PathBuf {
    options.out.join(match options.container {
        Container::Gguf => "model.gguf",
        Container::Gptq => "gptq",
    })
}

/// The report, and beside it where things are and, without a published model, why.
fn document(outcome: &Outcome, options: &OptimizeOptions, status: u8) -> Result<serde_json::Value, Failure> {
    let report = &outcome.report;
    let mut document = serde_json::to_value(report).map_err(|e| Failure::Io("JSON".to_owned(), e.into()))?;
    document["directory"] = json!(options.out);
    document["was_done"] = json!(outcome.was_done);
    let code = match status {
        BUDGET => "budget-exceeded",
        NOT_ENOUGH_TEXT => "not-enough-text",
        _ => {
            document["published"] = json!(published(options));
            return Ok(document);
        }
    };
    document["error"] = json!({ "code": code, "message": report.summary() });
    Ok(document)
}

fn print(outcome: &Outcome, options: &OptimizeOptions, global: &Global) -> Result<(), Failure> {
    let report = &outcome.report;
    if outcome.was_done {
        global.note("This was finished by an earlier run; --restart does it again.");
    }
    output::line(&tables(report))?;
    output::line(&format!("\n{}", report.summary()))?;
    report.fallback_lines().iter().try_for_each(|line| output::line(line))?;
    if let (Some(sample), Some(chosen)) = (&report.sample, &report.chosen) {
        let told = |text: &str| text.trim().replace('\n', "\n  ");
        output::line(&format!(
            "\n\"{}\"\n\noriginal:\n  {}\n\n{chosen}:\n  {}\n",
            sample.prompt,
            told(&sample.original),
            told(&sample.chosen)
        ))?;
        let file = published(options);
        output::line(&format!("{}\n{}", file.display(), options.out.join("report.md").display()))?;
        global.note(&format!("Talk with it: honelm chat {}", file.display()));
    } else {
        output::line(&options.out.join("report.md").display().to_string())?;
    }
    Ok(())
}

/// Columns that tell of quality; the others, of speed and memory, make the second table where one does not fit.
const QUALITY: usize = 9;

/// One table, or two that share their first column where the screen is too narrow for one.
fn tables(report: &Report) -> String {
    let titles: Vec<&str> = COLUMNS.iter().copied().chain(["peak memory"]).collect();
    let rows: Vec<Vec<String>> = report.rows.iter().map(|row| report.cells(row)).collect();
    let whole = output::table(&titles, &rows);
    if output::fits(&whole) {
        return output::fitted(whole);
    }
    let part = |columns: &[usize]| {
        let titles: Vec<&str> = columns.iter().filter_map(|&c| titles.get(c).copied()).collect();
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| columns.iter().filter_map(|&c| row.get(c).cloned()).collect()).collect();
        output::fitted(output::table(&titles, &rows))
    };
    let quality: Vec<usize> = (0..QUALITY).collect();
    let speed: Vec<usize> = std::iter::once(0).chain(QUALITY..titles.len()).collect();
    format!("{}\n\n{}", part(&quality), part(&speed))
}
