//! `honelm prune`: removes heads, neurons and layers of a model.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use honelm::{Pattern, PruneOptions, PruneReport, PrunedFigures, SparseMethod, Sparsity, UnitFigures, UnitImportance};

use crate::arguments::{Global, at_least_one, source};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm prune pocket --ffn 15% -o pocket-pruned", "15% of the neurons of every layer"),
            ("honelm prune llama-1b -o llama-pruned", "the preset: 20% of the heads, 15% of the neurons"),
            (
                "honelm prune llama-1b --layers 2 --text held-out.txt -o shallow",
                "two layers, compared with the original",
            ),
            ("honelm prune pocket --ffn 15% --to gguf -o pocket-pruned.gguf", ""),
            ("honelm prune pocket --sparsity 2:4 -o pocket-sparse", "zeros in place of weights, by SparseGPT"),
            ("honelm quantize pocket-pruned --to q4_k_m -o pocket-pruned-q4.gguf", "then quantise"),
        ],
        &[
            "The result is an ordinary model of smaller sizes: HoneLM, transformers and llama.cpp load it. Every layer has the same \
             sizes, since configurations have one number for all. Heads are removed in whole key-value groups, or evenly from each \
             group, whichever comes closer to the share. A quantised model becomes F16; quantise the result again.",
            "What remains is fitted to the outputs of the original in closed form, on the calibration text. Larger shares need \
             training afterwards; `honelm eval --against` shows what was lost.",
            "Running the same command again resumes interrupted work.",
        ],
    )
}

/// Remove heads, neurons and layers of a model, and restore what remains
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Prune {
    /// The model: a folder, a GGUF file or a name
    model: String,

    /// Output: a folder, or a GGUF file with --to gguf
    #[arg(short, long, value_name = "PATH")]
    out: PathBuf,

    /// Form of the output
    #[arg(long, value_name = "FORM", value_parser = ["folder", "gguf"], default_value = "folder")]
    to: String,

    /// Share of the heads to remove, such as 20% [default: 20% if none of --heads, --ffn and --layers is given]
    #[arg(long, value_name = "SHARE", value_parser = share, allow_negative_numbers = true)]
    heads: Option<f64>,

    /// Share of the neurons of each feed-forward network to remove [default: 15% if none of the three is given]
    #[arg(long, value_name = "SHARE", value_parser = share, allow_negative_numbers = true)]
    ffn: Option<f64>,

    /// Number of layers to remove: those without which the outputs change least
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    layers: Option<usize>,

    /// Number of layers at the beginning and at the end that are never removed
    #[arg(long, value_name = "FIRST,LAST", value_parser = protect, default_value = "4,2")]
    protect: [usize; 2],

    /// Measure by which heads and neurons are chosen
    #[arg(long, value_name = "MEASURE", value_parser = importance(), default_value = "reconstruction")]
    importance: UnitImportance,

    /// Leave what remains as it is in the original
    #[arg(long)]
    no_restore: bool,

    /// Zeros in place of single weights, instead of the removal of units: a share such as 50%, or 2:4. File size and speed stay
    #[arg(long, value_name = "PATTERN", value_parser = pattern, conflicts_with_all = ["heads", "ffn", "layers"])]
    sparsity: Option<Pattern>,

    /// Method that chooses these weights
    #[arg(long, value_name = "METHOD", value_parser = method(), default_value = "sparsegpt", requires = "sparsity")]
    method: SparseMethod,

    /// Calibration text: plain, JSON lines or Parquet with `text` or `messages` [default: the shipped text]
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,

    /// Most calibration samples to use; a quarter, at most 16, is held out
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    samples: usize,

    /// Tokens per calibration sample
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    length: usize,

    /// Held-out text on which the model is compared with the original, after cutting and after restoration
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// Score only the first N chunks of 512 tokens of that text
    #[arg(long, value_name = "N", value_parser = at_least_one, requires = "text")]
    chunks: Option<usize>,

    /// Replace an earlier output of the same kind
    #[arg(long)]
    force: bool,
}

/// Parses a share: a percentage, or a number below 1.
fn share(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|x| x / 100.0),
        None => text.parse::<f64>(),
    };
    let problem = || "expected a share such as 20% or 0.2, below 100%".to_owned();
    number.ok().filter(|x| (0.0..1.0).contains(x)).ok_or_else(problem)
}

/// Parses two numbers of layers.
fn protect(text: &str) -> Result<[usize; 2], String> {
    let numbers = text.split_once(',').and_then(|(a, b)| Some([a.trim().parse().ok()?, b.trim().parse().ok()?]));
    numbers.ok_or_else(|| "expected two numbers of layers, such as 4,2".to_owned())
}

/// Parses the weights that become zero.
fn pattern(text: &str) -> Result<Pattern, String> {
    if text == "2:4" {
        return Ok(Pattern::TwoOfFour);
    }
    let share = share(text).ok().filter(|share| *share > 0.0);
    share.map(Pattern::Share).ok_or_else(|| "expected 2:4, or a share such as 50%".to_owned())
}

fn method() -> impl TypedValueParser<Value = SparseMethod> {
    PossibleValuesParser::new(["sparsegpt", "wanda"]).map(|name| match &*name {
        "wanda" => SparseMethod::Wanda,
        _ => SparseMethod::SparseGpt,
    })
}

fn importance() -> impl TypedValueParser<Value = UnitImportance> {
    let names = UnitImportance::ALL.map(UnitImportance::name);
    PossibleValuesParser::new(names).try_map(|name| UnitImportance::from_name(&name).ok_or("unknown measure"))
}

impl Prune {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let preset = PruneOptions::new(global.model(Some(&self.model))?, self.out);
        let given = [self.heads.is_some(), self.ffn.is_some(), self.layers.is_some(), self.sparsity.is_some()];
        let is_preset = !given.contains(&true);
        let given = |share: Option<f64>, preset: f64| if is_preset { preset } else { share.unwrap_or(0.0) };
        let options = PruneOptions {
            gguf: self.to == "gguf",
            force: self.force,
            heads: given(self.heads, preset.heads),
            ffn: given(self.ffn, preset.ffn),
            layers: self.layers.unwrap_or(0),
            protect: self.protect,
            importance: self.importance,
            restore: !self.no_restore,
            sparsity: self.sparsity.map(|pattern| Sparsity { pattern, method: self.method }),
            calibration: self.calibration.as_deref().map(source).unwrap_or_default(),
            calibration_samples: self.samples,
            calibration_length: self.length,
            text: self.text.as_deref().map(source),
            chunks: self.chunks,
            run: global.run_options(),
            ..preset
        };
        let mut progress = Progress::new(global);
        let done = honelm::prune(&options, &mut |event| progress.event(event));
        progress.finish();
        let done = done?;
        if global.json {
            output::json(&done)?;
            return Ok(0);
        }
        print(&done)?;
        Ok(0)
    }
}

/// Prints what was removed of each layer, and what it cost.
fn print(done: &PruneReport) -> Result<(), Failure> {
    let count =
        |figures: Option<UnitFigures>| figures.map_or_else(String::new, |f| format!("{} of {}", f.removed, f.of));
    let error = |figures: Option<UnitFigures>, of: fn(UnitFigures) -> f64| {
        figures.map_or_else(String::new, |f| format!("{:.2}%", 100.0 * of(f)))
    };
    let row = |layer: &honelm::LayerFigures| {
        vec![
            layer.layer.to_string(),
            count(layer.heads),
            error(layer.heads, |f| f.error_after_cutting),
            error(layer.heads, |f| f.error_after_restoration),
            count(layer.neurons),
            error(layer.neurons, |f| f.error_after_cutting),
            error(layer.neurons, |f| f.error_after_restoration),
        ]
    };
    if let Some(sparsity) = done.sparsity {
        let zeros: u64 = done.figures.layers.iter().filter_map(|layer| layer.zeros).sum();
        output::line(&format!("{zeros} weights are zero ({}); file size and speed stay\n", sparsity.pattern))?;
        return output::write(&output::facts(&facts(done)));
    }
    let rows: Vec<_> = done.figures.layers.iter().map(row).collect();
    let titles = ["layer", "heads removed", "error cut", "restored", "neurons removed", "error cut", "restored"];
    output::line(&output::fitted(output::table(&titles, &rows)))?;
    output::line(
        "Errors: of the outputs of attention and of the feed-forward network, relative to their mean square.\n",
    )?;
    output::write(&output::facts(&facts(done)))
}

fn facts(done: &PruneReport) -> Vec<(&'static str, String)> {
    let (before, after) = (&done.before, &done.after);
    let size = honelm::units::bytes;
    let smaller = |a: u64, b: u64| format!("{:.1}% less", 100.0 * (1.0 - b as f64 / a.max(1) as f64));
    let sizes = |s: &honelm::PrunedSizes| {
        format!("{} layers, {} heads, {} key-value heads, {} neurons", s.layers, s.heads, s.kv_heads, s.ffn)
    };
    let mut rows = vec![
        ("written", done.path.display().to_string()),
        ("original", sizes(before)),
        ("pruned", sizes(after)),
        (
            "parameters",
            format!(
                "{}, before {} ({})",
                after.parameters,
                before.parameters,
                smaller(before.parameters, after.parameters)
            ),
        ),
        (
            "size",
            format!(
                "{}, before {} ({})",
                size(after.size_bytes),
                size(before.size_bytes),
                smaller(before.size_bytes, after.size_bytes)
            ),
        ),
    ];
    if !done.figures.layers_removed.is_empty() {
        let layers: Vec<_> = done.figures.layers_removed.iter().map(usize::to_string).collect();
        rows.push(("layers removed", layers.join(", ")));
    }
    if let Some(cut) = done.figures.kl_after_cutting {
        let restored = done.figures.kl_after_restoration.map_or_else(String::new, |kl| format!(", restored {kl:.4}"));
        let tokens = done.figures.held_out_tokens;
        rows.push(("KL divergence", format!("cut {cut:.4}{restored} (nats, on {tokens} held-out calibration tokens)")));
    }
    let measured = |f: &PrunedFigures| {
        let d = &f.differences;
        format!(
            "perplexity {:.4} (original {:.4}), KL divergence {:.5}, same top token {:.2}%; {} chunks",
            f.perplexity, d.base_perplexity, d.kl_divergence, d.same_top_percent, f.chunks
        )
    };
    rows.extend(done.after_cutting.as_ref().map(|f| ("after cutting", measured(f))));
    rows.extend(done.after_restoration.as_ref().map(|f| ("after restoration", measured(f))));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_or_fractions() {
        assert_eq!((share("20%"), share("0.15"), share("0")), (Ok(0.2), Ok(0.15), Ok(0.0)));
        assert!(["", "%", "100%", "1", "-5%", "nan", "20"].iter().all(|wrong| share(wrong).is_err()));
        assert_eq!((pattern("2:4"), pattern("50%")), (Ok(Pattern::TwoOfFour), Ok(Pattern::Share(0.5))));
        assert!(["0", "4:2", "100%"].iter().all(|wrong| pattern(wrong).is_err()));
        assert_eq!(protect("4,2"), Ok([4, 2]));
        assert!(["", "4", "4,", "a,b", "4,2,1"].iter().all(|wrong| protect(wrong).is_err()));
    }
}
