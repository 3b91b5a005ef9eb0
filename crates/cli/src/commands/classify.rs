//! `honelm classify`: labels of texts.

use clap::{Args, ValueEnum};
use honelm::{Cancel, Classification, ClassifyOptions, Label, LabelScore, LabelledText, Model, Normalise};
use serde_json::json;

use super::constraints;
use super::texts::Texts;
use crate::arguments::Global;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{help, interrupt, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm classify -p \"Where is my parcel?\" --labels refund,delivery,other", ""),
            ("honelm classify MODEL --lines --labels \"spam: unwanted advertising,ham\" < mails.txt --json", ""),
            ("honelm classify -f letter.txt --multi --labels urgent,complaint,thanks", "any number of labels"),
        ],
        &[
            "The scores of labels are the probabilities with which the model answers by them. Nothing is drawn at random, so the \
           same text gets the same scores.",
        ],
    )
}

/// The comparison of labels of different lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NormaliseName {
    /// By their likelihoods per token
    Length,
    /// By their likelihoods
    None,
}

/// Choose labels of texts by a model on this machine
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Classify {
    /// The model: a folder, a GGUF file or a name [default: the shipped model]
    model: Option<String>,

    #[command(flatten)]
    texts: Texts,

    /// The labels, each perhaps with a colon, a space and a description
    #[arg(long, value_name = "LABEL,…", value_delimiter = ',', required = true)]
    labels: Vec<String>,

    /// Texts with known labels: a JSON file with a list of {"text": …, "labels": […]}, or the list itself
    #[arg(long, value_name = "FILE|JSON")]
    examples: Option<String>,

    /// The question to decide, in place of the usual sentence
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,

    /// Decide for each label on its own if it fits
    #[arg(long)]
    multi: bool,

    /// The least probability of a label that is chosen with --multi
    #[arg(long, value_name = "NUMBER", default_value_t = 0.5, requires = "multi")]
    threshold: f64,

    /// Comparison of labels of different lengths
    #[arg(long, value_enum, value_name = "NAME", default_value_t = NormaliseName::Length)]
    normalise: NormaliseName,
}

impl Classify {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        // No file is written: Ctrl-C may end the command at any time.
        interrupt::watched(false);
        let (texts, options) = (self.texts.read()?, self.options()?);
        let mut progress = Progress::new(global);
        let path = global.model(self.model.as_deref())?;
        let model = Model::open(&path, &global.run_options(), &mut |event| progress.event(event));
        progress.finish();
        let found = model?.classify(&texts, &options, &Cancel::new())?;
        if global.json {
            return output::json_line(&json!({ "multi": self.multi, "results": found })).map(|()| 0);
        }
        for (i, found) in found.iter().enumerate() {
            if i > 0 {
                output::line("")?;
            }
            output::write(&shown(found))?;
        }
        Ok(0)
    }

    fn options(&self) -> Result<ClassifyOptions, Failure> {
        let examples: Vec<LabelledText> = match &self.examples {
            None => Vec::new(),
            Some(given) => serde_json::from_value(constraints::json("--examples", given)?)
                .map_err(|error| Failure::Usage(format!("--examples: {error}")))?,
        };
        let normalise = match self.normalise {
            NormaliseName::Length => Normalise::Length,
            NormaliseName::None => Normalise::None,
        };
        let (instruction, multi, threshold) = (self.instruction.clone(), self.multi, self.threshold);
        let usual = ClassifyOptions::new(self.labels.iter().map(|label| read_label(label)).collect());
        Ok(ClassifyOptions { examples, instruction, multi, threshold, normalise, ..usual })
    }
}

/// Reads a name, or a name with a colon, a space and a description.
pub(super) fn read_label(given: &str) -> Label {
    match given.split_once(": ") {
        Some((name, description)) => Label { name: name.to_owned(), description: Some(description.to_owned()) },
        None => Label::new(given),
    }
}

/// Lists the labels of a text, the most probable first. The chosen ones are marked.
fn shown(found: &Classification) -> String {
    let mut scores: Vec<&LabelScore> = found.scores.iter().collect();
    scores.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let row = |score: &&LabelScore| {
        let mark = if found.labels.contains(&score.label) { "*" } else { "" };
        let log = format!("{:.3}", score.log_likelihood);
        vec![score.label.clone(), mark.to_owned(), format!("{:.4}", score.probability), log]
    };
    let rows: Vec<Vec<String>> = scores.iter().map(row).collect();
    format!("{}\n", output::fitted(output::table(&["label", "chosen", "probability", "log-likelihood"], &rows)))
}
