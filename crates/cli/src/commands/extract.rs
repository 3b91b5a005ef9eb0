//! `honelm extract`: facts out of texts.

use clap::{ArgGroup, Args};
use honelm::{Cancel, EXTRACT_TOKENS, ExtractOptions, Extraction, Mention, Model, Wanted};
use serde_json::json;

use super::classify::read_label;
use super::constraints;
use super::texts::Texts;
use crate::arguments::Global;
use crate::failure::{FAILED, Failure};
use crate::progress::Progress;
use crate::{help, interrupt, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm extract -f letter.txt --kinds PERSON,DATE", "a table with the places"),
            ("honelm extract MODEL -f order.txt --schema order.schema.json --json", ""),
            ("honelm extract --lines --kinds \"PRODUCT: what was bought\" < reviews.txt --json", ""),
        ],
        &[
            "Places are counted in characters. A string without a place does not stand in the text in exactly this form: the model may \
           have invented it. The exit status is 1 if a JSON text was cut off by --max-tokens or the context.",
        ],
    )
}

/// Extract facts from texts by a model on this machine, with their places
#[derive(Debug, Args)]
#[command(after_help = notes(), group(ArgGroup::new("wanted").required(true)))]
pub struct Extract {
    /// The model: a folder, a GGUF file or a name [default: the shipped model]
    model: Option<String>,

    #[command(flatten)]
    texts: Texts,

    /// JSON schema of the facts: a file, or the JSON text itself
    #[arg(long, value_name = "FILE|JSON", group = "wanted")]
    schema: Option<String>,

    /// Kinds of things to find, each perhaps with a colon, a space and a description
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', group = "wanted")]
    kinds: Vec<String>,

    /// The task, in place of the usual sentence
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,

    /// The most tokens of the JSON text of each text
    #[arg(short = 'n', long, value_name = "N", default_value_t = EXTRACT_TOKENS)]
    max_tokens: usize,
}

impl Extract {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        // No file is written: Ctrl-C may end the command at any time.
        interrupt::watched(false);
        let texts = self.texts.read()?;
        let wanted = match &self.schema {
            Some(schema) => Wanted::Schema(constraints::json("--schema", schema)?),
            None => Wanted::Kinds(self.kinds.iter().map(|kind| read_label(kind)).collect()),
        };
        let (instruction, max_tokens) = (self.instruction.clone(), self.max_tokens);
        let options = ExtractOptions { instruction, max_tokens, ..ExtractOptions::new(wanted) };
        let mut progress = Progress::new(global);
        let path = global.model(self.model.as_deref())?;
        let model = Model::open(&path, &global.run_options(), &mut |event| progress.event(event));
        progress.finish();
        let found = model?.extract(&texts, &options, &Cancel::new())?;
        let is_complete = found.iter().all(|of_text| of_text.data.is_some());
        if global.json {
            output::json_line(&json!({ "results": found }))?;
        } else {
            for (i, of_text) in found.iter().enumerate() {
                if i > 0 {
                    output::line("")?;
                }
                self.write(of_text)?;
            }
            if !is_complete {
                output::note("A JSON text was cut off: raise --max-tokens or --context.");
            }
        }
        Ok(if is_complete { 0 } else { FAILED })
    }

    /// Writes the facts of a text: the document of a schema, and the strings with their places.
    fn write(&self, found: &Extraction) -> Result<(), Failure> {
        if let (Some(data), Some(_)) = (&found.data, &self.schema) {
            output::json(data)?;
        }
        let row = |mention: &Mention| {
            let place = mention.start.zip(mention.end).map(|(start, end)| format!("{start}-{end}"));
            let name = mention.kind.clone().unwrap_or_else(|| mention.path.clone());
            vec![name, mention.text.clone(), place.unwrap_or_else(|| "not in the text".to_owned())]
        };
        let rows: Vec<Vec<String>> = found.mentions.iter().map(row).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let first = if self.schema.is_some() { "path" } else { "kind" };
        output::write(&format!("{}\n", output::fitted(output::table(&[first, "text", "place"], &rows))))
    }
}
