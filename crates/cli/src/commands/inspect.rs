//! `honelm inspect`: what a model is, without running it.

use clap::Args;
use honelm::{Inspection, TensorEntry, TokenizerFacts};

use crate::arguments::Global;
use crate::commands::compare::Compare;
use crate::failure::Failure;
use crate::{interrupt, output};

const EXAMPLES: &str = "\
Examples:
  honelm inspect pocket
  honelm inspect model.gguf -v               every tensor, configuration and chat template
  honelm inspect model.gguf --context 32768 --json
  honelm inspect pocket --compare model.gguf   the first layer at which the two part

--compare runs both in f32 on the same tokens. `difference` is how far apart they are after a layer; `own` is what this
layer adds when both are given the same input (of a layer: relative to what it adds to its input).";

/// Show a model's configuration, tensors, encodings, tokenizer, chat template and memory needs
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Inspect {
    /// A folder, a GGUF file, or a name; by default the shipped model
    model: Option<String>,

    #[command(flatten)]
    compare: Compare,
}

impl Inspect {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        // Nothing is written here: Ctrl-C may end it at any moment.
        interrupt::watched(false);
        let model = global.model(self.model.as_deref())?;
        if self.compare.is_wanted() {
            return self.compare.run(model, global);
        }
        let found = honelm::inspect(&model, &global.run_options())?;
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
        part("Warnings", &found.warnings.join("\n"));
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
        (
            "size",
            format!("{}, {:.2} bits per weight", honelm::optimize::bytes(found.size_bytes), found.bits_per_weight),
        ),
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
            let size = honelm::optimize::bytes(e.bytes);
            vec![e.encoding.clone(), e.tensors.to_string(), e.values.to_string(), size, format!("{bits:.2}")]
        })
        .collect();
    output::fitted(output::table(&["encoding", "tensors", "values", "size", "bits/value"], &rows))
}

/// The tensors; layers that are like the first one in one line, unless `all` are wanted.
fn tensors(found: &Inspection, all: bool) -> String {
    let shape = |t: &TensorEntry| t.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
    let row = |t: &TensorEntry| vec![t.name.clone(), t.encoding.clone(), shape(t), honelm::optimize::bytes(t.bytes)];
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
                let what = format!("layers 1 to {} are like layer 0", found.layers - 1);
                rows.push(vec![what, String::new(), String::new(), honelm::optimize::bytes(bytes)]);
            }
            Some(_) => {}
        }
    }
    let mut text = output::fitted(output::table(&["name", "encoding", "shape", "size"], &rows));
    if !found.ignored_tensors.is_empty() {
        text.push_str(&format!("\nnot used: {}", found.ignored_tensors.join(", ")));
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

/// Lines of a template that are shown unasked.
const TEMPLATE_LINES: usize = 12;

fn template(found: &Inspection, all: bool) -> String {
    let Some(source) = &found.chat_template else { return "none".to_owned() };
    let lines: Vec<&str> = source.lines().collect();
    if all || lines.len() <= TEMPLATE_LINES {
        return source.clone();
    }
    format!("{}\n... {} more lines, shown with -v", lines[..TEMPLATE_LINES].join("\n"), lines.len() - TEMPLATE_LINES)
}

fn memory(found: &Inspection) -> String {
    let size = honelm::optimize::bytes;
    let rows: Vec<Vec<String>> = found
        .memory
        .iter()
        .map(|m| {
            let parts = [m.weights_bytes, m.cache_bytes, m.scratch_bytes, m.total_bytes];
            std::iter::once(m.context.to_string()).chain(parts.map(size)).collect()
        })
        .collect();
    let mut out = output::fitted(output::table(&["context", "weights", "cache", "scratch", "together"], &rows));
    let rounded = found.memory.first().map_or(0, |m| m.rounded_tensors);
    if rounded > 0 {
        out += &format!("\n{rounded} weights have no exact layout on a GPU and are rounded to F16 there");
    }
    let jobs: Vec<Vec<String>> =
        found.jobs.iter().map(|j| vec![j.job.to_owned(), size(j.peak_bytes), j.phase.to_owned()]).collect();
    format!("{out}\n\n{}", output::fitted(output::table(&["job", "at most", "which is"], &jobs)))
}
