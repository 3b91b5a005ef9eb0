//! `honelm optimize`: the main job.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use honelm::optimize::{REPORT_TEXT, Report};
use honelm::{CONTAINERS, Container, Error, NamedRecipe, OptimizeOptions, Outcome, Protocol};
use serde_json::json;

use crate::arguments::{self, Global, at_least_one, finite, text_source};
use crate::commands::measure;
use crate::failure::{BUDGET, Failure, NOT_ENOUGH_TEXT};
use crate::progress::Progress;
use crate::wrap::wrapped;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm optimize", "the shipped model, into honelm-out/pocket"),
            ("honelm optimize path/to/model --budget 0.2", "allow less loss of quality"),
            ("honelm optimize path/to/model --bits 4", "try 4 bits only"),
            ("honelm optimize path/to/model --container gptq", "write a folder in GPTQ format"),
            ("honelm optimize path/to/model --compare rtn,gptq,best", "compare recipes at 4 bits"),
            ("honelm optimize path/to/model --calibration mine.jsonl --text held-out.txt", ""),
        ],
        &[
            "Candidates are quantised from the smallest upward, reloaded from their files, and compared with the original \
             on text that was not used for calibration. The first one whose increase in perplexity is within the budget, \
             by its upper 95% confidence bound, is published. If there is none, nothing is published and the exit status \
             is 3.",
            "With --compare, each recipe compresses the model to the same encoding, the smallest of the container or that of \
             --bits and --group-size. All are judged on the whole text. Of those within the budget, the one with the \
             lowest KL divergence is published; within 1% of it, the smaller file or the faster one.",
            "DIR must be new, empty, or the output of an earlier run; it must not be, contain or lie in the folder of the \
             model. Running the same command again resumes interrupted work; finished work is not repeated.",
        ],
    )
}

/// Compress a model to the smallest file whose quality is within a budget
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Optimize {
    /// The model: a folder, a GGUF file or a name [default: the shipped model]
    model: Option<String>,

    /// Output folder [default: honelm-out/NAME, after the model]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Format of the compressed model
    #[arg(long, default_value = "gguf", value_parser = containers())]
    container: &'static Container,

    /// Bits per weight: 4, 5, 6, 8 (gguf), 2, 3, 4, 8 (gptq), 4 (awq), 4, 8 (compressed-tensors), 2 to 6, 8 (mlx)
    /// [default: try the usual ones, from the smallest]
    #[arg(long, value_name = "B", value_parser = bits, allow_negative_numbers = true)]
    bits: Option<u8>,

    /// Columns that share a scale (all containers but gguf) [default: try 128, 64 and 32]
    #[arg(long, value_name = "G", value_parser = at_least_one, allow_negative_numbers = true)]
    group_size: Option<usize>,

    /// Compression recipe: rtn, gptq, awq, best or a TOML file
    #[arg(long, value_name = "RECIPE", default_value = "gptq", value_parser = arguments::named_recipe)]
    recipe: NamedRecipe,

    /// Compare recipes with one encoding, such as gptq,awq,best or TOML files, and publish the best one
    #[arg(long, value_name = "RECIPES", value_delimiter = ',', value_parser = arguments::named_recipe, conflicts_with = "recipe")]
    compare: Vec<NamedRecipe>,

    /// Largest allowed increase in perplexity
    #[arg(long, value_name = "INCREASE", default_value_t = 0.5, value_parser = finite, allow_negative_numbers = true)]
    budget: f64,

    /// Calibration text: plain, or JSON lines with a field `text` [default: the shipped text]
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,

    /// Most calibration samples to use
    #[arg(long = "samples", alias = "calibration-blocks", value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    calibration_samples: usize,

    /// Tokens per calibration sample
    #[arg(long = "length", alias = "calibration-length", value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    calibration_length: usize,

    /// Held-out text for the comparison, UTF-8 [default: the shipped text]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// Perplexity protocol: llama.cpp-N, gptq-N or hf-stride-N (see `honelm eval --help`)
    #[arg(long, value_name = "P", default_value = "llama.cpp-512", value_parser = arguments::protocol)]
    protocol: Protocol,

    /// Start over, even if earlier work on this model is finished or can be resumed
    #[arg(long)]
    restart: bool,

    /// Start over and replace the output of earlier runs in DIR, even of another model; also write a GGUF file that cannot
    /// represent the tokenizer exactly
    #[arg(long)]
    force: bool,
}

/// Parses the name of a container.
fn containers() -> impl TypedValueParser<Value = &'static Container> {
    let names = CONTAINERS.iter().map(|container| PossibleValue::new(container.name).help(container.summary));
    PossibleValuesParser::new(names).try_map(|name| Container::from_name(&name).ok_or("unknown container"))
}

/// Parses the bits per weight of a candidate.
fn bits(text: &str) -> Result<u8, String> {
    text.parse()
        .ok()
        .filter(|bits| (2..=8).contains(bits))
        .ok_or_else(|| "expected a whole number from 2 to 8".to_owned())
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
        let recipes = match self.compare.len() {
            0 => vec![self.recipe],
            1 => return Err(Failure::Usage("--compare: found one recipe, expected at least two".to_owned())),
            _ => self.compare,
        };
        let model = global.model(self.model.as_deref())?;
        let out = self.out.unwrap_or_else(|| Path::new("honelm-out").join(honelm::model_name(&model)));
        Ok(OptimizeOptions {
            out,
            container: self.container,
            bits: self.bits,
            group_size: self.group_size,
            recipes,
            budget: self.budget,
            calibration: text_source(self.calibration.as_deref()),
            calibration_samples: self.calibration_samples,
            calibration_length: self.calibration_length,
            text: text_source(self.text.as_deref()),
            protocol: self.protocol,
            restart: self.restart,
            force: self.force,
            command: Some(command_line()),
            run: global.run_options(),
            model,
        })
    }
}

/// The command line of this process, quoted for a shell.
fn command_line() -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let quoted = |argument: String| match argument.chars().all(is_plain) && !argument.is_empty() {
        true => argument,
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    };
    let arguments = std::env::args_os().skip(1).map(|argument| quoted(argument.to_string_lossy().into_owned()));
    std::iter::once("honelm".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Classifies an error: a text that is too short for a single chunk is too short for a verdict.
fn without_verdict(error: Error) -> Failure {
    match error {
        Error::Eval(honelm::EvalError::TextTooShort { .. }) => Failure::NoVerdict(error),
        other => other.into(),
    }
}

/// Returns the exit status for a report.
fn status(report: &Report) -> u8 {
    match report.chosen {
        Some(_) => 0,
        None if report.not_enough_text => NOT_ENOUGH_TEXT,
        None => BUDGET,
    }
}

/// Returns the path of the published model.
fn published(options: &OptimizeOptions) -> PathBuf {
    options.out.join(options.container.output)
}

/// Returns the report as JSON, with the paths of the results or the reason why nothing was published.
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
        global.note("An earlier run has finished this work; --restart repeats it.");
    }
    output::line(&tables(report))?;
    output::prose(&format!("\n{}", report.summary()))?;
    report.speed_summary().iter().try_for_each(|line| output::prose(line))?;
    report.fallback_lines().iter().try_for_each(|line| output::prose(line))?;
    if let (Some(sample), Some(chosen)) = (&report.sample, &report.chosen) {
        let told = |text: &str| text.trim().replace('\n', "\n  ");
        let quoted = |text: &str| wrapped(&format!("  {}", told(text)), output::width(), 2);
        output::line(&format!(
            "\n\"{}\"\n\noriginal:\n{}\n\n{chosen}:\n{}\n",
            sample.prompt,
            quoted(&sample.original),
            quoted(&sample.chosen)
        ))?;
        let file = published(options);
        output::line(&format!("{}\n{}", file.display(), options.out.join(REPORT_TEXT).display()))?;
        global.note("Talk to it:");
        global.note_command(&format!("honelm chat {}", file.display()));
    } else {
        output::line(&options.out.join(REPORT_TEXT).display().to_string())?;
    }
    Ok(())
}

/// Returns the table of recipes, or else that of quality and that of size and speed.
fn tables(report: &Report) -> String {
    let shown = |table: &honelm::optimize::Table| output::fitted(output::table(&table.titles(), &table.rows));
    if let Some(table) = report.comparison_table() {
        return shown(&table);
    }
    format!("{}\n\n{}", shown(&report.quality_table()), shown(&report.speed_table()))
}
