//! `honelm quantize`: one encoding, no questions asked.

use std::path::PathBuf;

use clap::Args;
use honelm::{Encoding, QuantizeOptions, QuantizeTarget, TextSource};

use crate::arguments::{Global, size};
use crate::commands::optimize::at_least_one;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  honelm quantize pocket --to f16 -o pocket-f16.gguf
  honelm quantize pocket --to q4_0 -o pocket-q4_0.gguf
  honelm quantize pocket --to q4_0 --calibration text.txt -o better.gguf    with error feedback
  honelm quantize pocket --to gptq --bits 4 --group-size 64 -o pocket-gptq

PATH is new, an empty file or folder, or with --force an earlier output of the same kind; it is not
the model, in it or around it. A run that was stopped goes on when it is started again.";

/// Write a model in an encoding: GGUF, or a GPTQ folder
///
/// Plain rounding unless --calibration is given. `optimize` also proves what it writes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Quantize {
    /// A folder, a GGUF file, or a name
    model: String,

    #[arg(long, value_name = "ENCODING", value_parser = target, help = targets())]
    to: Target,

    /// Output: a GGUF file, or a folder (gptq)
    #[arg(short, long, value_name = "PATH")]
    out: PathBuf,

    /// Replace an earlier output of the same kind; write GGUF although it cannot say all that the tokenizer does
    #[arg(long)]
    force: bool,

    /// Bits (gptq): 4 or 8
    #[arg(long, value_name = "B")]
    bits: Option<u8>,

    /// Group size (gptq)
    #[arg(long, value_name = "G")]
    group_size: Option<usize>,

    /// Write files of weights of at most this size, such as 500M or 2G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_shard_size: Option<u64>,

    /// Refuse (status 5) rather than write any matrix in another encoding, or rounded in another way, than asked for
    #[arg(long)]
    strict: bool,

    /// Text to calibrate on: plain, or JSON lines with a field `text`
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,

    /// Calibration samples to use, at most
    #[arg(long = "samples", alias = "calibration-blocks", value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    calibration_samples: usize,

    /// Tokens in each calibration sample
    #[arg(long = "length", alias = "calibration-length", value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    calibration_length: usize,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Gguf(Encoding),
    Gptq,
}

fn target(name: &str) -> Result<Target, String> {
    if name.eq_ignore_ascii_case("gptq") {
        return Ok(Target::Gptq);
    }
    let encoding = Encoding::from_name(name).filter(|e| e.ggml_id().is_some());
    encoding.map(Target::Gguf).ok_or_else(|| format!("expected {}", targets()))
}

/// What `--to` takes.
fn targets() -> String {
    let known = Encoding::ALL.iter().filter(|e| e.ggml_id().is_some());
    format!("{}, or gptq", known.map(|e| e.name()).collect::<Vec<_>>().join(", "))
}

impl Quantize {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let target = match self.to {
            Target::Gptq => {
                QuantizeTarget::Gptq { bits: self.bits.unwrap_or(4), group_size: self.group_size.unwrap_or(128) }
            }
            Target::Gguf(_) if self.bits.is_some() || self.group_size.is_some() => {
                return Err(Failure::Usage("--bits and --group-size are for --to gptq".to_owned()));
            }
            Target::Gguf(encoding) => QuantizeTarget::Encoding(encoding),
        };
        let options = QuantizeOptions {
            model: global.model(Some(&self.model))?,
            out: self.out,
            target,
            max_shard_size: self.max_shard_size,
            force: self.force,
            calibration: self.calibration.map(TextSource::File),
            calibration_samples: self.calibration_samples,
            calibration_length: self.calibration_length,
            strict: self.strict,
            run: global.run_options(),
        };
        let mut progress = Progress::new(global);
        let done = honelm::quantize(&options, &mut |event| progress.event(event));
        progress.finish();
        let done = done?;
        if global.json {
            output::json(&done)?;
            return Ok(0);
        }
        let size = honelm::optimize::bytes;
        output::line(&format!(
            "{}: {} instead of {} ({:.2}), {:.2} bits per weight",
            done.path.display(),
            size(done.size_bytes),
            size(done.original_bytes),
            done.size_bytes as f64 / done.original_bytes as f64,
            done.bits_per_weight
        ))?;
        if !done.fallbacks.is_empty() {
            output::line(&format!("{:.2} bits per weight were asked for:", done.wanted_bits_per_weight))?;
        }
        honelm::fallback_lines(&done.fallbacks).iter().try_for_each(|line| output::line(&format!("  {line}")))?;
        Ok(0)
    }
}
