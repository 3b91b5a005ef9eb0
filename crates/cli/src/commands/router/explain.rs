//! `honelm router explain`.

use clap::Args;
use honelm::estimator::{Prompt, Target};
use serde_json::json;

use super::{EstimatorArguments, threshold_json, threshold_text};
use crate::arguments::{Global, at_least_one};
use crate::failure::Failure;
use crate::{help, input, output};

fn notes() -> String {
    help::notes(
        &[
            ("honelm router explain \"Is 221 a prime number?\"", ""),
            ("honelm router explain - < prompt.txt", "the prompt on stdin"),
        ],
        &["The contributions and the bias add up to the gain: the cloud's expected quality minus the local one."],
    )
}

/// Show the estimate for a prompt and what it is made of
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Explain {
    /// The prompt; `-` reads stdin
    prompt: String,

    #[command(flatten)]
    estimator: EstimatorArguments,

    /// Most features to show
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = at_least_one)]
    top: usize,
}

impl Explain {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let estimator = honelm::open_estimator(self.estimator.estimator.as_deref())?;
        let text = match &*self.prompt {
            "-" => input::stdin_text(input::MOST_PROMPT)?,
            _ => self.prompt,
        };
        let mut found = estimator.explain(&Prompt::new(text));
        found.contributions.truncate(self.top);
        let threshold = estimator.threshold(Target::KeepLocal(0.75));
        let route = if found.estimate.gain < threshold.gain { "local" } else { "cloud" };
        if global.json {
            output::json(&json!({
                "gain": found.estimate.gain,
                "familiar_percent": f64::from(found.estimate.familiar) * 100.0,
                "is_unfamiliar": found.estimate.is_unfamiliar,
                "bias": found.bias,
                "features": found.contributions,
                "threshold": threshold_json(&threshold),
                "route": route,
            }))?;
            return Ok(0);
        }
        let shown: f32 = found.contributions.iter().map(|c| c.contribution).sum();
        let rest = found.estimate.gain - found.bias - shown;
        let mut rows: Vec<Vec<String>> =
            vec![vec!["bias".to_owned(), String::new(), String::new(), format!("{:+.4}", found.bias)]];
        rows.extend(found.contributions.iter().map(|c| {
            let name = if c.is_words { format!("\"{}\"", c.feature) } else { c.feature.clone() };
            vec![name, format!("{:+.3}", c.value), format!("{:+.4}", c.weight), format!("{:+.4}", c.contribution)]
        }));
        rows.push(vec!["all others".to_owned(), String::new(), String::new(), format!("{rest:+.4}")]);
        output::line(&output::fitted(output::table(&["feature", "value", "weight", "adds"], &rows)))?;
        let unlike = if found.estimate.is_unfamiliar {
            "; the prompt is unlike the training data, so this is a guess"
        } else {
            ""
        };
        output::write(&output::facts(&[
            ("gain", format!("{:+.4}: {route} at the threshold{unlike}", found.estimate.gain)),
            ("threshold", threshold_text(&threshold)),
        ]))?;
        Ok(0)
    }
}
