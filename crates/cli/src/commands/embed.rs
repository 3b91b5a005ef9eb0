//! `honelm embed`: the embeddings of texts.

use std::io::{self, IsTerminal};

use clap::Args;
use honelm::{Cancel, Model, Pooling};
use serde_json::json;

use super::serve::pooling;
use crate::arguments::Global;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{help, input, interrupt, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm embed all-MiniLM-L6-v2 -p \"Hello world\"", ""),
            ("honelm embed all-MiniLM-L6-v2 < lines.txt --json", "a text per line"),
        ],
        &[
            "Prints a list of numbers for each text, scaled to length 1. Any model has embeddings; those of encoders tell most.",
        ],
    )
}

/// Compute the embeddings of texts
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Embed {
    /// The model: a folder, a GGUF file or a name [default: the shipped model]
    model: Option<String>,

    /// A text; can be given several times [default: the lines of stdin, if it is a pipe or a file]
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Vec<String>,

    /// Way from the hidden states of a text to its embedding: mean, last or cls [default: the model's own, or mean]
    #[arg(long, value_name = "NAME", value_parser = pooling)]
    pooling: Option<Pooling>,
}

impl Embed {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        // No file is written: Ctrl-C may end the command at any time.
        interrupt::watched(false);
        let texts = self.texts()?;
        let mut progress = Progress::new(global);
        let path = global.model(self.model.as_deref())?;
        let model = Model::open(&path, &global.run_options(), &mut |event| progress.event(event));
        progress.finish();
        let mut model = model?;
        let found = model.embed(&texts, self.pooling, &Cancel::new())?;
        if global.json {
            let pooling = self.pooling.or(model.embedding().map(|own| own.pooling)).unwrap_or_default();
            return output::json_line(&json!({"pooling": pooling, "embeddings": found})).map(|()| 0);
        }
        for embedding in found {
            output::write(&format!("{}\n", json!(embedding.values)))?;
        }
        Ok(0)
    }

    /// Returns the texts: those of the option, or the lines of stdin.
    fn texts(&self) -> Result<Vec<String>, Failure> {
        if !self.prompt.is_empty() {
            return Ok(self.prompt.clone());
        }
        if io::stdin().is_terminal() {
            return Err(Failure::Usage("no text: give it by -p TEXT or on stdin".to_owned()));
        }
        Ok(input::stdin_text(input::MOST_TEXT)?.lines().map(str::to_owned).collect())
    }
}
