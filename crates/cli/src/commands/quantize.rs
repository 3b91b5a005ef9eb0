//! `honelm quantize`: writes a model in a given encoding, without an evaluation.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use honelm::{CONTAINERS, Container, Planned, QuantizeOptions, QuantizeTarget, Recipe, TextSource, TypeName};

use crate::arguments::{Global, TypeArguments, at_least_one, recipe, size, source};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm quantize pocket --to f16 -o pocket-f16.gguf", ""),
            ("honelm quantize pocket --to q4_0 -o pocket-q4_0.gguf", "rounded to nearest"),
            ("honelm quantize pocket --to q4_0 --calibration text.txt -o better.gguf", "quantised by the recipe best"),
            (
                "honelm quantize pocket --to q4_k_m --tensor-type attn_v=q8_0 -o pocket-q4_k_m.gguf",
                "one of llama.cpp's mixes",
            ),
            ("honelm quantize pocket --to q3_k_m --dry-run", "print the size, write nothing"),
            ("honelm quantize pocket --to gptq --bits 4 --group-size 64 -o pocket-gptq", ""),
            ("honelm quantize pocket --to gptq --tune -o pocket-tuned", "quantised, then trained against the original"),
            ("honelm quantize pocket --to mlx --bits 6 --group-size 64 -o pocket-mlx", ""),
        ],
        &[
            "Weights are rounded to the nearest value, or with --calibration quantised by the recipe `best`. The quality of the \
             result is not measured; `honelm optimize` and `honelm eval` do that.",
            "PATH must be new, an empty file or folder, or with --force an earlier output of the same kind; it must not \
             be, contain or lie in the folder of the model. Running the same command again resumes interrupted work.",
        ],
    )
}

/// Write a model in a given encoding, as a GGUF file or a folder of integer groups
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Quantize {
    /// The model: a folder, a GGUF file or a name
    model: String,

    /// Encoding of the matrices in a GGUF file, one of llama.cpp's mixes of them (q4_k_m, q2_k, ...), or gptq, awq,
    /// compressed-tensors or mlx for a folder of integer groups
    #[arg(long, value_name = "ENCODING", value_parser = target_parser(), ignore_case = true)]
    to: Target,

    /// Output: a GGUF file, or a folder (gptq, awq, compressed-tensors, mlx)
    #[arg(short, long, value_name = "PATH", required_unless_present = "dry_run")]
    out: Option<PathBuf>,

    /// Replace an earlier output of the same kind; also write a GGUF file that cannot represent the tokenizer exactly
    #[arg(long)]
    force: bool,

    /// Bits per weight of integer groups (gptq, awq, compressed-tensors, mlx) [default: 4]
    #[arg(long, value_name = "B", value_parser = bits, allow_negative_numbers = true)]
    bits: Option<u8>,

    /// Columns that share a scale, of integer groups [default: 128]
    #[arg(long, value_name = "G", value_parser = at_least_one, allow_negative_numbers = true)]
    group_size: Option<usize>,

    /// Largest size of a weight file, such as 500M or 2G; a larger model is split into several files
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_shard_size: Option<u64>,

    #[command(flatten)]
    types: TypeArguments,

    /// Calibration text: plain, JSON lines or Parquet with `text` or `messages`, or `shipped` [default: none, round to nearest]
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,

    /// Compression recipe: rtn, gptq, awq, best, tuned or a TOML file [default: best with --calibration, else rtn]
    #[arg(long, value_name = "RECIPE", value_parser = recipe)]
    recipe: Option<Recipe>,

    /// After quantising, train scales, minimums and norm gains against the original's outputs; the codes stay. Takes many times
    /// as long. Without --calibration on the shipped text
    #[arg(long, conflicts_with = "imatrix")]
    tune: bool,

    /// Importance matrix, from `honelm imatrix` or llama.cpp: weights the columns when values are rounded to nearest
    #[arg(long, value_name = "FILE", conflicts_with = "calibration")]
    imatrix: Option<PathBuf>,

    /// Most calibration samples to use
    #[arg(long = "samples", alias = "calibration-blocks", value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    calibration_samples: usize,

    /// Tokens per calibration sample
    #[arg(long = "length", alias = "calibration-length", value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    calibration_length: usize,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Gguf(TypeName),
    Groups(&'static Container),
}

/// Parses a container of integer groups, or an encoding that GGUF has, in either case.
fn target_parser() -> impl TypedValueParser<Value = Target> {
    let folders = CONTAINERS.iter().filter(|container| container.groups.is_some()).map(|container| container.name);
    PossibleValuesParser::new(TypeName::names().chain(folders)).try_map(|name| {
        match Container::from_name(&name).filter(|container| container.groups.is_some()) {
            Some(container) => Ok(Target::Groups(container)),
            None => TypeName::from_name(&name).map(Target::Gguf).ok_or("unknown encoding"),
        }
    })
}

/// Parses a number of bits per weight.
fn bits(text: &str) -> Result<u8, String> {
    text.parse()
        .ok()
        .filter(|bits| (2..=8).contains(bits))
        .ok_or_else(|| "expected a whole number from 2 to 8".to_owned())
}

impl Quantize {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let target = match self.to {
            Target::Groups(container) => {
                let (bits, group_size) = (self.bits.unwrap_or(4), self.group_size.unwrap_or(128));
                QuantizeTarget::Groups { container, bits, group_size }
            }
            Target::Gguf(_) if self.bits.is_some() || self.group_size.is_some() => {
                let problem =
                    "--bits and --group-size are for integer groups: --to gptq, awq, compressed-tensors or mlx";
                return Err(Failure::Usage(problem.to_owned()));
            }
            Target::Gguf(TypeName::Encoding(encoding)) => QuantizeTarget::Encoding(encoding),
            Target::Gguf(TypeName::Mix(mix)) => QuantizeTarget::Mix(mix),
        };
        let recipe = if self.tune { Some(self.recipe.unwrap_or_else(Recipe::best).tuned()) } else { self.recipe };
        let needs_text = recipe.as_ref().is_some_and(Recipe::needs_calibration);
        let shipped = needs_text.then_some(TextSource::Shipped);
        let options = QuantizeOptions {
            model: global.model(Some(&self.model))?,
            out: self.out.unwrap_or_default(),
            target,
            types: self.types.rules(),
            max_shard_size: self.max_shard_size,
            force: self.force,
            calibration: self.calibration.as_deref().map(source).or(shipped),
            recipe,
            imatrix: self.imatrix,
            calibration_samples: self.calibration_samples,
            calibration_length: self.calibration_length,
            strict: self.types.strict,
            run: global.run_options(),
        };
        let mut progress = Progress::new(global);
        if self.types.dry_run {
            let planned = honelm::plan_quantize(&options, &mut |event| progress.event(event))?;
            progress.finish();
            return print_plan(&planned, global);
        }
        let done = honelm::quantize(&options, &mut |event| progress.event(event));
        progress.finish();
        let done = done?;
        if global.json {
            output::json(&done)?;
            return Ok(0);
        }
        let size = honelm::units::bytes;
        output::line(&format!(
            "{}: {}, original {} (ratio {:.2}), {:.2} bits per weight",
            done.path.display(),
            size(done.size_bytes),
            size(done.original_bytes),
            done.size_bytes as f64 / done.original_bytes as f64,
            done.bits_per_weight
        ))?;
        if !done.fallbacks.is_empty() {
            output::line(&format!(
                "Without these fallbacks, it would have {:.2} bits per weight:",
                done.wanted_bits_per_weight
            ))?;
        }
        honelm::fallback_lines(&done.fallbacks).iter().try_for_each(|line| output::line(&format!("  {line}")))?;
        if let Some(tuning) = &done.tuning {
            output::line(&format!(
                "Tuned: KL divergence on held-out samples {:.5}, before {:.5} (step {} of {} was kept)",
                tuning.after, tuning.before, tuning.kept, tuning.steps
            ))?;
        }
        Ok(0)
    }
}

/// Prints what would be written.
fn print_plan(planned: &Planned, global: &Global) -> Result<u8, Failure> {
    if global.json {
        output::json(planned)?;
        return Ok(0);
    }
    let rows: Vec<_> = planned.tensor_types.iter().map(|(name, kind)| vec![name.clone(), kind.clone()]).collect();
    output::line(&output::fitted(output::table(&["tensor", "encoding"], &rows)))?;
    output::line(&format!(
        "{} bytes, original {} (ratio {:.2}), {:.2} bits per weight; nothing was written",
        planned.size_bytes,
        honelm::units::bytes(planned.original_bytes),
        planned.size_bytes as f64 / planned.original_bytes as f64,
        planned.bits_per_weight
    ))?;
    honelm::fallback_lines(&planned.fallbacks).iter().try_for_each(|line| output::line(&format!("  {line}")))?;
    Ok(0)
}
