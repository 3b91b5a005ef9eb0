//! `honelm optimize`: the main job.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use honelm::optimize::{OtherEngine, PipelineReport, Published, REPORT_TEXT, Report};
use honelm::{CONTAINERS, Container, Error, NamedRecipe, OptimizeOptions, Outcome, Protocol};
use serde_json::json;

use crate::arguments::gates::{CACHE_NOTE, GateArguments};
use crate::arguments::{self, AllocationArguments, Bits, CalibrationArguments, Global, at_least_one};
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
            ("honelm optimize path/to/model --budget 5% --max-kl 0.02", "a percentage, and a limit of the divergence"),
            ("honelm optimize path/to/model --tasks tasks.jsonl --max-accuracy-loss 3%", ""),
            ("honelm optimize path/to/model --text novel.txt --text chats.jsonl", "every text must hold"),
            ("honelm optimize path/to/model --bits 4", "try 4 bits only"),
            ("honelm optimize path/to/model --container gptq", "write a folder in GPTQ format"),
            ("honelm optimize path/to/model --container gguf,awq,mlx", "write a file and two folders"),
            ("honelm optimize path/to/model --compare rtn,gptq,best", "compare recipes at 4 bits"),
            ("honelm optimize path/to/model --compare gptq --bits 16,8,4,3,2", "compare widths"),
            ("honelm optimize path/to/model --recipe full --tasks tasks.jsonl", "prune, heal, quantise, tune, draft"),
            ("honelm optimize path/to/model --recipe full --ablation", "measure each step alone as well"),
            ("honelm optimize path/to/model --calibration mine.jsonl --text held-out.txt", ""),
            ("honelm optimize path/to/model --calibration shipped,mine.jsonl", "take the better text"),
        ],
        &[
            "Candidates are quantised from the smallest upward, reloaded from their files, and compared with the original \
             on text that was not used for calibration. The first one whose increase in perplexity is within the budget, \
             by its upper 95% confidence bound, is published. If there is none, nothing is published and the exit status \
             is 3. With several containers this holds for each of them: the exit status is 3 if one of them has none.",
            "With --compare, each recipe compresses the model to the same encoding, the smallest of the container or that of \
             --bits and --group-size. All are judged on the whole text. Of those within the budget, the one with the \
             lowest KL divergence is published; within 1% of it, the smaller file or the faster one. With a list in \
             --bits, each recipe compresses the model to every width (in gguf F16, Q8_0, Q6_K, Q5_K, Q4_K, Q3_K, Q2_K), \
             and one of the smallest width within the budget is published.",
            "A recipe with the steps prune, heal, tune or draft, such as full, is a pipeline: each step makes a model, which must \
             hold the step's own budget, or else --budget. An encoding is chosen for each tensor, as with --allocate, or for \
             --target-size. A step that is optional and does not pay is left out, and the report says why. \
             docs/report.md has the rules.",
            "With several texts in --calibration, each is tried on the smallest candidate, and the one with the lowest KL \
             divergence on the first half of the held-out text is taken. The gate then judges on the second half.",
            "DIR must be new, empty, or the output of an earlier run; it must not be, contain or lie in the folder of the \
             model. Running the same command again resumes interrupted work; finished work is not repeated.",
            CACHE_NOTE,
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

    /// Formats of the compressed model, such as gguf,awq,mlx
    #[arg(long, value_name = "CONTAINERS", default_value = "gguf", value_delimiter = ',', value_parser = containers())]
    container: Vec<&'static Container>,

    /// Bits per weight: 4, 5, 6, 8 (gguf), 2, 3, 4, 8 (gptq), 4 (awq), 4, 8 (compressed-tensors), 2 to 6, 8 (mlx); for gguf
    /// any other number, such as 4.25, chooses an encoding for each tensor so that the file has at most that many
    /// [default: try the usual ones, from the smallest]; with --compare a list, such as 16,8,4,3,2
    #[arg(long, value_name = "B", value_delimiter = ',', value_parser = Bits::parse, allow_negative_numbers = true)]
    bits: Vec<Bits>,

    /// Columns that share a scale (all containers but gguf) [default: try 128, 64 and 32]
    #[arg(long, value_name = "G", value_parser = at_least_one, allow_negative_numbers = true)]
    group_size: Option<usize>,

    #[command(flatten)]
    allocation: AllocationArguments,

    /// Compression recipe: rtn, gptq, awq, best, tuned, full or a TOML file
    #[arg(long, value_name = "RECIPE", default_value = "best", value_parser = arguments::named_recipe)]
    recipe: NamedRecipe,

    /// After quantising, train scales, minimums and norm gains of each candidate against the original's outputs. Takes many
    /// times as long
    #[arg(long)]
    tune: bool,

    /// Compare recipes with one encoding, such as gptq,awq,best or TOML files, and publish the best one
    #[arg(long, value_name = "RECIPES", value_delimiter = ',', value_parser = arguments::named_recipe, conflicts_with = "recipe")]
    compare: Vec<NamedRecipe>,

    /// Of a pipeline, measure each step alone as well, and pruning beside quantisation at three sizes. Takes several times as
    /// long
    #[arg(long)]
    ablation: bool,

    /// The speed of the original in Transformers on this machine, as crates/honelm/scripts/transformers_speed.py writes it, for the report
    /// of a pipeline
    #[arg(long, value_name = "FILE")]
    transformers: Option<PathBuf>,

    #[command(flatten)]
    gates: GateArguments,

    #[command(flatten)]
    calibration: CalibrationArguments,

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

impl Optimize {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let dry_run = self.allocation.types.dry_run;
        let options = self.options(global)?;
        if dry_run {
            return plan(&options, global);
        }
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
        let usage = |problem: &str| Err(Failure::Usage(problem.to_owned()));
        let gguf = self.container.iter().all(|container| container.groups.is_none());
        let (bits, mean, ladder) = match &*self.bits {
            [] => (None, None, Vec::new()),
            [one] => {
                let (bits, mean) = one.split(gguf).map_err(Failure::Usage)?;
                (bits, mean, Vec::new())
            }
            several => {
                (None, None, several.iter().map(|bits| bits.whole()).collect::<Result<_, _>>().map_err(Failure::Usage)?)
            }
        };
        let recipes = match self.compare.len() {
            0 if !ladder.is_empty() => return usage("--bits: found several widths, which --compare RECIPES compares"),
            0 => vec![self.recipe],
            1 if ladder.is_empty() => {
                return usage("--compare: found one recipe, expected at least two, or several widths in --bits");
            }
            _ => self.compare,
        };
        let recipes = if self.tune { recipes.into_iter().map(tuned).collect() } else { recipes };
        let model = global.model(self.model.as_deref())?;
        let out = self.out.unwrap_or_else(|| Path::new("honelm-out").join(honelm::model_name(&model)));
        Ok(OptimizeOptions {
            out,
            containers: self.container,
            bits,
            ladder,
            size_decides: self.allocation.asks_for_size(mean) && !self.gates.any(),
            allocation: self.allocation.options(mean),
            ablation: self.ablation,
            other_engine: self.transformers.as_deref().map(OtherEngine::read).transpose()?,
            group_size: self.group_size,
            recipes,
            budget: self.gates.budget(),
            gates: self.gates.gates()?,
            calibrations: self.calibration.sources(),
            calibration_samples: self.calibration.samples,
            calibration_length: self.calibration.length,
            text: self.gates.text(),
            protocol: self.protocol,
            restart: self.restart,
            force: self.force,
            command: Some(command_line()),
            run: global.run_options(),
            model,
        })
    }
}

/// Prints what would be tried.
fn plan(options: &OptimizeOptions, global: &Global) -> Result<u8, Failure> {
    let mut progress = Progress::new(global);
    let planned = honelm::optimize::plan_optimize(options, &mut |event| progress.event(event));
    progress.finish();
    let planned = planned?;
    if global.json {
        output::json(&planned)?;
        return Ok(0);
    }
    let row = |planned: &honelm::Planned| {
        let ratio = planned.size_bytes as f64 / planned.original_bytes as f64;
        vec![
            planned.name.clone().unwrap_or_default(),
            planned.size_bytes.to_string(),
            format!("{ratio:.2}"),
            format!("{:.2}", planned.bits_per_weight),
        ]
    };
    let rows: Vec<_> = planned.candidates.iter().map(row).collect();
    output::line(&output::fitted(output::table(&["model", "bytes", "ratio", "bits/w"], &rows)))?;
    let mut lines = planned.candidates.iter().flat_map(|planned| honelm::fallback_lines(&planned.fallbacks));
    lines.try_for_each(|line| output::line(&line))?;
    for allocation in &planned.allocations {
        let table = allocation.table();
        output::prose(&format!("\n{}: {}\n", allocation.name, allocation.summary()))?;
        output::line(&output::fitted(output::table(&table.titles(), &table.rows)))?;
    }
    output::prose("The first of these whose loss is within the budget would be published. Nothing was written.")?;
    Ok(0)
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
    match report.is_complete() {
        true => 0,
        false if report.not_enough_text => NOT_ENOUGH_TEXT,
        false => BUDGET,
    }
}

/// Returns the report as JSON, with the paths of the published models, and the reason why one is missing.
fn document(outcome: &Outcome, options: &OptimizeOptions, status: u8) -> Result<serde_json::Value, Failure> {
    let report = &outcome.report;
    let mut document = serde_json::to_value(report).map_err(|e| Failure::Io("JSON".to_owned(), e.into()))?;
    document["directory"] = json!(options.out);
    document["was_done"] = json!(outcome.was_done);
    let in_folder = |published: &Published| Published { path: options.out.join(&published.path), ..published.clone() };
    document["published"] = json!(report.published.iter().map(in_folder).collect::<Vec<_>>());
    let code = match status {
        BUDGET => "budget-exceeded",
        NOT_ENOUGH_TEXT => "not-enough-text",
        _ => return Ok(document),
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
    if let Some((table, reason)) = report.calibration_table() {
        output::line(&format!("\n{}\n", output::fitted(output::table(&table.titles(), &table.rows))))?;
        output::prose(&reason)?;
    }
    report.pipeline.iter().flat_map(PipelineReport::lines).try_for_each(|line| output::prose(&line))?;
    report.drift_sentence().iter().try_for_each(|line| output::prose(line))?;
    report.speed_summary().iter().try_for_each(|line| output::prose(line))?;
    if report.has_further_gates() {
        report.gate_lines().iter().try_for_each(|line| output::prose(line))?;
    }
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
    }
    let files: Vec<PathBuf> = report.published.iter().map(|published| options.out.join(&published.path)).collect();
    let report = options.out.join(REPORT_TEXT);
    files.iter().chain([&report]).try_for_each(|path| output::line(&path.display().to_string()))?;
    if let Some(file) = files.first() {
        global.note("Talk to it:");
        global.note_command(&format!("honelm chat {}", file.display()));
    }
    Ok(())
}

/// Returns a recipe with tuning as its last step.
fn tuned(recipe: NamedRecipe) -> NamedRecipe {
    match recipe.recipe.tunes() {
        true => recipe,
        false => NamedRecipe::new(format!("{}+tune", recipe.name), recipe.recipe.tuned()),
    }
}

/// Returns the table of recipes, or else that of quality and that of size and speed.
fn tables(report: &Report) -> String {
    let shown = |table: &honelm::optimize::Table| output::fitted(output::table(&table.titles(), &table.rows));
    if let Some(table) = report.comparison_table() {
        return shown(&table);
    }
    if let Some(pipeline) = &report.pipeline {
        let all = [report.steps_table(), report.equal_bytes_table(), pipeline.drafts_table(), report.tasks_table()];
        return all.iter().flatten().map(shown).collect::<Vec<_>>().join("\n\n");
    }
    let further = [report.texts_table(), report.tasks_table()];
    let all = [report.quality_table()].into_iter().chain(further.into_iter().flatten()).chain([report.speed_table()]);
    all.map(|table| shown(&table)).collect::<Vec<_>>().join("\n\n")
}
