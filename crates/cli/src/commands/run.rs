//! `honelm run`: one prompt, one answer.

use std::io::{self, IsTerminal};

use clap::Args;
use honelm::{Answer, Message, Model};
use serde_json::json;

use crate::arguments::{Global, SpecialTokens};
use crate::commands::generation::{self, Sampling, Streamer};
use crate::failure::Failure;
use crate::{input, interrupt, output};

const EXAMPLES: &str = "\
Examples:
  honelm run pocket -p \"Tell me a story.\"
  honelm run model.gguf -p \"Tell me a story.\" --temperature 0 -n 100
  cat question.txt | honelm run model.gguf -p -
  honelm run model.gguf --raw -p \"Once upon a time\"     no chat template
  honelm run model.gguf -p \"Hello\" --json               text, token ids and speeds";

/// Answer one prompt
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    /// A folder, a GGUF file, or a name; by default the shipped model
    model: Option<String>,

    /// The prompt; `-`, or nothing beside a pipe, reads stdin (its last newline dropped). An empty one starts from BOS alone
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// Most tokens of the answer
    #[arg(short = 'n', long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,

    /// No chat template: the model continues the prompt
    #[arg(long)]
    raw: bool,

    /// Another chat template: one of the model's own by name, or a file
    #[arg(long, value_name = "FILE|NAME", conflicts_with = "raw")]
    template: Option<String>,

    #[command(flatten)]
    special: SpecialTokens,

    #[command(flatten)]
    sampling: Sampling,
}

impl Run {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let prompt = self.text()?;
        let mut model = generation::open(self.model.as_deref(), global, self.special)?;
        if let Some(template) = &self.template {
            model.set_template(template)?;
        }
        let mut wanted = self.sampling.apply(model.generation());
        wanted.max_tokens = self.max_tokens;
        let raw = self.raw || prompt.is_empty();
        if !raw && model.chat_template().is_none() {
            global.note("The model has no chat template: it continues the prompt as plain text.");
        }
        let mut out = Streamer::new(global.json);
        let mut piece = |text: &str| out.piece(text);
        let answer = if raw || model.chat_template().is_none() {
            model.complete(&prompt, &wanted, &mut piece)
        } else {
            model.chat(&[Message::new("user", prompt)], &wanted, &mut piece)
        }?;
        out.end()?;
        if interrupt::pressed() {
            return Err(Failure::Interrupted);
        }
        if global.json {
            output::json_line(&document(&answer, &model, wanted.seed)?)?;
        } else {
            let loaded = honelm::optimize::seconds(model.load_seconds());
            global.note(&format!("{}; loaded in {loaded}", generation::speeds(&answer)));
        }
        Ok(0)
    }

    /// The prompt, from wherever it comes.
    fn text(&self) -> Result<String, Failure> {
        match self.prompt.as_deref() {
            Some("-") => stdin(),
            Some(text) => Ok(text.to_owned()),
            None if io::stdin().is_terminal() => {
                Err(Failure::Usage("no prompt: give one with -p TEXT, or through a pipe".to_owned()))
            }
            None => stdin(),
        }
    }
}

/// All of stdin as text.
fn stdin() -> Result<String, Failure> {
    let bytes = input::stdin(input::MOST_PROMPT)?;
    let bad = |problem: String| honelm::Error::Text { path: "stdin".to_owned(), problem };
    let mut text = String::from_utf8(bytes)
        .map_err(|e| bad(format!("not UTF-8 from byte {} on", e.utf8_error().valid_up_to())))?;
    if let Some(at) = text.bytes().position(|b| b == 0) {
        return Err(bad(format!("byte {at} is 0: binary, expected text")).into());
    }
    // The newline that `echo` and editors put at the end is not part of the question.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn document(answer: &Answer, model: &Model, seed: u64) -> Result<serde_json::Value, Failure> {
    let mut document = serde_json::to_value(answer).map_err(|e| Failure::Io("JSON".to_owned(), e.into()))?;
    document["load_seconds"] = json!(model.load_seconds());
    document["peak_memory_bytes"] = json!(honelm::bench::peak_memory_bytes());
    document["seed"] = json!(seed);
    Ok(document)
}
