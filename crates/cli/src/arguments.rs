//! The command line.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, CommandFactory, Parser, ValueEnum};
use honelm::{CacheType, Compute, DeviceChoice, MOST_THREADS, Protocol, RunOptions, TextSource};

use crate::commands::Command;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  honelm optimize                        shrink the shipped model and prove that it still thinks
  honelm chat                            talk with it
  honelm optimize path/to/model -o small shrink your own: a Hugging Face folder or a GGUF file
  honelm chat small/model.gguf
  honelm pull ORG/REPO:Q4_K_M            fetch a model from the Hugging Face Hub

MODEL is a folder, a GGUF file, or the name of either in a model folder: --model-dir, HONELM_HOME,
`models` beside the executable, in the current folder or above it. ORG/REPO, ORG/REPO@REVISION and
ORG/REPO:QUANT are models of the Hugging Face Hub that `honelm pull`, or another tool, has fetched.

Exit status: 0 done, 1 failed, 2 usage, 3 budget broken, 4 not enough text for a verdict,
5 an encoding that --strict insists on cannot be had, 130 interrupted.";

/// Shrink, prove and run language models on the device in front of you.
#[derive(Debug, Parser)]
#[command(name = "honelm", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// The command line as it is documented: without the commands that are hidden.
    pub fn documented() -> clap::Command {
        let whole = Self::command();
        let shown: Vec<clap::Command> = whole.get_subcommands().filter(|c| !c.is_hide_set()).cloned().collect();
        let mut command = clap::Command::new("honelm").version(env!("CARGO_PKG_VERSION")).after_help(EXAMPLES);
        command =
            command.about(whole.get_about().cloned().unwrap_or_default()).subcommand_required(true).subcommands(shown);
        Global::augment_args(command)
    }
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Threads; by default one a processor, at most 1024
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,

    /// Context in tokens; by default the model's own, at most 8192
    #[arg(long, global = true, value_name = "N")]
    pub context: Option<NonZeroUsize>,

    /// Where the model runs: cpu, gpu, gpu:N as `honelm devices` numbers them, or auto, the faster one by a trial (for
    /// compression and proof the cpu)
    #[arg(long, global = true, value_name = "DEVICE", env = "HONELM_DEVICE", hide_env_values = true, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,

    /// Kernels: `fast` as users run, or everything in `f32`
    #[arg(long, global = true, value_enum, default_value_t = ComputeName::Fast)]
    pub compute: ComputeName,

    /// Number type of the key-value cache
    #[arg(long, global = true, value_enum, default_value_t = CacheTypeName::F16)]
    pub cache_type: CacheTypeName,

    /// Folder in which models are looked for by name
    #[arg(long, global = true, value_name = "DIR")]
    pub model_dir: Option<PathBuf>,

    /// Ignore a field of the model's configuration that is not known, as the refusal names it; may be given several times
    #[arg(long, global = true, value_name = "FIELD")]
    pub allow_unknown: Vec<String>,

    /// Results as JSON on stdout: one document (`bench`: one a line), errors too
    #[arg(long, global = true)]
    pub json: bool,

    /// Tell more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Tell nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Kernel path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ComputeName {
    Fast,
    F32,
}

impl From<ComputeName> for Compute {
    fn from(name: ComputeName) -> Self {
        match name {
            ComputeName::Fast => Self::Fast,
            ComputeName::F32 => Self::F32,
        }
    }
}

/// How texts of special tokens in a conversation are read; `run`, `chat` and `prompt` share it.
#[derive(Debug, Clone, Copy, Args)]
pub struct SpecialTokens {
    /// Take texts of special tokens in messages for these tokens; by default they are text, and only the chat template
    /// writes tokens
    #[arg(long)]
    pub parse_special: bool,
}

/// Number type of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CacheTypeName {
    F16,
    F32,
    #[value(name = "q8_0")]
    Q8_0,
}

impl Global {
    /// How the library runs models.
    pub fn run_options(&self) -> RunOptions {
        RunOptions {
            device: self.device,
            threads: self.threads.map(NonZeroUsize::get),
            context: self.context.map(NonZeroUsize::get),
            compute: self.compute.into(),
            cache_type: match self.cache_type {
                CacheTypeName::F16 => CacheType::F16,
                CacheTypeName::F32 => CacheType::F32,
                CacheTypeName::Q8_0 => CacheType::Q8_0,
            },
            allow_unknown: self.allow_unknown.clone(),
            ..RunOptions::default()
        }
    }

    /// The path of a model; without a name, the shipped one's.
    pub fn model(&self, name: Option<&str>) -> Result<PathBuf, Failure> {
        Ok(honelm::locate(name, self.model_dir.as_deref())?)
    }

    /// The options that make another process run models in the same way.
    pub fn for_child(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut add = |flag: &str, value: String| out.extend([flag.to_owned(), value]);
        let name =
            |value: Option<clap::builder::PossibleValue>| value.map_or_else(String::new, |v| v.get_name().to_owned());
        add("--device", self.device.to_string());
        add("--compute", name(self.compute.to_possible_value()));
        add("--cache-type", name(self.cache_type.to_possible_value()));
        if let Some(threads) = self.threads {
            add("--threads", threads.to_string());
        }
        if let Some(context) = self.context {
            add("--context", context.to_string());
        }
        for field in &self.allow_unknown {
            add("--allow-unknown", field.clone());
        }
        out
    }

    /// Tells the user something on stderr, unless with `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            crate::output::note(text);
        }
    }
}

/// Parses a protocol's name.
pub fn protocol(name: &str) -> Result<Protocol, String> {
    name.parse::<Protocol>().map_err(|e| e.to_string())
}

/// Parses a number of threads.
fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse::<NonZeroUsize>().map_err(|e| e.to_string())?;
    if number.get() <= MOST_THREADS { Ok(number) } else { Err(format!("expected at most {MOST_THREADS}")) }
}

/// Parses a number that is finite and not negative.
pub fn not_negative(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().map_err(|e| e.to_string())?;
    if number.is_finite() && number >= 0.0 { Ok(number) } else { Err("expected a number of at least 0".to_owned()) }
}

/// Parses a size in bytes: `500M`, `2G`, `1.5GB`; decimal, as download pages and `gguf-split` count.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size such as 500M or 2G".to_owned();
    let upper = text.trim().to_ascii_uppercase();
    let plain = upper.strip_suffix('B').unwrap_or(&upper);
    let (digits, factor) = match plain.char_indices().last() {
        Some((at, 'K')) => (&plain[..at], 1e3),
        Some((at, 'M')) => (&plain[..at], 1e6),
        Some((at, 'G')) => (&plain[..at], 1e9),
        Some((at, 'T')) => (&plain[..at], 1e12),
        _ => (plain, 1.0),
    };
    let bytes = digits.parse::<f64>().map_err(|_| wrong())? * factor;
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Parses a number above 0.
pub fn positive(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().map_err(|e| e.to_string())?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("expected a number above 0".to_owned()) }
}

/// Parses a probability.
pub fn probability(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().map_err(|e| e.to_string())?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("expected a number from 0 to 1".to_owned()) }
}

/// Parses a probability above 0.
pub fn share(text: &str) -> Result<f32, String> {
    probability(text).ok().filter(|&p| p > 0.0).ok_or_else(|| "expected a number above 0, at most 1".to_owned())
}

/// A text file, or the shipped text.
pub fn text_source(path: Option<&Path>) -> TextSource {
    path.map_or(TextSource::Shipped, |path| TextSource::File(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_decimal_and_nonsense_is_refused() {
        assert_eq!(
            (size("500M"), size("2G"), size("1.5gb"), size("12")),
            (Ok(500_000_000), Ok(2_000_000_000), Ok(1_500_000_000), Ok(12))
        );
        for wrong in ["", "G", "0", "-1G", "two", "1e30", "NaN", "inf", "5X", "1GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
