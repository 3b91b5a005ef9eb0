//! The options that commands share.

mod allocation;
mod calibration;
pub mod gates;
pub mod tasks;
mod values;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, ValueEnum};
use honelm::{CacheType, Compute, DeviceChoice, Error, RunOptions};

use crate::failure::Failure;
use crate::output;

pub use allocation::{AllocationArguments, Bits, TypeArguments};
pub use calibration::{CalibrationArguments, source};
pub use values::{
    Seed, answer_limit, at_least_one, encoding_parser, finite, named_recipe, not_negative, positive, probability,
    protocol, recipe, seed, share, size, text_source, token_limit, top_k,
};

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Number of threads, 1 to 1024 [default: one per CPU, without efficiency cores]
    #[arg(long, global = true, value_name = "N", value_parser = values::threads, allow_negative_numbers = true)]
    pub threads: Option<usize>,

    /// Context length in tokens [default: the model's own, at most 8192]
    #[arg(long, global = true, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub context: Option<usize>,

    /// Device: cpu, gpu, gpu:N as numbered by `honelm devices`, or auto: the faster one, and for optimize, quantize and
    /// eval the CPU
    #[arg(long, global = true, value_name = "DEVICE", env = "HONELM_DEVICE", hide_env_values = true, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,

    /// Arithmetic: `fast` rounds activations to 8 bits for quantised weights, `f32` does not
    #[arg(long, global = true, value_enum, default_value_t = ComputeName::Fast)]
    pub compute: ComputeName,

    /// Number format of the key-value cache
    #[arg(long, global = true, value_name = "TYPE", default_value = CacheType::F16.name(), value_parser = cache_type())]
    pub cache_type: CacheType,

    /// Folder to search for models by name, before the others
    #[arg(long, global = true, value_name = "DIR")]
    pub model_dir: Option<PathBuf>,

    /// Accept a model whose configuration has this unknown field; can be repeated
    #[arg(long, global = true, value_name = "FIELD")]
    pub allow_unknown: Vec<String>,

    /// Print results and errors as JSON on stdout: one document, for `bench` one per line
    #[arg(long, global = true)]
    pub json: bool,

    /// Print more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// The arithmetic of the kernels.
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

/// The option about texts of special tokens in messages, which `run`, `chat` and `prompt` share.
#[derive(Debug, Clone, Copy, Args)]
pub struct SpecialTokens {
    /// Read the texts of special tokens in messages as these tokens [default: as plain text]
    #[arg(long)]
    pub parse_special: bool,
}

/// Returns the parser of the names of cache types.
pub fn cache_type() -> impl TypedValueParser<Value = CacheType> {
    PossibleValuesParser::new(CacheType::ALL.map(CacheType::name))
        .map(|name| CacheType::from_name(&name).unwrap_or_default())
}

impl Global {
    /// Returns the library's options for running models.
    pub fn run_options(&self) -> RunOptions {
        RunOptions {
            device: self.device,
            threads: self.threads,
            context: self.context,
            compute: self.compute.into(),
            cache_type: self.cache_type,
            allow_unknown: self.allow_unknown.clone(),
            ..RunOptions::default()
        }
    }

    /// Finds a model by what the user typed; without a name, the shipped model.
    pub fn model(&self, name: Option<&str>) -> Result<PathBuf, Failure> {
        if name == Some("") {
            let problem = "the name of the model is empty: expected a folder, a GGUF file or a model name";
            return Err(Failure::Usage(problem.to_owned()));
        }
        honelm::locate(name, self.model_dir.as_deref()).map_err(|error| match &error {
            Error::ModelNotFound { name, searched } => {
                let near = near_names(name, searched);
                Failure::NoModel(Box::new(error), near)
            }
            _ => error.into(),
        })
    }

    /// Returns the options with which another process runs models in the same way.
    pub fn for_child(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut add = |flag: &str, value: String| out.extend([flag.to_owned(), value]);
        let name =
            |value: Option<clap::builder::PossibleValue>| value.map_or_else(String::new, |v| v.get_name().to_owned());
        add("--device", self.device.to_string());
        add("--compute", name(self.compute.to_possible_value()));
        add("--cache-type", self.cache_type.name().to_owned());
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

    /// Writes a command line to stderr, unless with `--quiet`.
    pub fn note_command(&self, text: &str) {
        if !self.quiet {
            output::note_command(text);
        }
    }

    /// Writes a message to stderr, unless with `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            output::note(text);
        }
    }
}

/// The similarity, from 0 to 1, from which a name is suggested for another.
pub const SIMILAR: f64 = 0.8;
/// The most names that are suggested.
const SUGGESTIONS: usize = 3;

/// Returns the names of models in the searched folders that are similar to `name`, the most similar first.
fn near_names(name: &str, searched: &[PathBuf]) -> Vec<String> {
    let wanted = name.to_lowercase();
    let entries = searched.iter().flat_map(|folder| folder.read_dir().into_iter().flatten().flatten());
    let models = entries.filter_map(|entry| {
        let path = entry.path();
        let name = entry.file_name().into_string().ok()?;
        match name.strip_suffix(".gguf") {
            Some(stem) => Some(stem.to_owned()),
            None => path.join("config.json").is_file().then_some(name),
        }
    });
    let scored = models.map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name));
    let mut near: Vec<(f64, String)> = scored.filter(|(score, _)| *score >= SIMILAR).collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut names: Vec<String> = near.into_iter().map(|(_, name)| name).collect();
    names.dedup();
    names.truncate(SUGGESTIONS);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_of_models_are_suggested() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(dir.path().join("pocket")).expect("a folder");
        std::fs::create_dir_all(dir.path().join("pockets")).expect("a folder without a model");
        std::fs::write(dir.path().join("pocket/config.json"), "{}").expect("written");
        std::fs::write(dir.path().join("Story-Q4_0.gguf"), "").expect("written");
        let near = |name: &str| near_names(name, &[dir.path().to_owned()]);
        assert_eq!(near("pockt"), ["pocket"]);
        assert_eq!(near("story-q4"), ["Story-Q4_0"]);
        assert!(near("llama").is_empty());
    }
}
