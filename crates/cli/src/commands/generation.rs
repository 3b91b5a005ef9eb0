//! Options of a generation, and how one is streamed; `run` and `chat` share them.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use honelm::{Answer, Generation, Model, RunOptions};

use crate::arguments::{Global, SpecialTokens, not_negative, positive, probability, share};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{interrupt, output};

/// How tokens are chosen. What is not given comes from the model's generation_config.json, else from our defaults.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling")]
pub struct Sampling {
    /// 0 is greedy
    #[arg(long, value_name = "T", value_parser = not_negative, allow_negative_numbers = true)]
    temperature: Option<f32>,

    /// Keep the K most likely tokens; 0 keeps all
    #[arg(long, value_name = "K")]
    top_k: Option<u32>,

    /// Keep the most likely tokens that hold this probability together; 1 keeps all
    #[arg(long, value_name = "P", value_parser = share, allow_negative_numbers = true)]
    top_p: Option<f32>,

    /// Keep tokens at least this many times as likely as the most likely one; 0 keeps all
    #[arg(long, value_name = "P", value_parser = probability, allow_negative_numbers = true)]
    min_p: Option<f32>,

    /// Penalty of tokens that are in the text already; 1 is none
    #[arg(long, value_name = "R", value_parser = positive, allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,

    /// Seed of the draws; by default another one each time
    #[arg(long, value_name = "S")]
    seed: Option<u64>,

    /// Ends the answer, and is not part of it; may be given several times. The model's own stop texts count besides
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Go on after the model's end tokens and stop texts
    #[arg(long)]
    ignore_eos: bool,
}

impl Sampling {
    /// The model's own settings with these in their place.
    pub fn apply(&self, mut generation: Generation) -> Generation {
        let set = &mut generation;
        set.seed = self.seed.unwrap_or_else(another_seed);
        if let Some(temperature) = self.temperature {
            set.temperature = temperature;
        }
        if let Some(top_k) = self.top_k {
            set.top_k = top_k;
        }
        if let Some(top_p) = self.top_p {
            set.top_p = top_p;
        }
        if let Some(min_p) = self.min_p {
            set.min_p = min_p;
        }
        if let Some(penalty) = self.repeat_penalty {
            set.repeat_penalty = penalty;
        }
        if self.ignore_eos {
            generation = generation.without_ends();
        }
        generation.stop.extend(self.stop.iter().filter(|text| !text.is_empty()).cloned());
        generation
    }
}

/// A seed that nobody asked for; small enough for every JSON reader.
fn another_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as u64 ^ u64::from(std::process::id())) & 0xffff_ffff
}

/// Opens a model with its progress on stderr.
pub fn open(name: Option<&str>, global: &Global, special: SpecialTokens) -> Result<Model, Failure> {
    let path = global.model(name)?;
    let mut progress = Progress::new(global);
    let run = RunOptions { parse_special: special.parse_special, ..global.run_options() };
    let model = Model::open(&path, &run, &mut |event| progress.event(event));
    progress.finish();
    let model = model?;
    if global.verbose > 0 {
        let facts = model.facts();
        let size = format!("{} parameters, {} layers, context {}", facts.parameters, facts.layers, model.context());
        global.note(&format!("{}: {size}; {}", path.display(), model.describe()));
    }
    Ok(model)
}

/// Writes an answer to stdout as it comes.
#[derive(Default)]
pub struct Streamer {
    /// Whether anything is shown while it comes.
    silent: bool,
    ends_with_newline: bool,
    failure: Option<Failure>,
}

impl Streamer {
    /// Shows nothing where `silent`, and only watches for Ctrl-C.
    pub fn new(silent: bool) -> Self {
        Self { silent, ..Self::default() }
    }

    /// Takes a piece of text; false stops the generation.
    pub fn piece(&mut self, text: &str) -> bool {
        if !self.silent && !text.is_empty() {
            self.ends_with_newline = text.ends_with('\n');
            if let Err(failure) = output::contents(text.as_bytes()) {
                self.failure = Some(failure);
                return false;
            }
        }
        !interrupt::pressed()
    }

    /// Ends the output with a newline; fails where a write did.
    pub fn end(mut self) -> Result<(), Failure> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None if self.silent || self.ends_with_newline => Ok(()),
            None => output::line(""),
        }
    }
}

/// Speeds of an answer, in a line.
pub fn speeds(answer: &Answer) -> String {
    let rate = |r: Option<f64>| r.map_or_else(String::new, |r| format!(", {r:.0} tok/s"));
    let first = answer
        .first_token_seconds
        .map_or_else(String::new, |s| format!("; first token after {}", honelm::optimize::seconds(s)));
    format!(
        "prompt {} tokens{}; answer {} tokens{}{first}",
        answer.prompt_tokens,
        rate(answer.prefill_tokens_per_second),
        answer.completion_tokens,
        rate(answer.decode_tokens_per_second)
    )
}
