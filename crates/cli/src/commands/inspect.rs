//! `honelm inspect`: the facts about a model, without running it.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use honelm::{Inspection, TensorEntry, TokenizerFacts};

use crate::arguments::{Global, at_least_one, text_source};
use crate::commands::activations;
use crate::commands::compare::Compare;
use crate::commands::contents;
use crate::failure::Failure;
use crate::{help, interrupt, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm inspect pocket", ""),
            ("honelm inspect model.gguf -v", "every tensor, the configuration and the chat template"),
            ("honelm inspect model.gguf --context 32768 --json", ""),
            ("honelm inspect pocket --compare model.gguf", "the first layer at which the two differ"),
            ("honelm inspect model.gguf --activations", "which inputs lose by their rounding to 8 bits"),
        ],
        &[
            "--compare runs both models in f32 on the same tokens. `difference` is the relative difference of the activations \
           after a layer; `own` is the part of it that the layer itself causes: the difference of its outputs if both \
           models are given the same input.",
            "--activations runs the model in f32, with the inputs of one kind of product rounded at a time. `peak/RMS` \
           and `outliers` describe the blocks of 32 inputs that share a scale: the largest magnitude relative to the \
           block, and the share of blocks in which that exceeds 4. The 4 columns with the largest magnitude get 14 \
           bits; `finer by` is the factor by which that makes the steps of the other columns finer. `error` and `of \
           products` are relative to the inputs and to the products.",
        ],
    )
}

/// Show the configuration, tensors, encodings, tokenizer, chat template and memory needs of a model
#[derive(Debug, Args)]
#[command(after_help = notes(), group = ArgGroup::new("runs").args(["other", "activations"]))]
pub struct Inspect {
    /// The model: a folder, a GGUF file or a name [default: the shipped model]
    model: Option<String>,

    #[command(flatten)]
    compare: Compare,

    /// Run the model, and show what rounding activations to 8 bits costs and which inputs it costs most
    #[arg(long, conflicts_with = "other")]
    activations: bool,

    /// Text to run on, UTF-8 [default: the shipped text]
    #[arg(long, value_name = "FILE", requires = "runs")]
    text: Option<PathBuf>,

    /// Tokens of the text to use
    #[arg(long, value_name = "N", default_value = "256", value_parser = at_least_one, requires = "runs", allow_negative_numbers = true)]
    tokens: usize,
}

impl Inspect {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        // No file is written: Ctrl-C may end the command at any time.
        interrupt::watched(false);
        let model = global.model(self.model.as_deref())?;
        if self.compare.is_wanted() {
            return self.compare.run(model, text_source(self.text.as_deref()), self.tokens, global);
        }
        if self.activations {
            return activations::run(model, text_source(self.text.as_deref()), self.tokens, global);
        }
        let found = match honelm::inspect(&model, &global.run_options()) {
            Err(error) if error.is_of_model() => return contents::show(&model, error.into(), global),
            other => other?,
        };
        if global.json {
            output::json(&found)?;
        } else {
            output::write(&text(&found, global.verbose > 0))?;
        }
        Ok(0)
    }
}

fn text(found: &Inspection, all: bool) -> String {
    let mut out = output::facts(&model(found));
    let mut part = |title: &str, body: &str| out.push_str(&format!("\n{title}\n{}\n", body.trim_end()));
    if all {
        part("Configuration", &serde_json::to_string_pretty(&found.config).unwrap_or_default());
    }
    part("Encodings", &encodings(found));
    part("Tensors", &tensors(found, all));
    match &found.tokenizer {
        Some(tokenizer) => part("Tokenizer", &output::facts(&self::tokenizer(tokenizer))),
        None => part("Tokenizer", found.tokenizer_problem.as_deref().unwrap_or("none")),
    }
    part("Chat template", &template(found, all));
    part("Memory", &memory(found));
    if !found.warnings.is_empty() {
        part("Warnings", &output::broken(&found.warnings.join("\n")));
    }
    out
}

fn model(found: &Inspection) -> Vec<(&'static str, String)> {
    vec![
        ("name", found.name.clone()),
        ("path", found.path.display().to_string()),
        ("container", found.container.clone()),
        ("architecture", found.architecture.clone()),
        ("parameters", format!("{} ({:.2} M)", found.parameters, found.parameters as f64 / 1e6)),
        ("size", format!("{}, {:.2} bits per weight", honelm::units::bytes(found.size_bytes), found.bits_per_weight)),
        ("layers", found.layers.to_string()),
        ("width", found.width.to_string()),
        ("vocabulary", found.vocabulary.to_string()),
        ("context", format!("{} tokens", found.context)),
    ]
}

fn encodings(found: &Inspection) -> String {
    let rows: Vec<Vec<String>> = found
        .encodings
        .iter()
        .map(|e| {
            let bits = e.bytes as f64 * 8.0 / e.values.max(1) as f64;
            let size = honelm::units::bytes(e.bytes);
            vec![e.encoding.clone(), e.tensors.to_string(), e.values.to_string(), size, format!("{bits:.2}")]
        })
        .collect();
    output::fitted(output::table(&["encoding", "tensors", "values", "size", "bits/value"], &rows))
}

/// Lists the tensors. Layers that equal the first one take one row, unless `all` are wanted.
fn tensors(found: &Inspection, all: bool) -> String {
    let shape = |t: &TensorEntry| t.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
    let row = |t: &TensorEntry| vec![t.name.clone(), t.encoding.clone(), shape(t), honelm::units::bytes(t.bytes)];
    let layer = |i: usize| found.tensors.iter().filter(move |t| t.layer == Some(i));
    let alike = |i: usize| {
        let facts = |t: &TensorEntry| (t.module.clone(), t.encoding.clone(), t.shape.clone());
        layer(i).map(facts).eq(layer(0).map(facts))
    };
    let repeated = !all && found.layers > 1 && (1..found.layers).all(alike);
    let mut rows: Vec<Vec<String>> = Vec::new();
    for tensor in &found.tensors {
        match tensor.layer {
            Some(0) | None => rows.push(row(tensor)),
            Some(_) if !repeated => rows.push(row(tensor)),
            Some(1) if layer(1).next().is_some_and(|first| first.name == tensor.name) => {
                let bytes = found.tensors.iter().filter(|t| t.layer.is_some_and(|b| b > 0)).map(|t| t.bytes).sum();
                let label = format!("layers 1 to {} equal layer 0", found.layers - 1);
                rows.push(vec![label, String::new(), String::new(), honelm::units::bytes(bytes)]);
            }
            Some(_) => {}
        }
    }
    let mut text = output::fitted(output::table(&["name", "encoding", "shape", "size"], &rows));
    if !found.ignored_tensors.is_empty() {
        text.push_str(&format!("\nunused: {}", found.ignored_tensors.join(", ")));
    }
    text
}

fn tokenizer(facts: &TokenizerFacts) -> Vec<(&'static str, String)> {
    let token = |t: &honelm::TokenFact| format!("{} {:?}", t.id, t.text);
    let or_none = |t: &Option<honelm::TokenFact>| t.as_ref().map_or_else(|| "none".to_owned(), token);
    let bos = match &facts.bos {
        Some(bos) if facts.adds_bos => format!("{}, added", token(bos)),
        Some(bos) => format!("{}, not added", token(bos)),
        None => "none".to_owned(),
    };
    vec![
        ("family", facts.family.clone()),
        ("tokens", facts.tokens.to_string()),
        ("begins with", bos),
        ("ends with", facts.stop.iter().map(token).collect::<Vec<_>>().join(", ")),
        ("pads with", or_none(&facts.pad)),
    ]
}

/// The most lines of a chat template that are shown without `-v`.
const TEMPLATE_LINES: usize = 12;

fn template(found: &Inspection, all: bool) -> String {
    let Some(source) = &found.chat_template else { return "none".to_owned() };
    let lines: Vec<&str> = source.lines().collect();
    if all || lines.len() <= TEMPLATE_LINES {
        return output::broken(source);
    }
    format!(
        "{}\n... {} more lines, shown with -v",
        output::broken(&lines[..TEMPLATE_LINES].join("\n")),
        lines.len() - TEMPLATE_LINES
    )
}

fn memory(found: &Inspection) -> String {
    let size = honelm::units::bytes;
    let rows: Vec<Vec<String>> = found
        .memory
        .iter()
        .map(|m| {
            let parts = [m.weights_bytes, m.cache_bytes, m.scratch_bytes, m.total_bytes];
            std::iter::once(m.context.to_string()).chain(parts.map(size)).collect()
        })
        .collect();
    let mut out = output::fitted(output::table(&["context", "weights", "cache", "scratch", "total"], &rows));
    let rounded = found.memory.first().map_or(0, |m| m.rounded_tensors);
    if rounded > 0 {
        out += &format!("\nA GPU rounds {rounded} weights to F16: it has no layout that holds them exactly.");
    }
    let jobs: Vec<Vec<String>> =
        found.jobs.iter().map(|j| vec![j.job.to_owned(), size(j.peak_bytes), j.phase.to_owned()]).collect();
    format!("{out}\n\n{}", output::fitted(output::table(&["command", "peak memory", "phase"], &jobs)))
}
