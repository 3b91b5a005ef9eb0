//! `honelm inspect --compare`: the first layer at which two checkpoints of a model differ.

use std::path::PathBuf;

use clap::Args;
use honelm::{DivergeOptions, Divergence, TextSource};

use crate::arguments::{Global, finite};
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// The most weights of a layer that are shown.
const WEIGHTS: usize = 8;

/// The other checkpoint, and the tolerance of the comparison.
#[derive(Debug, Args)]
pub struct Compare {
    /// Compare with another checkpoint of the model, and show the first layer at which the two differ
    #[arg(long = "compare", value_name = "OTHER")]
    other: Option<String>,

    /// Largest `own` difference of a layer that counts as equal; rounding to f16 causes 0.0005
    #[arg(long, value_name = "X", default_value = "0.001", value_parser = finite, requires = "other", allow_negative_numbers = true)]
    tolerance: f64,
}

impl Compare {
    pub fn is_wanted(&self) -> bool {
        self.other.is_some()
    }

    pub fn run(self, model: PathBuf, text: TextSource, tokens: usize, global: &Global) -> Result<u8, Failure> {
        let options = DivergeOptions {
            model,
            other: global.model(self.other.as_deref())?,
            text,
            tokens,
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
            output::write(&report(&found))?;
        }
        Ok(0)
    }
}

fn report(found: &Divergence) -> String {
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
            "\n\nThe first difference is in {}: own difference {}, tolerance {}.\n",
            layer.layer,
            figure(layer.own_difference),
            figure(found.tolerance)
        ),
        None => format!("\n\nNo layer differs by more than {}.\n", figure(found.tolerance)),
    });
    for weight in found.weights.iter().filter(|w| w.difference != 0.0).take(WEIGHTS) {
        let (relative, largest) = (figure(weight.difference), figure(weight.largest));
        out.push_str(&format!("  {:<12} differs by {relative} (RMS), at most {largest}\n", weight.weight));
    }
    let (kl, top, n) = (found.kl_divergence, found.same_top_percent, found.tokens);
    out.push_str(&format!("Over {n} tokens: KL divergence {kl:.2e}, same top token {top:.2}%\n"));
    out
}
