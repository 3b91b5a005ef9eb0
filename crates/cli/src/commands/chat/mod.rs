//! `honelm chat`: a conversation.

mod command;
mod editor;
mod saved;
mod thoughts;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use honelm::{Answer, Conversation, Generation, Piece};
use serde_json::json;

use crate::arguments::{Global, SpecialTokens};
use crate::commands::generation::{self, Sampling, Streamer};
use crate::commands::optimize::at_least_one;
use crate::failure::Failure;
use crate::{interrupt, output};

use command::Command;
use editor::{Editor, Input};
use thoughts::{Shown, Thoughts};

const EXAMPLES: &str = "\
Examples:
  honelm chat
  honelm chat honelm-out/pocket/model.gguf --temperature 0.5
  honelm chat model.gguf --system \"Answer in one sentence.\"
  honelm chat model.gguf --template my.jinja --think off       no thinking, where the model can
  printf 'Hello\\nTell me more\\n' | honelm chat model.gguf      each line a turn

In the conversation: /help lists the commands, a backslash at the end of a line continues it,
Ctrl-C stops an answer, Ctrl-D ends. Input lines are kept in a history file (HONELM_HISTORY
names another one, empty for none).";

/// Talk with a model
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Chat {
    /// A folder, a GGUF file, or a name; by default the shipped model
    model: Option<String>,

    /// Instructions that stand before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Another chat template: one of the model's own by name, or a file
    #[arg(long, value_name = "FILE|NAME")]
    template: Option<String>,

    /// What is shown of the model's thinking
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Shown::Fold)]
    thinking: Shown,

    /// Asks the model to think or not, where its template has a switch (`enable_thinking` or `thinking`)
    #[arg(long, value_enum)]
    think: Option<Think>,

    /// Most tokens of an answer
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1024, value_parser = at_least_one)]
    max_tokens: usize,

    /// Keep no history of input lines
    #[arg(long)]
    no_history: bool,

    #[command(flatten)]
    special: SpecialTokens,

    #[command(flatten)]
    sampling: Sampling,
}

/// Whether the model shall think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Think {
    On,
    Off,
}

/// The variables of templates that turn thinking on and off.
const THINK_VARIABLES: [&str; 2] = ["enable_thinking", "thinking"];

impl Chat {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let mut model = generation::open(self.model.as_deref(), global, self.special)?;
        if let Some(wanted) = &self.template {
            model.set_template(wanted)?;
        }
        let mut generation = self.sampling.apply(model.generation());
        generation.max_tokens = self.max_tokens;
        if model.chat_template().is_none() {
            global.note("The model has no chat template: it continues the text of the conversation.");
        }
        let facts = model.facts();
        let millions = facts.parameters as f64 / 1e6;
        global.note(&format!("{}, {millions:.1} M parameters. /help lists commands, Ctrl-D ends.", facts.name));
        let about = format!("{}; {}", facts.name, model.describe());
        let mut editor = Editor::new(if self.no_history { None } else { editor::history_file() });
        let mut conversation = model.conversation()?;
        conversation.set_system(self.system.as_deref().unwrap_or_default());
        let shown = self.thinking;
        let mut talk = Talk { conversation, generation, shown, about, global, answers: Vec::new(), file: None };
        if let Some(think) = self.think {
            talk.think(think);
        }
        let ended = talk.on(&mut editor);
        editor.save();
        ended?;
        if global.json {
            output::json_line(&json!({ "messages": talk.conversation.messages(), "answers": talk.answers }))?;
        }
        Ok(0)
    }
}

/// A conversation under way.
struct Talk<'a> {
    conversation: Conversation<'a>,
    generation: Generation,
    /// What is shown of the thinking.
    shown: Shown,
    /// The model and where it runs.
    about: String,
    global: &'a Global,
    answers: Vec<Answer>,
    /// Where the conversation was saved last, or loaded from.
    file: Option<PathBuf>,
}

/// Whether a conversation goes on.
enum Next {
    On,
    End,
}

impl Talk<'_> {
    /// Takes turns until the input ends.
    fn on(&mut self, editor: &mut Editor) -> Result<(), Failure> {
        loop {
            // While waiting for input, Ctrl-C is the editor's; in a pipe it ends the program.
            interrupt::watched(false);
            let input = editor.read();
            interrupt::reset();
            interrupt::watched(true);
            match input? {
                Input::End => return Ok(()),
                Input::Interrupted => self.global.note("Ctrl-D or /quit ends the conversation."),
                Input::Text(text) if text.trim().is_empty() => {}
                Input::Text(text) => match Command::parse(&text) {
                    None => self.turn(&text)?,
                    Some(Err(problem)) => output::note(&problem),
                    Some(Ok(command)) => match self.obey(command)? {
                        Next::On => {}
                        Next::End => return Ok(()),
                    },
                },
            }
        }
    }

    /// Asks the model. A turn that it cannot take leaves the conversation as it was, and ends a scripted one.
    fn turn(&mut self, text: &str) -> Result<(), Failure> {
        // Two slashes at the start mean one.
        let text = if text.starts_with("//") { &text[1..] } else { text };
        let mut out = Streamer::new(self.global.json);
        let mut thoughts = Thoughts::new(self.shown, self.global.json);
        let answer = self.conversation.shift().and_then(|overflow| {
            self.generation.overflow = overflow;
            self.conversation.ask_in_pieces(text, &self.generation, &mut |piece| match piece {
                Piece::Thought(text) => thoughts.piece(text),
                Piece::Answer(text) => {
                    if !text.is_empty() {
                        thoughts.end();
                    }
                    out.piece(text)
                }
            })
        });
        thoughts.finish()?;
        out.end()?;
        match answer {
            Ok(answer) => self.answered(answer),
            Err(error) if editor::is_interactive() && !self.global.json => {
                output::note(&format!("error: {}", Failure::from(error).message()));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Asks for thinking or for none.
    fn think(&mut self, think: Think) {
        let template = self.conversation.model().chat_template().unwrap_or_default();
        if !THINK_VARIABLES.iter().any(|name| template.contains(name)) {
            self.global.note("The model's chat template has no switch for thinking.");
        }
        for name in THINK_VARIABLES {
            self.conversation.set_variable(name, json!(think == Think::On));
        }
    }

    fn answered(&mut self, answer: Answer) {
        let rate = answer.decode_tokens_per_second.map_or_else(String::new, |r| format!(", {r:.0} tok/s"));
        let stopped = if interrupt::pressed() { ", stopped" } else { "" };
        self.global.note(&format!("({} tokens{rate}{stopped})", answer.completion_tokens));
        interrupt::reset();
        self.answers.push(answer);
    }

    fn obey(&mut self, command: Command) -> Result<Next, Failure> {
        match command {
            Command::Quit => return Ok(Next::End),
            Command::Help => output::note(command::HELP),
            Command::Reset => self.conversation.clear(),
            Command::System(text) => {
                self.conversation.clear();
                self.conversation.set_system(&text);
            }
            Command::Set(name, value) => match command::set(&mut self.generation, &name, &value) {
                Ok(()) => output::note(&format!("({name} is {value})")),
                Err(problem) => output::note(&format!("error: {problem}")),
            },
            Command::Save { path, force } => {
                // The file that this conversation came from or went to is its own.
                let own = self.file.as_ref() == Some(&path);
                let saved = saved::save(self.conversation.messages(), &path, force || own);
                self.done_with(saved, path, "saved");
            }
            Command::Load(path) => {
                let loaded = saved::load(&path).map(|messages| self.conversation.restore(&messages));
                self.done_with(loaded, path, "loaded");
            }
            Command::Thinking(shown) => self.shown = shown,
            Command::Think(think) => {
                self.think(think);
                output::note(if think == Think::On { "(thinking is on)" } else { "(thinking is off)" });
            }
            Command::Stats => output::note(self.stats().trim_end()),
        }
        Ok(Next::On)
    }

    /// Says whether something was done with a file, which is then the conversation's own.
    fn done_with(&mut self, result: Result<(), String>, path: PathBuf, done: &str) {
        match result {
            Ok(()) => {
                output::note(&format!("({} {done})", path.display()));
                self.file = Some(path);
            }
            Err(problem) => output::note(&format!("error: {problem}")),
        }
    }

    fn stats(&self) -> String {
        let tokens: usize = self.answers.iter().map(|a| a.completion_tokens).sum();
        let rates: Vec<f64> = self.answers.iter().filter_map(|a| a.decode_tokens_per_second).collect();
        let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
        let used = self.conversation.prompt().map_or(0, |ids| ids.len());
        let (sampling, penalty) = (&self.generation, self.generation.repeat_penalty);
        let memory = honelm::bench::peak_memory_bytes().map_or_else(|| "unknown".to_owned(), honelm::optimize::bytes);
        output::facts(&[
            ("model", self.about.clone()),
            ("context", format!("{used} of {} tokens", self.conversation.model().context())),
            ("answers", format!("{}, {tokens} tokens, {mean:.0} tok/s", self.answers.len())),
            (
                "settings",
                format!(
                    "temperature {}, top_k {}, top_p {}, min_p {}, repeat_penalty {penalty}, seed {}, max_tokens {}",
                    sampling.temperature,
                    sampling.top_k,
                    sampling.top_p,
                    sampling.min_p,
                    sampling.seed,
                    self.generation.max_tokens
                ),
            ),
            ("peak memory", memory),
        ])
    }
}
