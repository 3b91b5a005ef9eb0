//! The options that constrain an answer: schemas, grammars and tools.

use std::path::{Path, PathBuf};

use clap::Args;
use honelm::{ChatAsk, Constraint, Tool, ToolChoice};
use serde_json::Value;

use crate::failure::Failure;
use crate::input;

/// The most bytes of a schema, a grammar or a list of tools.
const MOST: u64 = 16 << 20;

/// The rule that the answer must match.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Constraints and tools")]
pub struct Format {
    /// JSON schema that the answer matches: a file, or the JSON text itself
    #[arg(long, value_name = "FILE|JSON", conflicts_with_all = ["grammar", "regex"])]
    json_schema: Option<String>,

    /// Grammar that the answer matches: a file in GBNF (*.gbnf) or Lark (*.lark)
    #[arg(long, value_name = "FILE", conflicts_with = "regex")]
    grammar: Option<PathBuf>,

    /// Regular expression that matches the whole answer
    #[arg(long, value_name = "REGEX")]
    regex: Option<String>,
}

impl Format {
    /// Returns what the answer must match.
    pub fn constraint(&self) -> Result<Option<Constraint>, Failure> {
        if let Some(schema) = &self.json_schema {
            return Ok(Some(Constraint::JsonSchema(json("--json-schema", schema)?)));
        }
        if let Some(path) = &self.grammar {
            let source = text(path)?;
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            // Only rules of GBNF are written with `::=`.
            let is_gbnf = extension == "gbnf" || (extension != "lark" && source.contains("::="));
            return Ok(Some(if is_gbnf { Constraint::Gbnf(source) } else { Constraint::Lark(source) }));
        }
        Ok(self.regex.clone().map(Constraint::Regex))
    }
}

/// The tools that the model may call.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Constraints and tools")]
pub struct Tools {
    /// Tools that the model may call, in OpenAI's form: a JSON file, or the JSON text itself. Calls are printed as JSON, one a
    /// line
    #[arg(long, value_name = "FILE|JSON")]
    tools: Option<String>,

    /// Calls: `auto`, `required` (at least one), `none`, or the name of the tool to call
    #[arg(long, value_name = "CHOICE", default_value = "auto", requires = "tools")]
    tool_choice: String,
}

impl Tools {
    /// Sets the tools of a conversation.
    pub fn apply(&self, ask: &mut ChatAsk) -> Result<(), Failure> {
        let Some(tools) = self.tools.as_ref().filter(|_| self.tool_choice != "none") else { return Ok(()) };
        ask.tools = Tool::read_list(&json("--tools", tools)?).map_err(honelm::Error::from)?;
        ask.choice = match &*self.tool_choice {
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            name => {
                // One call was asked for.
                ask.parallel = false;
                ToolChoice::Named(name.to_owned())
            }
        };
        Ok(())
    }

    /// Returns `true` if there are tools.
    pub fn is_given(&self) -> bool {
        self.tools.is_some()
    }
}

/// Reads JSON: the text of an option if it begins as an object or a list, else the file of this name.
pub fn json(option: &str, given: &str) -> Result<Value, Failure> {
    let is_json = given.trim_start().starts_with(['{', '[']);
    let (name, source) =
        if is_json { (option.to_owned(), given.to_owned()) } else { (given.to_owned(), text(Path::new(given))?) };
    serde_json::from_str(&source).map_err(|error| honelm::Error::Text { path: name, problem: error.to_string() }.into())
}

/// Reads a file as UTF-8.
fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(input::named(path, MOST)?).map_err(|error| {
        let problem = format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to());
        honelm::Error::Text { path: path.display().to_string(), problem }.into()
    })
}
