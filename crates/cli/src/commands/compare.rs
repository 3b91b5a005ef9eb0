//! `honelm inspect --compare`: the first layer at which two checkpoints of a model part.

use std::path::PathBuf;

use clap::Args;
use honelm::{DivergeOptions, Divergence};

use crate::arguments::{Global, text_source};
use crate::commands::optimize::at_least_one;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// Weights of a layer that are shown.
const WEIGHTS: usize = 8;

/// Which checkpoint to compare with, and on what.
#[derive(Debug, Args)]
pub struct Compare {
    /// Another checkpoint of the model: shows the first layer at which they part, and by how much
    #[arg(long = "compare", value_name = "OTHER")]
    other: Option<String>,

    /// What both read, UTF-8; by default the shipped text
    #[arg(long, value_name = "FILE", requires = "other")]
    text: Option<PathBuf>,

    /// How many tokens of it
    #[arg(long, value_name = "N", default_value = "256", value_parser = at_least_one, requires = "other")]
    tokens: usize,

    /// A layer parts where its own difference is above this; f16 rounding makes 0.0005
    #[arg(long, value_name = "X", default_value = "0.001", requires = "other")]
    tolerance: f64,
}

impl Compare {
    pub fn is_wanted(&self) -> bool {
        self.other.is_some()
    }

    pub fn run(self, model: PathBuf, global: &Global) -> Result<u8, Failure> {
        let options = DivergeOptions {
            model,
            other: global.model(self.other.as_deref())?,
            text: text_source(self.text.as_deref()),
            tokens: self.tokens,
            tolerance: self.tolerance,
            run: global.run_options(),
        };
        let mut progress = Progress::new(global);
        let found = honelm::diverge(&options, &mut |event| progress.event(event));
        progress.finish();
        let found = found?;
        if global.json {
            output::json(&found)?;
        } else {
            output::write(&text(&found))?;
        }
        Ok(0)
    }
}

fn text(found: &Divergence) -> String {
    let figure = |x: f64| if x == 0.0 { "0".to_owned() } else { format!("{x:.2e}") };
    let row = |(i, l): (usize, &honelm::LayerDifference)| {
        let mark = if found.first == Some(i) { " *" } else { "" };
        vec![
            format!("{}{mark}", l.layer),
            format!("{:.4}", l.rms),
            figure(l.difference),
            figure(l.own_difference),
            l.worst_position.to_string(),
        ]
    };
    let rows: Vec<_> = found.layers.iter().enumerate().map(row).collect();
    let mut out = output::fitted(output::table(&["layer", "rms", "difference", "own", "worst token"], &rows));
    out.push_str(&match found.first.and_then(|i| found.layers.get(i)) {
        Some(layer) => format!(
            "\n\nThey part at {}: own difference {}, tolerance {}.\n",
            layer.layer,
            figure(layer.own_difference),
            figure(found.tolerance)
        ),
        None => format!("\n\nNo layer parts by more than {}.\n", figure(found.tolerance)),
    });
    for weight in found.weights.iter().filter(|w| w.difference != 0.0).take(WEIGHTS) {
        let (relative, largest) = (figure(weight.difference), figure(weight.largest));
        out.push_str(&format!("  {:<12} differs by {relative} (RMS), at most {largest}\n", weight.weight));
    }
    let (kl, top, n) = (found.kl_divergence, found.same_top_percent, found.tokens);
    out.push_str(&format!("Over {n} tokens: KL divergence {kl:.2e}, same top token {top:.2}%\n"));
    out
}
