//! `honelm prompt`: the prompt that a chat template makes of a conversation.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use crate::arguments::{Global, SpecialTokens};
use crate::failure::Failure;
use crate::{help, input, interrupt, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm prompt pocket --messages talk.json", ""),
            ("honelm prompt model.gguf --messages talk.json --json", "with the token ids"),
            ("honelm prompt template.jinja --messages talk.json", "a template without a model"),
            ("echo '[{\"role\": \"user\", \"content\": \"Hi\"}]' | honelm prompt pocket -m -", ""),
        ],
        &[
            "FILE is a JSON object with messages, tools, add_generation_prompt, now (a date for strftime_now in the template) \
           and any other variable of the template; for a template without a model also bos_token and eos_token. A JSON \
           list is read as the messages. Files that /save writes in `honelm chat` can be used.",
        ],
    )
}

/// Print the prompt that a chat template makes of a conversation
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Prompt {
    /// The model: a folder, a GGUF file or a name; or a template file (*.jinja)
    #[arg(value_name = "MODEL|TEMPLATE")]
    model: String,

    /// File with the conversation as JSON; `-` reads stdin
    #[arg(short, long, value_name = "FILE")]
    messages: PathBuf,

    /// Chat template: a file, or one of the model's own by name [default: the choice of Transformers]
    #[arg(long, value_name = "FILE|NAME")]
    template: Option<String>,

    #[command(flatten)]
    special: SpecialTokens,
}

impl Prompt {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        // No file is written: Ctrl-C may end the command at any time.
        interrupt::watched(false);
        let given = conversation(&self.messages)?;
        let path = global.model(Some(&self.model))?;
        let found = honelm::prompt(&path, self.template.as_deref(), &given, self.special.parse_special)?;
        if global.json {
            output::json(&found)?;
        } else {
            // The exact prompt: no newline is added.
            output::contents(found.prompt.as_bytes())?;
        }
        Ok(0)
    }
}

/// Reads the variables of the template from a file.
fn conversation(path: &Path) -> Result<Map<String, Value>, Failure> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let bytes = if is_stdin { input::stdin(input::MOST_JSON)? } else { input::named(path, input::MOST_JSON)? };
    let bad = |problem: String| Failure::from(honelm::Error::Text { path: name.clone(), problem });
    match serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))? {
        Value::Object(variables) => Ok(variables),
        messages @ Value::Array(_) => Ok([("messages".to_owned(), messages)].into_iter().collect()),
        _ => Err(bad("expected a JSON object with `messages`".to_owned())),
    }
}
