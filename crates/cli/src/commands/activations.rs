//! `honelm inspect --activations`: the cost of rounding activations to 8 bits.

use std::path::PathBuf;

use honelm::{ActivationOptions, ActivationReport, TextSource};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// Measures a model and prints the report. Without `all`, the inputs with the largest error of products are shown.
pub fn run(model: PathBuf, text: TextSource, tokens: usize, global: &Global) -> Result<u8, Failure> {
    let options = ActivationOptions { model, text, tokens, run: global.run_options() };
    let mut progress = Progress::new(global);
    let found = honelm::activations(&options, &mut |event| progress.event(event));
    progress.finish();
    let found = found?;
    if global.json {
        output::json(&found)?;
    } else {
        output::write(&report(&found, global.verbose > 0))?;
    }
    Ok(0)
}

/// The number of inputs that are shown without `-v`.
const SHOWN: usize = 12;

fn report(found: &ActivationReport, all: bool) -> String {
    let whole: f64 = found.stages.iter().map(|s| s.kl_divergence).sum();
    let stages: Vec<Vec<String>> = found
        .stages
        .iter()
        .map(|s| {
            let share = if whole > 0.0 { s.kl_divergence * 100.0 / whole } else { 0.0 };
            vec![s.stage.clone(), format!("{:.6}", s.kl_divergence), format!("{share:.1}%")]
        })
        .collect();
    let mut inputs: Vec<_> = found.inputs.iter().collect();
    if !all {
        inputs.sort_by(|a, b| b.output_error.total_cmp(&a.output_error));
        inputs.truncate(SHOWN);
    }
    let rows: Vec<Vec<String>> = inputs
        .iter()
        .map(|s| {
            let columns: Vec<String> = s.columns.iter().map(ToString::to_string).collect();
            vec![
                s.layer.map_or_else(|| "-".to_owned(), |i| i.to_string()),
                s.stage.clone(),
                format!("{:.2}", s.peak),
                format!("{:.1}%", s.outlier_percent),
                if s.rounded { format!("{:.2}", s.finer) } else { "not rounded".to_owned() },
                format!("{:.3}%", s.input_error * 100.0),
                format!("{:.3}%", s.output_error * 100.0),
                columns.join(" "),
            ]
        })
        .collect();
    let heads = ["layer", "inputs of", "peak/RMS", "outliers", "finer by", "error", "of products", "outlying columns"];
    format!(
        "{}\n\n{}\n\nOver {} tokens, with all inputs rounded: KL divergence {:.6}, same top token {:.2}%\n",
        output::fitted(output::table(&["rounded alone", "KL divergence", "share"], &stages)),
        output::fitted(output::table(&heads, &rows)),
        found.tokens,
        found.kl_divergence,
        found.same_top_percent,
    )
}
