//! `honelm chat`: a conversation with a model.

mod command;
mod completer;
mod editor;
mod saved;
mod talk;

use clap::Args;
use honelm::ChatAsk;
use serde_json::json;

use crate::arguments::{Global, SpecialTokens, answer_limit};
use crate::commands::constraints::{Format, Tools};
use crate::commands::generation::{self, PromptCache, Sampling, Speculation};
use crate::commands::thoughts::{Shown, Think};
use crate::failure::Failure;
use crate::{help, output};

use editor::Editor;
use talk::Talk;

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm chat", ""),
            ("honelm chat honelm-out/pocket/model.gguf --temperature 0.5", ""),
            ("honelm chat model.gguf --system \"Answer in one sentence.\"", ""),
            ("honelm chat model.gguf --template my.jinja --think off", "without thinking, if the model can"),
            ("printf 'Hello\\nTell me more\\n' | honelm chat model.gguf", "one message per line"),
        ],
        &[
            "In the conversation, /help lists the commands and Tab completes them. A backslash at the end of a line \
             continues the message on the next line; \"\"\" begins and ends a message of several lines. Ctrl-C stops an \
             answer, and Ctrl-D ends the conversation.",
            "Messages are kept in a history file. HONELM_HISTORY sets its path; an empty value turns it off.",
        ],
    )
}

/// Talk to a model
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Chat {
    /// The model: a folder, a GGUF file or a name [default: the shipped model]
    model: Option<String>,

    /// System message before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Chat template: a file, or one of the model's own by name
    #[arg(long, value_name = "FILE|NAME")]
    template: Option<String>,

    /// Display of the thinking: show, hide, or fold it into one line when it ends
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Shown::Fold, hide_possible_values = true)]
    thinking: Shown,

    /// Turn thinking on or off, if the chat template has a variable for it (`enable_thinking` or `thinking`)
    #[arg(long, value_enum, value_name = "SWITCH")]
    think: Option<Think>,

    /// Most tokens of an answer; -1 is no limit
    #[arg(short = 'n', long, value_name = "N", default_value = "1024", value_parser = answer_limit, allow_negative_numbers = true)]
    max_tokens: usize,

    /// Keep no history of messages
    #[arg(long)]
    no_history: bool,

    #[command(flatten)]
    special: SpecialTokens,

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

impl Chat {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let mut ask = ChatAsk { constraint: self.format.constraint()?, ..ChatAsk::default() };
        self.tools.apply(&mut ask)?;
        let mut model = generation::open(self.model.as_deref(), global, self.special, &self.speculation)?;
        if let Some(wanted) = &self.template {
            model.set_template(wanted)?;
        }
        self.prompt_cache.restore(&mut model)?;
        let mut generation = self.sampling.apply(model.generation());
        generation.max_tokens = self.max_tokens;
        if model.chat_template().is_none() {
            global.note("The model has no chat template: it continues the conversation as plain text.");
        }
        let facts = model.facts();
        let millions = facts.parameters as f64 / 1e6;
        global.note(&format!("{}, {millions:.1} M parameters. /help lists commands, Ctrl-D ends.", facts.name));
        let about = format!("{}; {}", facts.name, model.describe());
        let mut editor = Editor::new(if self.no_history { None } else { editor::history_file() });
        let mut conversation = model.conversation_with(ask)?;
        conversation.set_system(self.system.as_deref().unwrap_or_default());
        let shown = self.thinking;
        let mut talk = Talk { conversation, generation, shown, about, global, answers: Vec::new(), file: None };
        if let Some(think) = self.think {
            talk.think(think);
        }
        let ended = talk.take_turns(&mut editor);
        editor.save();
        if global.json && ended.is_ok() {
            output::json_line(&json!({ "messages": talk.conversation.messages(), "answers": talk.answers }))?;
        }
        drop(talk);
        self.prompt_cache.save(&mut model)?;
        ended.map(|()| 0)
    }
}
