//! The sampling options and the streaming output of `run` and `chat`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use honelm::{Answer, Generation, Model, RunOptions, Speculate};

use crate::arguments::{Global, Seed, SpecialTokens, not_negative, positive, probability, seed, share, top_k};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::wrap::Wrapper;
use crate::{interrupt, output};

/// The sampling options. Their defaults are those of the model's `generation_config.json`, else those of the library.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling")]
pub struct Sampling {
    /// Temperature; 0 always takes the most likely token
    #[arg(long, value_name = "T", value_parser = not_negative, allow_negative_numbers = true)]
    temperature: Option<f32>,

    /// Keep the K most likely tokens; 0 and -1 keep all
    #[arg(long, value_name = "K", value_parser = top_k, allow_negative_numbers = true)]
    top_k: Option<u32>,

    /// Keep the most likely tokens whose probabilities add up to P; 1 keeps all
    #[arg(long, value_name = "P", value_parser = share, allow_negative_numbers = true)]
    top_p: Option<f32>,

    /// Keep the tokens that are at least P times as likely as the most likely one; 0 keeps all
    #[arg(long, value_name = "P", value_parser = probability, allow_negative_numbers = true)]
    min_p: Option<f32>,

    /// Penalty on tokens that occur in the text already; 1 is none
    #[arg(long, value_name = "R", value_parser = positive, allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,

    /// Seed; the same seed gives the same answer; -1 is a new seed each time [default: -1]
    #[arg(long, value_name = "S", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<Seed>,

    /// End the answer before this text, as well as before the model's own stop texts; can be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Do not end the answer at the model's end tokens and stop texts
    #[arg(long)]
    ignore_eos: bool,
}

impl Sampling {
    /// Returns the model's settings, changed by these options.
    pub fn apply(&self, mut generation: Generation) -> Generation {
        let set = &mut generation;
        set.seed = self.seed.and_then(|Seed(seed)| seed).unwrap_or_else(new_seed);
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

/// The options of speculative decoding.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Speculative decoding")]
pub struct Speculation {
    /// Smaller model that drafts tokens, which the model verifies several at a time: a folder, a GGUF file or a name
    #[arg(long, value_name = "MODEL")]
    draft: Option<String>,

    /// Source of the drafts: ngram is earlier text, draft the draft model, auto the better of both or none; on the CPU, none
    /// changes an answer
    #[arg(long, value_name = "HOW", default_value_t = Speculate::Auto, value_parser = speculate())]
    speculate: Speculate,
}

/// Returns the parser of the source of drafts.
pub fn speculate() -> impl TypedValueParser<Value = Speculate> {
    PossibleValuesParser::new(Speculate::ALL.map(Speculate::name)).try_map(|name| name.parse())
}

impl Speculation {
    /// Returns the options of a run with these drafts.
    pub fn apply(&self, global: &Global, run: RunOptions) -> Result<RunOptions, Failure> {
        let draft = self.draft.as_deref().map(|name| global.model(Some(name))).transpose()?;
        Ok(RunOptions { draft, speculate: self.speculate, ..run })
    }
}

/// The file of cached prompts.
#[derive(Debug, Clone, Args)]
pub struct PromptCache {
    /// Keep computed prompts in FILE, and reuse them in later runs of the same model with the same settings
    #[arg(long = "prompt-cache", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl PromptCache {
    /// Restores the prompts of the file, if there is one.
    pub fn restore(&self, model: &mut Model) -> Result<(), Failure> {
        if let Some(file) = &self.file {
            model.restore_prompts(file)?;
        }
        Ok(())
    }

    /// Writes the prompts to the file.
    pub fn save(&self, model: &mut Model) -> Result<(), Failure> {
        if let Some(file) = &self.file {
            model.save_prompts(file)?;
        }
        Ok(())
    }
}

/// Returns a new seed, small enough for every JSON reader.
pub fn new_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as u64 ^ u64::from(std::process::id())) & 0xffff_ffff
}

/// Opens a model and shows the progress on stderr.
pub fn open(
    name: Option<&str>,
    global: &Global,
    special: SpecialTokens,
    speculation: &Speculation,
) -> Result<Model, Failure> {
    let path = global.model(name)?;
    let run = RunOptions { parse_special: special.parse_special, ..global.run_options() };
    let run = speculation.apply(global, run)?;
    let mut progress = Progress::new(global);
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

/// Writes an answer to stdout while it is generated. On a terminal, lines end between words.
pub struct Streamer {
    /// `true` if nothing is written.
    silent: bool,
    wrapper: Option<Wrapper>,
    ends_with_newline: bool,
    failure: Option<Failure>,
}

impl Streamer {
    /// Creates a streamer; a `silent` one writes nothing and only notices Ctrl-C.
    pub fn new(silent: bool) -> Self {
        let wrapper = output::stdout_columns().map(Wrapper::new);
        Self { silent, wrapper, ends_with_newline: false, failure: None }
    }

    /// Writes a piece of text. Returns `false` to stop the generation.
    pub fn piece(&mut self, text: &str) -> bool {
        if !self.silent && !text.is_empty() {
            self.ends_with_newline = text.ends_with('\n');
            if let Err(failure) = self.write(text) {
                self.failure = Some(failure);
                return false;
            }
        }
        !interrupt::pressed()
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        match &mut self.wrapper {
            Some(wrapper) => output::write(&wrapper.push(&honelm::printable(text))),
            None => output::raw(text.as_bytes()),
        }
    }

    /// Ends the output with a newline. Fails if a write has failed.
    pub fn end(mut self) -> Result<(), Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if let Some(wrapper) = &mut self.wrapper {
            output::write(&wrapper.finish())?;
        }
        if self.silent || self.ends_with_newline { Ok(()) } else { output::line("") }
    }
}

/// Formats the speeds of an answer.
pub fn speeds(answer: &Answer) -> String {
    let rate = |r: Option<f64>| r.map_or_else(String::new, |r| format!(", {r:.0} tok/s"));
    let first = answer
        .first_token_seconds
        .map_or_else(String::new, |s| format!("; first token after {}", honelm::units::seconds(s)));
    let cached = match answer.cached_tokens {
        0 => String::new(),
        cached => format!(" ({cached} cached)"),
    };
    let drafted = match (answer.accepted_tokens, answer.drafted_tokens) {
        (_, 0) => String::new(),
        (accepted, drafted) => format!(" ({accepted} of {drafted} drafted ones accepted)"),
    };
    format!(
        "prompt {} tokens{cached}{}; answer {} tokens{drafted}{}{first}",
        answer.prompt_tokens,
        rate(answer.prefill_tokens_per_second),
        answer.completion_tokens,
        rate(answer.decode_tokens_per_second)
    )
}
