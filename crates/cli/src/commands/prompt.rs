//! `honelm prompt`: what a model would be given.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use crate::arguments::{Global, SpecialTokens};
use crate::failure::Failure;
use crate::{input, interrupt, output};

const EXAMPLES: &str = "\
Examples:
  honelm prompt pocket --messages talk.json
  honelm prompt model.gguf --messages talk.json --json       the token ids too
  honelm prompt template.jinja --messages talk.json          a template without a model
  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true}' |
    honelm prompt pocket --messages -

FILE is a JSON object: messages, tools, add_generation_prompt, now (a date for the template's
strftime_now), and any variable of the template; for a bare template also bos_token and eos_token.
A list alone is taken for the messages. What /save writes in `honelm chat` can be used as it is.";

/// Print what a model would be given for a conversation
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Prompt {
    /// A folder, a GGUF file, a name, or a template (*.jinja)
    #[arg(value_name = "MODEL|TEMPLATE")]
    model: String,

    /// The conversation as JSON; `-` reads stdin
    #[arg(short, long, value_name = "FILE")]
    messages: PathBuf,

    /// One of the model's templates by name, or a file; by default the one that transformers would choose
    #[arg(long, value_name = "FILE|NAME")]
    template: Option<String>,

    #[command(flatten)]
    special: SpecialTokens,
}

impl Prompt {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        // Nothing is written to files: Ctrl-C may end it at any moment.
        interrupt::watched(false);
        let given = conversation(&self.messages)?;
        let path = global.model(Some(&self.model))?;
        let found = honelm::prompt(&path, self.template.as_deref(), &given, self.special.parse_special)?;
        if global.json {
            output::json(&found)?;
        } else {
            // To the byte: no newline is added.
            output::contents(found.prompt.as_bytes())?;
        }
        Ok(0)
    }
}

/// The variables that a file holds.
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
