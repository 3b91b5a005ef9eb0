//! `honelm run`: the answer to one prompt.

use std::io::{self, IsTerminal};

use clap::Args;
use honelm::{Answer, Cancel, ChatAsk, Message, Model, Update};
use serde_json::json;

use crate::arguments::{Global, SpecialTokens, token_limit};
use crate::commands::constraints::{Format, Tools};
use crate::commands::generation::{self, PromptCache, Sampling, Speculation};
use crate::commands::spoken::{Spoken, warn_of_broken_calls};
use crate::commands::thoughts::Shown;
use crate::failure::Failure;
use crate::{help, input, interrupt, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm run pocket -p \"Tell me a story.\"", ""),
            ("honelm run model.gguf -p \"Tell me a story.\" --temperature 0 -n 100", ""),
            ("cat question.txt | honelm run model.gguf", ""),
            ("honelm run model.gguf -p \"Hello\" --system \"Answer in one sentence.\"", ""),
            ("honelm run model.gguf --raw -p \"Once upon a time\"", "continue a text, without chat template"),
            ("honelm run model.gguf -p \"Hello\" --json", "text, token ids and speeds"),
            ("honelm run model.gguf -p \"A person\" --json-schema person.json", "an answer that the schema accepts"),
            (
                "honelm run model.gguf -p \"Weather?\" --tools tools.json --tool-choice required",
                "calls of tools, as JSON",
            ),
            (
                "honelm run model.gguf -p \"Hello\" --prompt-cache hello.cache",
                "the second time, the prompt is not computed",
            ),
        ],
        &[],
    )
}

/// Answer one prompt
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Run {
    /// The model: a folder, a GGUF file or a name [default: the shipped model]
    model: Option<String>,

    /// The prompt; `-` reads stdin without its last newline; an empty TEXT starts from BOS alone [default: stdin, if it is
    /// a pipe or a file]
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// System message before the prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,

    /// Most tokens of the answer; -1 is no limit
    #[arg(short = 'n', long, value_name = "N", default_value = "256", value_parser = token_limit, allow_negative_numbers = true)]
    max_tokens: usize,

    /// Continue the prompt as plain text, without the chat template
    #[arg(long)]
    raw: bool,

    /// Chat template: a file, or one of the model's own by name
    #[arg(long, value_name = "FILE|NAME", conflicts_with = "raw")]
    template: Option<String>,

    #[command(flatten)]
    special: SpecialTokens,

    /// Display of the thinking: show, hide, or fold it into one line when it ends
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Shown::Fold, hide_possible_values = true)]
    thinking: Shown,

    #[command(flatten)]
    prompt_cache: PromptCache,

    #[command(flatten)]
    speculation: Speculation,

    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    tools: Tools,

    #[command(flatten)]
    sampling: Sampling,
}

impl Run {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let prompt = self.text()?;
        let mut ask = ChatAsk { constraint: self.format.constraint()?, ..ChatAsk::default() };
        self.tools.apply(&mut ask)?;
        let mut model = generation::open(self.model.as_deref(), global, self.special, &self.speculation)?;
        if let Some(template) = &self.template {
            model.set_template(template)?;
        }
        self.prompt_cache.restore(&mut model)?;
        let mut wanted = self.sampling.apply(model.generation());
        wanted.max_tokens = self.max_tokens;
        let in_template = model.chat_template().is_some() || self.system.is_some() || self.tools.is_given();
        let is_chat = !self.raw && !prompt.is_empty() && in_template;
        if !self.raw && !prompt.is_empty() && model.chat_template().is_none() {
            global.note("The model has no chat template: it continues the prompt as plain text.");
        }
        if self.tools.is_given() && !is_chat {
            let problem =
                "--tools needs a prompt in the chat template: leave out --raw, and give a text by -p or on stdin";
            return Err(Failure::Usage(problem.to_owned()));
        }
        let mut out = Spoken::new(self.thinking, global.json);
        let cancel = Cancel::new();
        let mut on_update = |update: &Update| {
            if !out.update(update) {
                cancel.cancel();
            }
        };
        let answer = if is_chat {
            let system = self.system.iter().map(|text| Message::new("system", text.as_str()));
            let messages: Vec<Message> = system.chain([Message::new("user", prompt)]).collect();
            ask.how = wanted.clone();
            model.chat_with(&messages, ask, &cancel, &mut on_update)
        } else {
            model.complete_with(&prompt, &wanted, ask.constraint.as_ref(), &cancel, &mut on_update)
        }?;
        out.end()?;
        self.prompt_cache.save(&mut model)?;
        if interrupt::pressed() {
            return Err(Failure::Interrupted);
        }
        warn_of_broken_calls(&answer);
        if global.json {
            output::json_line(&document(&answer, &model, wanted.seed)?)?;
        } else {
            let loaded = honelm::units::seconds(model.load_seconds());
            global.note(&format!("{}; loaded in {loaded}", generation::speeds(&answer)));
        }
        Ok(0)
    }

    /// Returns the prompt: the option, or stdin.
    fn text(&self) -> Result<String, Failure> {
        let text = match self.prompt.as_deref() {
            None if io::stdin().is_terminal() => {
                return Err(Failure::Usage("no prompt: give it by -p TEXT or on stdin".to_owned()));
            }
            Some("-") | None => stdin()?,
            Some("") if self.system.is_some() => {
                return Err(Failure::Usage("--system needs a prompt, and -p is empty".to_owned()));
            }
            Some(text) => return Ok(text.to_owned()),
        };
        if text.is_empty() {
            let problem = "no prompt: stdin is empty; give a prompt by -p TEXT (an empty TEXT starts from BOS alone)";
            return Err(Failure::Usage(problem.to_owned()));
        }
        Ok(text)
    }
}

/// Reads all of stdin as text.
fn stdin() -> Result<String, Failure> {
    let mut text = input::stdin_text(input::MOST_PROMPT)?;
    if let Some(at) = text.bytes().position(|b| b == 0) {
        let problem = format!("byte {at} is 0: found binary data, expected text");
        return Err(honelm::Error::Text { path: "stdin".to_owned(), problem }.into());
    }
    // The newline that `echo` and editors put at the end is not part of the prompt.
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
